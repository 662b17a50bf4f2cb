"""Threads for DNS lookups: a host name that hangs must not delay the lookups of other providers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

_MAX_THREADS = 256


def resolver_threads(providers: int) -> int:
    """How many lookups may run at the same time. A thread is started only when a lookup needs it."""
    return min(4 + 4 * providers, _MAX_THREADS)


def use_resolver_threads(providers: int) -> None:
    """Give the running event loop an executor with enough threads for this many providers."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(resolver_threads(providers)))

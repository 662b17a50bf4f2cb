"""Threads for DNS lookups, so that a slow lookup does not delay those of other providers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

_MAX_THREADS = 256


def resolver_threads(providers: int) -> int:
    """Maximum number of concurrent lookups. Threads are started on demand."""
    return min(4 + 4 * providers, _MAX_THREADS)


def use_resolver_threads(providers: int) -> None:
    """Set a default executor with enough threads for this many providers on the running event loop."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(resolver_threads(providers)))

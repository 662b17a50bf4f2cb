"""Threads for DNS lookups."""

from __future__ import annotations

import asyncio
from threading import Barrier

import pytest

from proxy.upstream.resolver import resolver_threads, use_resolver_threads


def test_resolver_threads_grow_with_providers_up_to_a_limit() -> None:
    assert [resolver_threads(providers) for providers in (1, 10, 500)] == [8, 44, 256]


@pytest.mark.anyio
async def test_dns_lookups_run_concurrently() -> None:
    use_resolver_threads(10)
    threads = resolver_threads(10)
    lookups = Barrier(threads, timeout=10)
    loop = asyncio.get_running_loop()
    passed = await asyncio.gather(*(loop.run_in_executor(None, lookups.wait) for _ in range(threads)))
    assert sorted(passed) == list(range(threads))

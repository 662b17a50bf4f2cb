"""Threads for DNS lookups."""

from __future__ import annotations

import asyncio
from threading import Barrier

import pytest

from proxy.upstream.resolver import resolver_threads, use_resolver_threads


def test_every_provider_gets_threads_to_be_looked_up_in_but_not_without_bound() -> None:
    assert [resolver_threads(providers) for providers in (1, 10, 500)] == [8, 44, 256]


@pytest.mark.anyio
async def test_so_many_lookups_run_at_the_same_time() -> None:
    use_resolver_threads(10)
    threads = resolver_threads(10)
    lookups = Barrier(threads, timeout=10)
    loop = asyncio.get_running_loop()
    passed = await asyncio.gather(*(loop.run_in_executor(None, lookups.wait) for _ in range(threads)))
    assert sorted(passed) == list(range(threads))

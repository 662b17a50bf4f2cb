"""Fetch from a fake provider over real sockets: shared by the tests of lists and of attempts."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock, config_of

SOON = 0.6
"""`timeout` in seconds for tests that wait for it. An attempt gets a third of it."""
LATER = 3.0
"""The same for tests in which the idle timeout must fire before the timeout of the attempt."""
TOLERANCE = 0.3
"""Seconds by which a limit may be exceeded, by the clock of the event loop: that of `SteadyLoop` is not affected by
the load of the machine."""
PANGU = {"kind": "pangu", "workspace_id": "ws/1 盘", "model_ids": ["one", "two"], "api_key": "token-canary"}
VERSIONS = "/v1/workspaces/ws%2F1%20%E7%9B%98/models/{}/versions?limit=100"


def provider(base_url: str, **settings: object) -> Provider:
    text = {"providers": [{"name": "a", "base_url": base_url, "timeout": "20s", **settings}]}
    return config_of(json.dumps(text)).providers[0]


def at(address: str, **settings: object) -> Provider:
    """A provider at this host and port."""
    return provider(f"http://{address}/v1", **settings)


async def fetch_list(provider: Provider, clock: HastyClock | None = None) -> FetchResult:
    return await ListFetcher([provider], clock or HastyClock())(provider, provider.retries)


async def failure(provider: Provider, clock: HastyClock | None = None) -> UpstreamError:
    """The error of a fetch that fails within its timeout."""
    now = asyncio.get_running_loop().time
    start = now()
    with pytest.raises(UpstreamError) as raised:
        await fetch_list(provider, clock)
    assert now() - start < provider.timeout + TOLERANCE
    return raised.value


def ids(answer: FetchResult) -> list[str]:
    return [entry.id for entry in answer.entries]

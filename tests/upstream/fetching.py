"""Fetching one fake provider over real sockets: what the tests of lists and of attempts share."""

from __future__ import annotations

import json
import time

import pytest

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock, config_of

SOON = 0.6
"""Seconds that a question may take where the test waits for its end; an attempt gets a third of it."""
LATER = 2.4
"""The same where it matters that silence is noticed before the attempt as a whole is over."""
OTHER_WORK = 1.0
"""Seconds that a busy machine may add to any of our limits."""
PANGU = {"kind": "pangu", "workspace_id": "ws/1 盘", "model_ids": ["one", "two"], "api_key": "token-canary"}
VERSIONS = "/v1/workspaces/ws%2F1%20%E7%9B%98/models/{}/versions?limit=100"


def provider(base_url: str, **settings: object) -> Provider:
    text = {"providers": [{"name": "a", "base_url": base_url, "timeout": "20s", **settings}]}
    return config_of(json.dumps(text)).providers[0]


def at(address: str, **settings: object) -> Provider:
    """A provider at a host and port of this machine."""
    return provider(f"http://{address}/v1", **settings)


async def ask(provider: Provider, clock: HastyClock | None = None) -> FetchResult:
    return await ListFetcher([provider], clock or HastyClock())(provider, provider.retries)


async def failure(provider: Provider, clock: HastyClock | None = None) -> UpstreamError:
    """Why a question failed; it fails in time."""
    begun = time.monotonic()
    with pytest.raises(UpstreamError) as raised:
        await ask(provider, clock)
    assert time.monotonic() - begun < provider.timeout + OTHER_WORK
    return raised.value


def ids(answer: FetchResult) -> list[str]:
    return [entry.id for entry in answer.entries]

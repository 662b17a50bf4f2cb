"""The calls in progress at `/status.json`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import serving
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider, replies

pytestmark = pytest.mark.anyio

KEY = "sk-canary-of-an-operator"
CONFIG = f"""
providers: [{{name: a, base_url: 'URL'}}]
keys: [{{name: ops, hash: '{digest(KEY)}', models: ['*'], admin: true}}]
"""


async def test_a_call_is_listed_while_it_runs(fetch: FakeFetch, clock: FakeClock) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def respond(exchange: Exchange) -> None:
        arrived.set()
        await released.wait()
        await replies(completion("m"))(exchange)

    async def running() -> Any:
        return (await served.client.get("/status.json")).json()["running"]

    fetch.lists("a", "m")
    async with (
        fake_provider(respond) as provider,
        serving(config_of(CONFIG.replace("URL", provider.url + "/v1")), fetch, clock) as served,
    ):
        served.client.headers["authorization"] = f"Bearer {KEY}"
        calling = asyncio.create_task(served.call())
        await arrived.wait()
        during = await running()
        released.set()
        await calling
        after = await running()

    (call,) = during["calls"]
    assert call == {
        "request_id": call["request_id"],
        "route": "/v1/chat/completions",
        "key": "ops",
        "model": "m",
        "provider": "a",
        "stream": False,
        "attempts": 1,
        "seconds": call["seconds"],
    }
    assert (during["total"], after) == (1, {"total": 0, "calls": []})

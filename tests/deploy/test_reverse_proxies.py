"""The reverse proxies of docs/deployment.md pass streams, long bodies and encoded paths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from proxy.config.server import Server
from tests.deploy.reverse_proxies import HOST, ReverseProxy, caddy, nginx
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, Script, fake_provider, replies

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("configured", [nginx, caddy]),
]

Configured = Callable[[str, Path], ReverseProxy]
MODEL = "lab//100%2F2"
"""An id that is another one if a reverse proxy decodes the path."""
CALL = "/v1/chat/completions"


@asynccontextmanager
async def through(
    configured: Configured, directory: Path, fetch: FakeFetch, clock: FakeClock, script: Script
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a reverse proxy, in front of a proxy with one provider."""
    fetch.lists("a", MODEL)
    async with fake_provider(script) as provider:
        providers = f'providers: [{{name: a, base_url: "{provider.url}/v1"}}]'
        anonymous = f'server: {{allowed_hosts: [{HOST}]}}\ngroups: {{default: {{models: ["*"], call: true}}}}'
        config = f"{providers}\n{anonymous}"
        async with (
            serving(config_of(config), fetch, clock) as served,
            configured(served.url, directory).client() as client,
        ):
            yield client


async def test_the_configuration_is_valid(configured: Configured, tmp_path: Path) -> None:
    result = configured("http://127.0.0.1:8000", tmp_path).validation()
    assert result.returncode == 0, result.stderr


async def test_an_event_arrives_before_the_stream_ends(
    configured: Configured, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    arrived = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event(MODEL, "first"))
        await arrived.wait()
        await exchange.chunk(chunk_event(MODEL, "second"))
        await exchange.chunk(DONE)
        await exchange.end()

    body = {"model": MODEL, "stream": True}
    async with (
        through(configured, tmp_path, fetch, clock, script) as client,
        client.stream("POST", CALL, json=body) as response,
    ):
        chunks = response.aiter_bytes()
        first = await anext(chunks)
        arrived.set()
        rest = b"".join([chunk async for chunk in chunks])

    assert first == chunk_event(MODEL, "first")
    assert rest == chunk_event(MODEL, "second") + DONE


async def test_a_body_of_the_maximum_size_is_accepted(
    configured: Configured, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    head, tail = b'{"model": "%b", "messages": "' % MODEL.encode(), b'"}'
    longest = head + b"x" * (Server().max_request - len(head) - len(tail)) + tail
    async with through(configured, tmp_path, fetch, clock, replies(completion(MODEL))) as client:
        response = await client.post(CALL, content=longest, headers={"Content-Type": "application/json"})

    assert response.status_code == 200


async def test_a_path_is_not_decoded(
    configured: Configured, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with through(configured, tmp_path, fetch, clock, replies(completion(MODEL))) as client:
        response = await client.get(f"/v1/models/{quote(MODEL, safe='')}")

    assert (response.status_code, response.json()["id"]) == (200, MODEL)

"""A request that repeats the last one of its connection is not parsed again, and gets what a parsed one would get."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest

from proxy.server.request_parser import RequestParser
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import fake_provider, replies

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

KEY, OTHER = "sk-canary-of-a-client", "sk-canary-of-another"


def head(path: str = "/v1/models", key: str = KEY, more: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{more}\r\n".encode()


def call(body: bytes = b'{"model":"m","messages":[]}') -> bytes:
    lines = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head("/v1/chat/completions", more=lines, method="POST") + body


@asynccontextmanager
async def proxy(fetch: FakeFetch, clock: FakeClock, settings: str = "") -> AsyncIterator[Served]:
    fetch.lists("a", "m")
    async with fake_provider(replies(completion("m"))) as provider:
        text = f"""{settings}
providers: [{{name: a, base_url: "{provider.url}/v1"}}]
keys: [{{name: alice, hash: "{digest(KEY)}", models: [m]}}, {{name: bob, hash: "{digest(OTHER)}", models: []}}]
"""
        async with serving(config_of(text), fetch, clock) as served:
            yield served


async def exchange(served: Served, parts: Sequence[bytes]) -> list[bytes]:
    """Send each part when the one before it has its response. Returns the responses without what differs in each."""
    responses = []
    async with served.raw(b"") as (reader, writer):
        for part in parts:
            writer.write(part)
            received = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = re.search(rb"content-length: (\d+)", received)
            has_body = length and not part.startswith(b"HEAD") and b" 304 " not in received[:15]
            received += await reader.readexactly(int(length[1])) if has_body and length else b""
            responses.append(re.sub(rb"(?m)^(date|x-request-id|age): .*\r\n", b"", received))
    return responses


async def test_equal_requests_get_equal_responses_and_are_parsed_once(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxy(fetch, clock) as served:
        with patch.object(RequestParser, "feed", autospec=True, side_effect=RequestParser.feed) as feed:
            first, *others = await exchange(served, [head()] * 4)
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert others == [first] * 3
    assert feed.call_count == 1


async def test_each_one_has_an_id_of_its_own(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxy(fetch, clock) as served, served.raw(b"") as (reader, writer):
        ids = set()
        for _ in range(3):
            writer.write(head(method="HEAD"))
            received = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"x-request-id: (.*)\r\n", received)
            assert found
            ids.add(found[1])
    assert len(ids) == 3


async def test_an_id_of_the_client_is_kept(fetch: FakeFetch, clock: FakeClock) -> None:
    request = head(method="HEAD", more="X-Request-Id: mine-1\r\n")
    async with proxy(fetch, clock) as served, served.raw(b"") as (reader, writer):
        for sent, expected in ((request, True), (request, True), (head(method="HEAD"), False)):
            writer.write(sent)
            assert (b"x-request-id: mine-1\r\n" in await reader.readuntil(b"\r\n\r\n")) is expected


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([head("/v1/models/m")] * 3, id="one model"),
        pytest.param([head("/v1/models/unknown")] * 3, id="a response that needs a task"),
        pytest.param([head(method="HEAD")] * 3, id="without a body"),
        pytest.param([head(key="sk-canary-wrong")] * 3, id="a wrong key"),
        pytest.param([head("/v1/models/%6D?type=chat")] * 3, id="an encoded path and a query"),
        pytest.param([head(), head(key=OTHER), head(), head(), head(key=OTHER), head(key=OTHER)], id="two keys"),
        pytest.param([head(), head("/v1/models/m"), head(), head()], id="another path between"),
        pytest.param([call(), call(), head(), call(), head(), head()], id="calls between"),
        pytest.param([call()] * 3, id="bodies"),
        pytest.param([call(b"[")] * 2 + [call(), call(b"[")], id="bodies that are rejected"),
        pytest.param([head(more="X-Filler: " + "x" * 5000 + "\r\n")] * 3, id="a long head"),
        pytest.param([head(method="POST")] * 2 + [head(), head()], id="a method that is not allowed"),
        pytest.param([head("/v1/chat/completions", method="POST")] * 2, id="a call without a body"),
        pytest.param([head(more="Anthropic-Version: 2023-06-01\r\n")] * 3 + [head()] * 2, id="another format"),
        pytest.param([head(more="Accept-Encoding: gzip\r\n")] * 3 + [head()] * 2, id="compressed"),
        pytest.param([head(more="If-None-Match: *\r\n")] * 3 + [head()] * 2, id="unchanged"),
        pytest.param([head(more=f"X-Api-Key: {OTHER}\r\n")] * 2 + [head()], id="two keys in one request"),
    ],
)
async def test_a_connection_gets_what_new_connections_get(
    parts: Sequence[bytes], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxy(fetch, clock) as served:
        together = await exchange(served, parts)
        apart = [response for part in parts for response in await exchange(served, [part])]
    assert together == apart


@pytest.mark.parametrize("size", [1, 20, len(head()) - 1])
async def test_parts_of_a_head_are_not_taken_for_a_repetition(size: int, fetch: FakeFetch, clock: FakeClock) -> None:
    """The beginning of a head, and a whole head after it, are one request with a strange head."""
    async with proxy(fetch, clock) as served, served.raw(head()) as (reader, writer):
        await reader.readuntil(b'"m"')
        writer.write(head()[:size])
        await asyncio.sleep(0.01)
        writer.write(head())
        writer.write_eof()
        rest = await asyncio.wait_for(reader.read(), 10)
    assert rest.count(b"HTTP/1.1 200") == 0


async def test_pipelined_repetitions_are_answered_in_order(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxy(fetch, clock) as served, served.raw(head()) as (reader, writer):
        await reader.readuntil(b'"m"')
        writer.write(head() + head("/v1/models/m") + head())
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3:
            received += await asyncio.wait_for(reader.read(65536), 10)
    objects = re.findall(rb'"object":"(list|model)"', received[received.index(b"HTTP/1.1") :])
    assert objects == [b"list", b"model", b"model", b"list", b"model"]


async def test_a_path_below_the_base_is_shortened_once(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxy(fetch, clock, "server: {base_path: /v1}") as served:
        first, second = await exchange(served, [head("/v1/v1/models")] * 2)
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert first == second


async def test_a_key_that_is_removed_is_rejected_at_the_next_repetition(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxy(fetch, clock) as served, served.raw(head()) as (reader, writer):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b'"m"')
        config = served.app.deployment.config
        await served.app.replace(
            config_of(f"""
providers: [{{name: a, base_url: "{config.providers[0].base_url}"}}]
keys: [{{name: bob, hash: "{digest(OTHER)}", models: [m]}}]
""")
        )
        writer.write(head())
        received = b""
        while b"HTTP/1.1 " not in received:
            received += await asyncio.wait_for(reader.read(65536), 10)
    assert b"HTTP/1.1 401 " in received

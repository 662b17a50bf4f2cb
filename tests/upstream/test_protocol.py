"""Responses as bytes: what is read of each, in pieces of every kind, with and without the private parts of aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from proxy.upstream.connection import Connections
from proxy.upstream.exchange import MAX_HEADER, MAX_HEADERS, Incoming
from tests.fakes import FakeClock, config_of
from tests.listening import until
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left_behind")]

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "length": HEAD + b"Content-Length: 4\r\n\r\ntext",
    "chunks": CHUNKED + b"1\r\nt\r\n3\r\next\r\n0\r\n\r\n",
    "extensions and trailers": CHUNKED + b"4;a=b\r\ntext\r\n0\r\nx-a: b\r\n\r\n",
    "spaces after a size": CHUNKED + b"4  \r\ntext\r\n0\r\n\r\n",
    "line feeds only": b"HTTP/1.1 200 OK\nContent-Length: 4\n\ntext",
    "informational": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HEAD + b"Content-Length: 4\r\n\r\ntext",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\ntext",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ntext",
}
UNUSABLE = {
    "no HTTP": b"hello\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\ntext",
    "long header": HEAD + b"X-A: " + b"a" * (MAX_HEADER + 1) + b"\r\nContent-Length: 0\r\n\r\n",
    "many headers": HEAD + b"X-A: a\r\n" * (MAX_HEADERS + 1) + b"Content-Length: 0\r\n\r\n",
}
INCOMPLETE = {
    "length": HEAD + b"Content-Length: 5\r\n\r\ntext",
    "chunk": CHUNKED + b"5\r\ntext",
    "no last chunk": CHUNKED + b"4\r\ntext\r\n",
}


@pytest.fixture(params=["", "1"], ids=["private parts", "plain"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", request.param)


def sends(*parts: bytes, closes: bool = False) -> Script:
    async def script(exchange: Exchange) -> None:
        for part in parts:
            await exchange.send(part)
            await asyncio.sleep(0)
        exchange.keep = not closes

    return script


def connections_to(provider: FakeProvider) -> Connections:
    return Connections(config_of(f"providers: [{{name: a, base_url: '{provider.url}'}}]").providers[0], FakeClock())


async def posted(connections: Connections, provider: FakeProvider, body: bytes = b"{}") -> Incoming:
    return await connections.send("POST", URL(f"{provider.url}/v1/a"), CIMultiDict(), body)


async def whole(response: Incoming) -> bytes:
    body = b""
    while part := await response.read():
        body += part
    return body


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("response", WHOLE.values(), ids=WHOLE)
async def test_a_complete_response_is_read_and_its_connection_reused(response: bytes) -> None:
    bytewise = [response[at : at + 1] for at in range(len(response))]
    async with fake_provider(in_sequence(sends(response), sends(*bytewise))) as provider:
        connections = connections_to(provider)
        first = await posted(connections, provider)
        bodies = [await whole(first), await whole(await posted(connections, provider))]
        await connections.close()

    assert (first.status, first.is_over, bodies) == (200, True, [b"text"] * 2)
    assert provider.connections == 1


@pytest.mark.usefixtures("mode")
async def test_a_body_without_length_ends_with_the_connection() -> None:
    async with fake_provider(sends(HEAD + b"\r\nte", b"xt", closes=True)) as provider:
        connections = connections_to(provider)
        body = await whole(await posted(connections, provider))
        await connections.close()

    assert body == b"text"


@pytest.mark.usefixtures("mode")
async def test_a_response_without_content_ends_with_its_head() -> None:
    async with fake_provider(sends(b"HTTP/1.1 204 No Content\r\n\r\n")) as provider:
        connections = connections_to(provider)
        response = await posted(connections, provider)
        body = await whole(response)
        await connections.close()

    assert (response.status, body) == (204, b"")


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("response", UNUSABLE.values(), ids=UNUSABLE)
async def test_an_unusable_head_is_an_error_and_closes_the_connection(response: bytes) -> None:
    async with fake_provider(sends(response)) as provider:
        connections = connections_to(provider)
        with pytest.raises(aiohttp.ClientError):
            await posted(connections, provider)
        await until(lambda: provider.open == 0)
        await connections.close()


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("response", INCOMPLETE.values(), ids=INCOMPLETE)
async def test_an_incomplete_body_is_an_error_after_the_bytes_that_arrived(response: bytes) -> None:
    async with fake_provider(sends(response, closes=True)) as provider:
        connections = connections_to(provider)
        incoming = await posted(connections, provider)
        with pytest.raises(aiohttp.ClientPayloadError):
            await whole(incoming)
        incoming.close()
        await connections.close()


@pytest.mark.usefixtures("mode")
async def test_names_of_headers_are_lower_case_and_values_trimmed() -> None:
    async with fake_provider(sends(HEAD + b"X-Request-ID:  a b \t\r\nContent-LENGTH: 0\r\n\r\n")) as provider:
        connections = connections_to(provider)
        response = await posted(connections, provider)
        await connections.close()

    assert list(response.raw_headers) == [(b"x-request-id", b"a b"), (b"content-length", b"0")]


@pytest.mark.usefixtures("own_protocol")  # aiohttp has no limit for most of them
@pytest.mark.parametrize(
    "endless",
    [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1000),
        (HEAD + b"X-A: ", b"a" * 30_000),
        (CHUNKED + b"4;", b"a" * 30_000),
        (CHUNKED + b"0\r\nX-A: ", b"a" * 30_000),
    ],
    ids=["informational responses", "header", "chunk extension", "trailer"],
)
async def test_an_endless_response_without_content_is_ended(endless: tuple[bytes, bytes]) -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(endless[0])
        while not exchange.writer.is_closing() and sent < 64 * 1024**2:
            await exchange.send(endless[1])
            sent += len(endless[1])
        exchange.keep = False

    async with fake_provider(script) as provider:
        connections = connections_to(provider)
        with pytest.raises(aiohttp.ClientPayloadError):
            await whole(await posted(connections, provider))
        await connections.close()

    assert sent < 32 * 1024**2


async def test_a_provider_is_read_only_as_fast_as_its_client() -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(HEAD + b"Content-Length: 50000000\r\n\r\n")
        for _ in range(500):
            await exchange.send(b"x" * 100_000)
            sent += 1

    async with fake_provider(script) as provider:
        connections = connections_to(provider)
        response = await posted(connections, provider)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 200, "what the buffers of the kernel hold"
        assert len(await whole(response)) == 50_000_000
        await connections.close()


async def test_a_second_response_is_not_the_next_callers() -> None:
    twice = WHOLE["length"] + HEAD + b"Content-Length: 5\r\n\r\nwrong"
    async with fake_provider(in_sequence(sends(twice), replies(1))) as provider:
        connections = connections_to(provider)
        bodies = [await whole(await posted(connections, provider)) for _ in range(2)]
        await connections.close()

    assert bodies == [b"text", b"1"]
    assert provider.connections == 2


async def test_a_connection_is_not_reused_before_the_whole_body_was_sent() -> None:
    async with fake_provider(replies(1)) as provider:
        connections = connections_to(provider)
        server = await asyncio.start_server(_answers_early, "127.0.0.1")
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/a")
        response = await connections.send("POST", url, CIMultiDict(), b"x" * 50_000_000)
        body = await whole(response)
        connector = connections.session.connector
        idle = [len(kept) for kept in connector._conns.values()]  # type: ignore[union-attr]
        await connections.close()
        server.close()

    assert (response.status, body, idle) == (413, b"text", [])


async def _answers_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\ntext")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()

"""Bodies are decompressed and limited, and sockets are closed, for any response."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamError
from proxy.upstream.transport import DecodedBodies, TrackedSockets
from tests.leaks import Held
from tests.providers.faults import playing

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


class Chunks(httpx.AsyncByteStream):
    """A body of these chunks, available immediately. Records how many were read and whether it was closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.read_count = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.read_count += 1
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class Answers(httpx.AsyncBaseTransport):
    """A transport that always returns this response."""

    def __init__(self, body: Chunks, headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> None:
        self._body = body
        self._headers = headers
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=self._headers, stream=self._body)

    async def aclose(self) -> None:
        self.closed = True


async def read(
    body: Chunks, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), max_body: int = MIB
) -> list[bytes]:
    """The chunks of a decoded body."""
    plain = DecodedBodies(Answers(body, headers), max_body)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        return [piece async for piece in response.aiter_raw()]


async def rejection(
    body: Chunks, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), max_body: int = MIB
) -> str:
    with pytest.raises(UpstreamError) as raised:
        await read(body, headers, max_body)
    assert body.closed
    return str(raised.value)


GZIP = {"content-encoding": "gzip"}


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip "])
async def test_gzip_body_is_decompressed(coding: str) -> None:
    assert b"".join(await read(Chunks([gzip.compress(b"text")]), {"content-encoding": coding})) == b"text"


@pytest.mark.parametrize("coding", ["", "identity", "utf-8", "UTF-8", "none", "gzipped"])
async def test_gzip_body_is_decompressed_although_it_is_not_announced(coding: str) -> None:
    body = gzip.compress(b"text")
    assert b"".join(await read(Chunks([b"", body[:1], body[1:]]), {"content-encoding": coding})) == b"text"


@pytest.mark.parametrize("coding", ["", "identity", "utf-8", "none", "gzip", "x-gzip"])
async def test_plain_body_is_unchanged(coding: str) -> None:
    assert await read(Chunks([b"te", b"xt"]), {"content-encoding": coding}) == [b"te", b"xt"]


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "utf-8, br"])
async def test_other_content_encoding_is_rejected_unread(coding: str) -> None:
    body = Chunks([b"x"])
    why = await rejection(body, {"content-encoding": coding})
    assert (why, body.read_count) == (
        "invalid_response: returned an unusable response (unexpected content-encoding)",
        0,
    )


async def test_two_content_encoding_headers_are_rejected() -> None:
    codings = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    assert (await rejection(Chunks([b"x"]), codings)).startswith("invalid_response")


async def test_httpx_does_not_decompress_again() -> None:
    plain = DecodedBodies(Answers(Chunks([gzip.compress(b"text")]), {**GZIP, "content-length": "24", "x-a": "b"}), MIB)
    async with httpx.AsyncClient(transport=plain) as client:
        response = await client.get("http://models.example/")
    assert (response.content, response.headers.multi_items()) == (b"text", [("x-a", "b")])


@settings(deadline=None)
@given(st.binary(max_size=2000), st.lists(st.integers(1, 50), max_size=20))
def test_gzip_body_can_be_split_anywhere(text: bytes, cuts: list[int]) -> None:
    packed = gzip.compress(text)
    edges = [0, *sorted(min(sum(cuts[: index + 1]), len(packed)) for index in range(len(cuts))), len(packed)]
    pieces = [packed[start:end] for start, end in pairwise(edges)]
    assert b"".join(asyncio.run(read(Chunks(pieces), GZIP))) == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=4), st.booleans())
def test_any_gzip_body_is_decompressed_or_rejected(pieces: list[bytes], looks_true: bool) -> None:
    try:
        asyncio.run(read(Chunks([b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00" if looks_true else b"", *pieces]), GZIP))
    except UpstreamError as error:
        assert error.kind == "invalid_response"  # noqa: PT017  # most input is rejected, some is valid


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(
            gzip.compress(b"text")[:-1],
            "invalid_response: returned an unusable response (truncated gzip body)",
            id="truncated by one byte",
        ),
        pytest.param(b"", "invalid_response: returned an unusable response (truncated gzip body)", id="nothing at all"),
        pytest.param(
            gzip.compress(b"text")[:-8] + b"\0" * 8,
            "invalid_response: returned an unusable response (invalid gzip data)",
            id="wrong checksum",
        ),
        pytest.param(
            gzip.compress(b"text") + b"x",
            "invalid_response: returned an unusable response (data after the gzip body)",
            id="and more",
        ),
    ],
)
async def test_incomplete_gzip_body_is_rejected(body: bytes, why: str) -> None:
    assert await rejection(Chunks([body]), GZIP) == why


async def test_gzip_bomb_is_decompressed_in_small_chunks_only_up_to_the_limit() -> None:
    pieces: list[int] = []
    with pytest.raises(UpstreamError, match="returned more than 16,777,216 bytes"):
        await _note_sizes(Chunks([gzip.compress(bytes(64 * MIB))]), pieces)
    assert max(pieces) <= 64 * 1024
    assert sum(pieces) == 16 * MIB


async def _note_sizes(body: Chunks, sizes: list[int]) -> None:
    plain = DecodedBodies(Answers(body, GZIP), 16 * MIB)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        async for piece in response.aiter_raw():
            sizes.append(len(piece))


@pytest.mark.parametrize("packed", [False, True])
async def test_body_at_the_limit_is_accepted_and_one_byte_more_is_rejected(packed: bool) -> None:
    def body(size: int) -> Chunks:
        return Chunks([gzip.compress(bytes(size))] if packed else [bytes(size)])

    headers = GZIP if packed else {}
    assert sum(map(len, await read(body(1000), headers, max_body=1000))) == 1000
    assert await rejection(body(1001), headers, 1000) == "too_large: returned more than 1,000 bytes (max_body)"


async def test_body_with_a_too_large_content_length_is_not_read() -> None:
    body = Chunks([b"x"])
    why = await rejection(body, {"content-length": str(MIB + 1)})
    assert (why, body.read_count) == ("too_large: returned more than 1,048,576 bytes (max_body)", 0)


async def test_endless_body_is_read_only_up_to_the_limit() -> None:
    body = Chunks(iter(lambda: bytes(1000), None))
    await rejection(body, max_body=10_000)
    assert body.read_count == 11


async def test_invalid_body_does_not_fail_if_only_the_status_is_read() -> None:
    body = Chunks([b"x"])
    plain = DecodedBodies(Answers(body, {"content-encoding": "br"}), MIB)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        assert response.status_code == 200
    assert (body.read_count, body.closed) == (0, True)


async def test_event_loop_is_not_blocked_by_a_body_of_many_chunks() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await read(Chunks([b"x"] * 2000))
    other.cancel()
    assert turns >= 20


async def test_close_closes_the_inner_transport() -> None:
    inner = Answers(Chunks([]), {})
    await DecodedBodies(inner, MIB).aclose()
    assert inner.closed


@pytest.mark.parametrize("cut_after", [0.0, 0.001, 0.05])
async def test_connection_cancelled_during_its_handshake_is_closed(cut_after: float) -> None:
    async with playing("hang-before-headers", unsolicited=True) as server:
        held = Held.now()
        async with TrackedSockets(httpx.AsyncHTTPTransport(verify=False), 5.0) as sockets:
            request = httpx.Request("GET", f"https://{server.address}/")
            exchange = asyncio.create_task(sockets.handle_async_request(request))
            await asyncio.sleep(cut_after)
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
        assert await held.left() == Held(), "while the other side is still there"


async def test_keep_alive_connection_is_closed_with_the_transport() -> None:
    async with playing("list") as server:
        held = Held.now()
        sockets = TrackedSockets(httpx.AsyncHTTPTransport(verify=False), 5.0)
        response = await sockets.handle_async_request(httpx.Request("GET", f"http://{server.address}/"))
        await response.aread()
        await response.aclose()
        assert await held.left() != Held(), "kept for the next page"
        await sockets.aclose()
        assert await held.left() == Held()

"""Bodies that are plain and counted, whatever comes; sockets that are closed, whatever happens."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamError
from proxy.upstream.transport import OwnSockets, PlainBodies
from tests.leaks import Held
from tests.providers.faults import playing

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


class Pieces(httpx.AsyncByteStream):
    """A body in these pieces, all there at once; remembers how many were taken and whether it was closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class Answers(httpx.AsyncBaseTransport):
    """A transport that always answers so."""

    def __init__(self, body: Pieces, headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> None:
        self._body = body
        self._headers = headers
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=self._headers, stream=self._body)

    async def aclose(self) -> None:
        self.closed = True


async def read(
    body: Pieces, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), max_body: int = MIB
) -> list[bytes]:
    """The pieces in which a body comes out."""
    plain = PlainBodies(Answers(body, headers), max_body)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        return [piece async for piece in response.aiter_raw()]


async def refusal(
    body: Pieces, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), max_body: int = MIB
) -> str:
    with pytest.raises(UpstreamError) as raised:
        await read(body, headers, max_body)
    assert body.closed
    return str(raised.value)


GZIP = {"content-encoding": "gzip"}


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip "])
async def test_a_gzip_body_comes_out_plain(coding: str) -> None:
    assert b"".join(await read(Pieces([gzip.compress(b"text")]), {"content-encoding": coding})) == b"text"


@pytest.mark.parametrize("coding", ["", "identity"])
async def test_a_plain_body_comes_out_as_it_is(coding: str) -> None:
    assert await read(Pieces([b"te", b"xt"]), {"content-encoding": coding}) == [b"te", b"xt"]


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "gzipped"])
async def test_any_other_coding_is_refused_unread(coding: str) -> None:
    body = Pieces([b"x"])
    why = await refusal(body, {"content-encoding": coding})
    assert (why, body.taken) == ("invalid_response: answered in a content-encoding that was not asked for", 0)


async def test_two_codings_in_two_headers_are_two_codings() -> None:
    codings = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    assert (await refusal(Pieces([b"x"]), codings)).startswith("invalid_response")


async def test_httpx_does_not_unpack_a_second_time() -> None:
    plain = PlainBodies(Answers(Pieces([gzip.compress(b"text")]), {**GZIP, "content-length": "24", "x-a": "b"}), MIB)
    async with httpx.AsyncClient(transport=plain) as client:
        response = await client.get("http://models.example/")
    assert (response.content, response.headers.multi_items()) == (b"text", [("x-a", "b")])


@settings(deadline=None)
@given(st.binary(max_size=2000), st.lists(st.integers(1, 50), max_size=20))
def test_a_gzip_body_may_be_cut_anywhere_on_its_way(text: bytes, cuts: list[int]) -> None:
    packed = gzip.compress(text)
    edges = [0, *sorted(min(sum(cuts[: index + 1]), len(packed)) for index in range(len(cuts))), len(packed)]
    pieces = [packed[start:end] for start, end in pairwise(edges)]
    assert b"".join(asyncio.run(read(Pieces(pieces), GZIP))) == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=4), st.booleans())
def test_whatever_is_called_gzip_is_unpacked_or_refused(pieces: list[bytes], looks_true: bool) -> None:
    try:
        asyncio.run(read(Pieces([b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00" if looks_true else b"", *pieces]), GZIP))
    except UpstreamError as error:
        assert error.kind == "invalid_response"  # noqa: PT017  # most input is refused, some is fine


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(gzip.compress(b"text")[:-1], "invalid_response: the gzip body was cut off", id="cut by one byte"),
        pytest.param(b"", "invalid_response: the gzip body was cut off", id="nothing at all"),
        pytest.param(b'{"data":[]}', "invalid_response: said gzip and sent something else", id="plain text"),
        pytest.param(zlib.compress(b"text"), "invalid_response: said gzip and sent something else", id="zlib"),
        pytest.param(
            gzip.compress(b"text")[:-8] + b"\0" * 8,
            "invalid_response: said gzip and sent something else",
            id="wrong checksum",
        ),
        pytest.param(
            gzip.compress(b"text") + b"x",
            "invalid_response: something stands behind the end of the gzip body",
            id="and more",
        ),
    ],
)
async def test_a_gzip_body_that_is_not_whole_is_refused(body: bytes, why: str) -> None:
    assert await refusal(Pieces([body]), GZIP) == why


async def test_a_bomb_is_unpacked_in_small_pieces_and_only_up_to_the_limit() -> None:
    pieces: list[int] = []
    with pytest.raises(UpstreamError, match="larger than 16,777,216 bytes"):
        await _note_sizes(Pieces([gzip.compress(bytes(64 * MIB))]), pieces)
    assert max(pieces) <= 64 * 1024
    assert sum(pieces) == 16 * MIB


async def _note_sizes(body: Pieces, sizes: list[int]) -> None:
    plain = PlainBodies(Answers(body, GZIP), 16 * MIB)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        async for piece in response.aiter_raw():
            sizes.append(len(piece))


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_not(packed: bool) -> None:
    def body(size: int) -> Pieces:
        return Pieces([gzip.compress(bytes(size))] if packed else [bytes(size)])

    headers = GZIP if packed else {}
    assert sum(map(len, await read(body(1000), headers, max_body=1000))) == 1000
    assert await refusal(body(1001), headers, 1000) == "too_large: the body is larger than 1,000 bytes (max_body)"


async def test_a_body_that_is_announced_as_too_large_is_not_begun() -> None:
    body = Pieces([b"x"])
    why = await refusal(body, {"content-length": str(MIB + 1)})
    assert (why, body.taken) == ("too_large: the body is larger than 1,048,576 bytes (max_body)", 0)


async def test_an_endless_body_is_taken_only_up_to_the_limit() -> None:
    body = Pieces(iter(lambda: bytes(1000), None))
    await refusal(body, max_body=10_000)
    assert body.taken == 11


async def test_whom_only_the_status_interests_is_not_troubled_by_the_body() -> None:
    body = Pieces([b"x"])
    plain = PlainBodies(Answers(body, {"content-encoding": "br"}), MIB)
    async with httpx.AsyncClient(transport=plain) as client, client.stream("GET", "http://models.example/") as response:
        assert response.status_code == 200
    assert (body.taken, body.closed) == (0, True)


async def test_other_tasks_get_their_turn_while_a_body_of_many_pieces_is_read() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await read(Pieces([b"x"] * 2000))
    other.cancel()
    assert turns >= 20


async def test_closing_closes_what_is_behind_it() -> None:
    inner = Answers(Pieces([]), {})
    await PlainBodies(inner, MIB).aclose()
    assert inner.closed


@pytest.mark.parametrize("cut_after", [0.0, 0.001, 0.05])
async def test_a_connection_that_is_cut_off_in_its_handshake_is_closed(cut_after: float) -> None:
    async with playing("hang-before-headers", unsolicited=True) as server:
        held = Held.now()
        async with OwnSockets(httpx.AsyncHTTPTransport(verify=False), 5.0) as sockets:
            request = httpx.Request("GET", f"https://{server.address}/")
            exchange = asyncio.create_task(sockets.handle_async_request(request))
            await asyncio.sleep(cut_after)
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
        assert await held.left() == Held(), "while the other side is still there"


async def test_a_connection_that_is_kept_is_closed_in_the_end() -> None:
    async with playing("list") as server:
        held = Held.now()
        sockets = OwnSockets(httpx.AsyncHTTPTransport(verify=False), 5.0)
        response = await sockets.handle_async_request(httpx.Request("GET", f"http://{server.address}/"))
        await response.aread()
        await response.aclose()
        assert await held.left() != Held(), "kept for the next page"
        await sockets.aclose()
        assert await held.left() == Held()

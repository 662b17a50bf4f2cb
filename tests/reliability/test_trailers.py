"""Fields after a chunked body are never used as headers, and are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from proxy.server import heads
from proxy.server.protocol import Protocol
from tests.fakes import KEY_HEADERS, FakeClock, FakeFetch, holding
from tests.listening import until
from tests.providers.scripted import Exchange
from tests.reliability.smuggling import KEY, chunk
from tests.reliability.targets import ANSWER, received_from, responses, target

pytestmark = pytest.mark.anyio

CALL = b'{"model": "m", "messages": []}'
PROTOCOLS = [Protocol, H11Protocol]


def call(headers: Mapping[str, str], trailers: Mapping[str, str]) -> bytes:
    """A call in chunks, with these trailers."""
    start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\n"
    return b"%b%b\r\n%b0\r\n%b\r\n" % (start, lines(headers), chunk(CALL), lines(trailers))


def lines(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()


CLOSE = {"Connection": "close"}
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_a_key_in_a_trailer_does_not_authenticate(
    header: str, protocol: Callable[..., asyncio.Protocol], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with target(fetch, clock, protocol=protocol) as (served, _, provider):
        received = await received_from(served, [call(CLOSE, holding(header, KEY))])

    assert [response.status for response in responses(received)] == [401]
    assert provider.requests == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_key_in_a_trailer_does_not_authenticate_a_request_that_waits_for_an_earlier_call(
    protocol: Callable[..., asyncio.Protocol], fetch: FakeFetch, clock: FakeClock
) -> None:
    released = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await released.wait()
        await ANSWER(exchange)

    async with target(fetch, clock, script, protocol) as (served, _, provider):
        waiting = call(AUTHORIZED, {}) + call(CLOSE, AUTHORIZED)
        reading = asyncio.create_task(received_from(served, [waiting]))
        await until(lambda: len(provider.requests) == 1)
        released.set()
        received = await reading

    assert [response.status for response in responses(received)] == [200, 401]
    assert len(provider.requests) == 1


async def test_a_trailer_is_not_forwarded(fetch: FakeFetch, clock: FakeClock) -> None:
    async with target(fetch, clock, protocol=Protocol) as (served, _, provider):
        request = call({**AUTHORIZED, **CLOSE}, {"OpenAI-Beta": "from-a-trailer", "X-Request-Id": "from-a-trailer"})
        received = await received_from(served, [request])

    assert [response.status for response in responses(received)] == [200]
    (forwarded,) = provider.requests
    assert (forwarded.body, "from-a-trailer" in forwarded.headers.values()) == (CALL, False)
    assert b"from-a-trailer" not in received


@pytest.mark.parametrize(
    ("endless", "start"),
    [
        pytest.param(b"x" * 1000, b"0\r\nX-Long: ", id="a value"),
        pytest.param(b"x" * 1000, b"0\r\nX-", id="a name"),
        pytest.param(b"X-Odd: x\r\n" * 100, b"0\r\n", id="many fields"),
        pytest.param(b"x" * 1000, b"1;", id="a chunk extension"),
        pytest.param(b"0" * 1000, b"", id="a chunk size"),
    ],
)
async def test_what_follows_a_chunk_is_bounded(
    endless: bytes, start: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    head = call(AUTHORIZED, {}).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    segments = [head + chunk(CALL) + start, *[endless] * 10_000]
    async with target(fetch, clock, protocol=Protocol) as (served, _, provider):
        taken = iter(segments)
        received = await received_from(served, taken)

    assert [(response.status, response.is_last) for response in responses(received)] == [(400, True)]
    assert (10_000 - len(list(taken))) * len(endless) < 3 * heads.MAX_TRAILER_BYTES
    assert provider.requests == []


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        ({f"X-{number}": "v" for number in range(heads.MAX_TRAILERS)}, 200),
        ({f"X-{number}": "v" for number in range(heads.MAX_TRAILERS + 1)}, 400),
        ({"X-A": "v" * (heads.MAX_TRAILER_BYTES // 2), "X-B": "v" * (heads.MAX_TRAILER_BYTES // 2 - 100)}, 200),
        ({"X-A": "v" * (heads.MAX_TRAILER_BYTES // 2), "X-B": "v" * (heads.MAX_TRAILER_BYTES // 2)}, 400),
    ],
    ids=["as many as allowed", "one more", "as long as allowed", "longer"],
)
async def test_trailers_within_the_limits_are_dropped_and_others_refused(
    trailers: Mapping[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with target(fetch, clock, protocol=Protocol) as (served, _, _):
        received = await received_from(served, [call({**AUTHORIZED, **CLOSE}, trailers)])

    assert [response.status for response in responses(received)] == [status]
    refusal = b"more than 100 trailers or 32 KiB after a chunk"
    assert (refusal in received) is (status == 400)

"""A request that is rejected never changes the responses to earlier requests on the connection."""

from __future__ import annotations

import asyncio
import re

import pytest

from proxy.server.protocol import Protocol
from tests.fakes import FakeClock, FakeFetch
from tests.listening import until
from tests.providers.calls import DONE, chunk_event
from tests.providers.scripted import Exchange, Script
from tests.reliability.smuggling import chunk, coded, get, post, sized
from tests.reliability.targets import ANSWER, Response, received_from, responses, target

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CALL = b'{"model": "m", "messages": []}'
STREAM = b'{"model": "m", "messages": [], "stream": true}'
MALFORMED = {
    "a head that the parser rejects": b"GET /v1/models HTTP/1.1\r\nHost: proxy\nX: y\r\n\r\n",
    "an ambiguous head": get(host=b""),
    "an ambiguous head with Upgrade": get(b"Connection: upgrade\r\nUpgrade: h2c\r\n", host=b""),
    "a tunnel": get(line=b"CONNECT proxy:443 HTTP/1.1"),
    "an invalid body": post(b"Transfer-Encoding: chunked\r\n", b"0x5\r\n"),
    "an invalid trailer": post(b"Transfer-Encoding: chunked\r\n", chunk(CALL) + b"0\r\nHost: proxy\r\n\r\n"),
}


def held(released: asyncio.Event) -> Script:
    """The first part of a response, and the rest when it is released."""

    async def script(exchange: Exchange) -> None:
        if b"stream" not in exchange.request.body:
            await released.wait()
            await ANSWER(exchange)
            return
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "first"))
        await released.wait()
        await exchange.chunk(chunk_event("m", "second") + DONE)
        await exchange.end()

    return script


def unframed(received: bytes) -> bytes:
    """Responses without chunk sizes: parts that arrive together are one chunk."""
    return re.sub(rb"\r\n[0-9a-f]+\r\n", b"", received)


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("earlier", [[CALL], [STREAM], [CALL, CALL], [STREAM, STREAM]], ids=str)
async def test_it_is_rejected_after_the_responses_to_earlier_requests(
    name: str, earlier: list[bytes], fetch: FakeFetch, clock: FakeClock
) -> None:
    released = asyncio.Event()
    calls = b"".join(sized(b" %d", call) for call in earlier)
    async with target(fetch, clock, held(released)) as (served, _, provider):
        alone = asyncio.create_task(received_from(served, [calls + get(b"Connection: close\r\n")]))
        await until(lambda: len(provider.requests) == 1)
        reading = asyncio.create_task(received_from(served, [calls, MALFORMED[name] + get()]))
        await until(lambda: len(provider.requests) == 2)
        released.set()
        expected, received = await alone, await reading

    answers = responses(received)
    assert answers[:-1] == [Response(200, b"form", is_last=False)] * len(earlier)
    assert (answers[-1].status, answers[-1].is_last) == (400, True)
    before = received[: received.rindex(b"HTTP/1.1 400")]
    assert unframed(before) == unframed(expected[: expected.rindex(b"HTTP/1.1 200")])


async def test_a_call_whose_body_becomes_invalid_gets_400_and_is_not_forwarded(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with target(fetch, clock) as (served, decided, provider):
        request = coded(b" chunked")
        received = await received_from(served, [request[:-7], b"0x5\r\n", get()])

    assert [(answer.status, answer.is_last) for answer in responses(received)] == [(400, True)]
    assert (decided, provider.requests) == ([b"form"], [])


async def test_a_body_that_becomes_invalid_after_the_response_closes_the_connection(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with target(fetch, clock) as (served, decided, _):
        rejected = post(b"Transfer-Encoding: chunked\r\n").replace(b"sk-fake-alice", b"sk-fake-nobody")
        received = await received_from(served, [rejected, b"0x5\r\n", get()])

    assert responses(received) == [Response(401, b"form", is_last=True)]
    assert decided == [b"form"]


class Careless(Protocol):
    """The proxy's protocol without the receiver, which divides what was received into requests."""

    def data_received(self, data: bytes) -> None:
        self.parser.feed(data)


async def test_two_requests_are_never_answered_at_once_even_if_both_reach_the_parser(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    released = asyncio.Event()
    async with target(fetch, clock, held(released), Careless) as (served, decided, _):
        released.set()
        received = await received_from(served, [sized(b" %d", CALL) * 2])

    assert [(answer.status, answer.is_last) for answer in responses(received)] == [(400, True)]
    assert decided == [b"form"]

"""Streams that are refused before their first output: the status line is held, and comments keep clients connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import pytest

from tests.fakes import FakeClock, FakeFetch
from tests.inference.test_failover import calling, code, outcomes
from tests.listening import TIMEOUT, circuit_of
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, Script, in_sequence, replies

pytestmark = pytest.mark.anyio

FINE = streams(chunk_event("m", "fine"), DONE)
EVENTS = chunk_event("m", "fine") + DONE
ROLE = chunk_event("m", "").replace(b'"content"', b'"role":"assistant","content"')
CREATED = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{}}\n\n'
STARTED = b'event: message_start\ndata: {"type":"message_start","message":{"model":"m"}}\n\n'
NO_WORKER = b'data: {"error":{"message":"no worker","code":502}}\n\n'
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
FAILED = (
    b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"server_error",'
    b'"message":"sorry"}}}\n\n'
)
COMMENT = b": keep-alive\n\n"


def then(script: Script, *events: bytes) -> Script:
    """A stream that begins with these events and then does as the script."""

    async def begins(exchange: Exchange) -> None:
        await exchange.stream()
        for event in events:
            await exchange.chunk(event)
        await script(exchange)

    return begins


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def ends(exchange: Exchange) -> None:
    await exchange.end()


REFUSALS = {
    "an error": streams(NO_WORKER),
    "an error after a role": streams(ROLE, NO_WORKER),
    "an error of messages": streams(STARTED, OVERLOADED),
    "an error of responses": streams(CREATED, FAILED),
    "an error in one chunk with other events": streams(ROLE + NO_WORKER + DONE),
    "an error, then a reset": then(resets, NO_WORKER),
    "no event": streams(),
    "the last event alone": streams(DONE),
    "a role alone": streams(ROLE, DONE),
    "a role, then a reset": then(resets, ROLE),
}


@pytest.mark.parametrize("more", ["", "exclude: [m], aliases: {m: only-a}"], ids=["own id", "alias"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_stream_that_is_rejected_before_its_first_output_fails_over(
    refusal: Script, more: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, refusal, FINE, more=[more]) as (served, (first, _)):
        answer = await served.call(stream=True)
        assert (answer.status_code, answer.content) == (200, EVENTS)
        assert outcomes(served) == {"a": {"failed": 1}, "b": {"ok": 1}}
        assert circuit_of(served.app, "a").in_flight == 0
        assert len(first.requests) == 1


@pytest.mark.parametrize(
    ("events", "status", "expected"),
    [
        ([NO_WORKER], 502, "provider_failed"),
        ([STARTED, OVERLOADED], 503, "provider_unavailable"),
        ([CREATED, FAILED], 502, "provider_failed"),
        ([b'data: {"error":{"message":"too long","type":"invalid_request_error","code":"own"}}\n\n'], 400, "own"),
    ],
)
async def test_an_error_as_the_first_event_has_its_status_if_no_provider_is_left(
    events: Sequence[bytes], status: int, expected: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, streams(*events)) as (served, _):
        assert code(await served.call(stream=True)) == (status, expected)


async def test_an_error_about_the_request_does_not_fail_over(fetch: FakeFetch, clock: FakeClock) -> None:
    refused = streams(b'data: {"error":{"message":"too long","code":"context_length_exceeded"}}\n\n')
    async with calling(fetch, clock, refused, FINE) as (served, (_, second)):
        assert code(await served.call(stream=True)) == (400, "context_length_exceeded")
        assert second.requests == []


async def test_an_error_after_output_is_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, streams(ROLE, chunk_event("m", "x"), NO_WORKER), FINE) as (served, (_, second)):
        answer = await served.call(stream=True)
        assert (answer.status_code, answer.content) == (200, ROLE + chunk_event("m", "x") + NO_WORKER)
        assert second.requests == []


@pytest.mark.parametrize("events", [(), (DONE,), (ROLE, DONE)])
async def test_an_empty_stream_is_relayed_if_no_provider_is_left(
    events: Sequence[bytes], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, streams(*events)) as (served, _):
        answer = await served.call(stream=True)
        assert (answer.status_code, answer.content) == (200, b"".join(events))


@pytest.mark.parametrize("on", ["[stream_error]", "[429, 503]"])
async def test_an_empty_stream_is_relayed_if_it_is_not_in_failover_on(
    on: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    more = [f"failover_on: {on}"]
    async with calling(fetch, clock, streams(DONE), FINE, more=more) as (served, (_, second)):
        assert (await served.call(stream=True)).content == DONE
        assert second.requests == []


async def test_events_without_output_are_held_for_a_second(fetch: FakeFetch, clock: FakeClock) -> None:
    goes_on = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(ROLE)
        await goes_on.wait()
        await exchange.chunk(NO_WORKER)
        await exchange.end()

    loop = asyncio.get_running_loop()
    async with calling(fetch, clock, slow, FINE) as (served, (_, second)):
        began = loop.time()
        async with served.client.stream("POST", "/v1/chat/completions", json={"model": "m", "stream": True}) as answer:
            body = answer.aiter_raw()
            assert await asyncio.wait_for(anext(body), TIMEOUT) == ROLE
            assert loop.time() - began >= 1
            goes_on.set()
            assert await anext(body) == NO_WORKER, "what follows is relayed: failover is over"
        assert second.requests == []


async def test_comments_continue_immediately_and_the_next_provider_continues_the_stream(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    goes_on = asyncio.Event()

    async def comments(exchange: Exchange) -> None:
        await exchange.stream(**{"x-request-id": "req_a"})
        await exchange.chunk(b": PROCESSING\n\n" + ROLE)
        await goes_on.wait()
        await exchange.chunk(NO_WORKER)
        await exchange.end()

    async def fine(exchange: Exchange) -> None:
        await exchange.stream(**{"x-request-id": "req_b"})
        await exchange.chunk(EVENTS)
        await exchange.end()

    async with calling(fetch, clock, comments, fine) as (served, _):
        headers = {"X-Request-Id": "id-0"}
        request = {"model": "m", "stream": True}
        async with served.client.stream("POST", "/v1/chat/completions", json=request, headers=headers) as answer:
            body = answer.aiter_raw()
            assert await asyncio.wait_for(anext(body), TIMEOUT) == b": PROCESSING\n\n"
            assert (answer.status_code, answer.headers["x-upstream-request-id"]) == (200, "req_a")
            goes_on.set()
            assert b"".join([part async for part in body]) == EVENTS
    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        "call id-0: failover from a to b: an error within a 2xx response (stream_error, status 502): "
        "status 502: no worker; model 'm', no key, upstream request id req_a",
        "call id-0: headers not sent, because the response had already started: x-upstream-request-id: req_b",
    ]


# -- comments before the head ------------------------------------------------------------------------------------------

QUICK = "{sse_keepalive: 10ms}"


class Late:
    """A script whose response begins when it is released."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def __call__(self, exchange: Exchange) -> None:
        await self._released.wait()
        await self._script(exchange)


async def after_a_comment(
    late: Late, *others: Script, fetch: FakeFetch, clock: FakeClock, path: str = "/v1/chat/completions"
) -> bytes:
    """Return the response after the first comment, without further comments."""
    async with calling(fetch, clock, late, *others, server=QUICK) as (served, _):
        async with served.client.stream("POST", path, json={"model": "m", "stream": True}) as answer:
            body = answer.aiter_raw()
            assert await asyncio.wait_for(anext(body), TIMEOUT) == COMMENT
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["x-request-id"]
            late.release()
            rest = b"".join([part async for part in body])
        assert circuit_of(served.app, "a").in_flight == 0
    return rest.replace(COMMENT, b"")


async def test_comments_are_sent_before_a_provider_responds(fetch: FakeFetch, clock: FakeClock) -> None:
    assert await after_a_comment(Late(FINE), fetch=fetch, clock=clock) == EVENTS


async def test_a_rejection_after_comments_fails_over(fetch: FakeFetch, clock: FakeClock) -> None:
    late = Late(replies({"error": {"message": "slow down"}}, 429))
    assert await after_a_comment(late, FINE, fetch=fetch, clock=clock) == EVENTS


@pytest.mark.parametrize(
    ("path", "event"),
    [
        (
            "/v1/chat/completions",
            {
                "error": {
                    "message": "slow down",
                    "type": "rate_limit_error",
                    "status": 429,
                    "param": None,
                    "code": "own",
                }
            },
        ),
        (
            "/v1/messages",
            {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down", "status": 429}},
        ),
        (
            "/v1/responses",
            {
                "type": "error",
                "message": "slow down",
                "param": None,
                "code": "own",
                "status": 429,
                "sequence_number": 0,
                "error": {
                    "message": "slow down",
                    "param": None,
                    "code": "own",
                    "status": 429,
                    "type": "rate_limit_error",
                },
            },
        ),
    ],
)
async def test_a_rejection_after_comments_is_an_error_event_with_its_status(
    path: str, event: object, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    late = Late(replies({"error": {"message": "slow down", "code": "own"}}, 429, {"Retry-After": "7"}))
    (rest,) = [await after_a_comment(late, fetch=fetch, clock=clock, path=path)]
    *_, data = rest.partition(b"data: ")
    assert rest.startswith(b"data: " if "chat" in path else b"event: error\ndata: ")
    assert msgspec.json.decode(data) == event
    assert any("headers not sent" in message and "retry-after: 7" in message for message in caplog.messages)


@pytest.mark.parametrize("body", [completion("m"), {"error": {"message": "no worker", "code": 502}}])
async def test_json_after_comments_is_an_error_event(body: object, fetch: FakeFetch, clock: FakeClock) -> None:
    (rest,) = [await after_a_comment(Late(replies(body)), fetch=fetch, clock=clock)]
    error = msgspec.json.decode(rest.removeprefix(b"data: "))["error"]
    assert (error["status"], error["code"]) == (502, "provider_failed")
    assert ("did not return an event stream" in error["message"]) == ("choices" in str(body))


@pytest.mark.parametrize("stream", [None, False])
async def test_calls_without_stream_have_no_comments(stream: bool | None, fetch: FakeFetch, clock: FakeClock) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await replies({}, 400)(exchange)

    async with calling(fetch, clock, slow, server=QUICK) as (served, _):
        assert (await served.call(stream=stream)).status_code == 400


async def test_json_before_the_first_comment_is_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(replies(completion("m")))) as (served, _):
        assert (await served.call(stream=True)).json() == completion("m")

"""A virtual model's targets are not named in errors within a response; what the model has written stays as it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Script, fake_provider, replies

pytestmark = pytest.mark.anyio

WRITTEN = "I am gpt-5-2025-08-07, an error, made by gpt-5."
DELTA = chunk_event("smart", WRITTEN)


def data(payload: object, name: str = "") -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(payload)}\n\n".encode()


ERRORS = {
    "chat completions": data({"error": {"message": "gpt-5 is overloaded", "param": "gpt-5-2025-08-07"}}),
    "with an escaped name": data({"error": {"message": "gpt-5 is overloaded"}}).replace(b"error", rb"\u0065rror"),
    "with an escaped id": data({"error": {"message": "gpt-5 is overloaded"}}).replace(b"gpt-5", rb"\u0067pt-5"),
    "a text": data({"error": "gpt-5 is overloaded"}),
    "messages": data({"type": "error", "error": {"type": "overloaded_error", "message": "gpt-5 is busy"}}, "error"),
    "responses": data({"type": "error", "code": "server_error", "message": "gpt-5 failed", "sequence_number": 2}),
    "a failed response": data(
        {"type": "response.failed", "response": {"model": "gpt-5", "error": {"code": "x", "message": "gpt-5 failed"}}},
        "response.failed",
    ),
    "a long failed response": data(
        {"type": "response.failed", "response": {"tools": "x" * 100_000, "error": {"message": "gpt-5 failed"}}}
    ),
    "a choice": data({"choices": [{"index": 0, "delta": {}, "error": {"message": "gpt-5 failed", "code": 502}}]}),
    "no JSON": b"event: error\ndata: gpt-5 failed\n\n",
    "in two lines": b'event: error\ndata: {"message":\ndata: "gpt-5 failed"}\n\n',
    "after a list": data({"error": [{"message": "gpt-5 failed"}]}),
    "with half a character": data({"error": {"message": "gpt-5 \ud83d failed"}}),
}


@asynccontextmanager
async def answering(
    fetch: FakeFetch, clock: FakeClock, script: Script, *, stream: bool = False
) -> AsyncIterator[httpx.Response]:
    async with fake_provider(script) as provider:
        fetch.lists("a", "gpt-5")
        text = f"models: [{{id: smart, targets: [gpt-5]}}]\nproviders: [{{name: a, base_url: '{provider.url}/v1'}}]\n"
        text += "groups: {default: {models: ['*'], call: true}}"
        async with serving(config_of(text), fetch, clock) as served:
            yield await served.call("smart", stream=stream)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "compressed"])
async def test_an_error_within_a_stream_names_the_virtual_model_only(
    name: str, is_compressed: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = streams(DELTA, ERRORS[name], DONE)
    if is_compressed:
        body = gzip.compress(DELTA + ERRORS[name] + DONE)
        script = replies(body, headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})
    async with answering(fetch, clock, script, stream=True) as answer:
        events = answer.content

    assert events.startswith(DELTA)
    error = events.removeprefix(DELTA).removesuffix(DONE)
    assert b"gpt" not in error
    assert rb"\u0067pt" not in error
    assert b"smart" in error


@pytest.mark.parametrize("cut", range(7, 60, 7))
async def test_an_error_in_pieces_names_the_virtual_model_only(cut: int, fetch: FakeFetch, clock: FakeClock) -> None:
    error = ERRORS["chat completions"]
    async with answering(fetch, clock, streams(DELTA, error[:cut], error[cut:], DONE), stream=True) as answer:
        masked = b'data: {"error": {"message":"smart is overloaded","param":"smart"}}\n\n'
        assert answer.content == DELTA + masked + DONE


async def test_what_the_model_has_written_next_to_an_error_stays(fetch: FakeFetch, clock: FakeClock) -> None:
    choice = {"index": 0, "delta": {"content": WRITTEN}, "error": {"message": "gpt-5 failed"}}
    event = b"data: %b\n\n" % json.dumps({"model": "smart", "choices": [choice]}).encode()
    async with answering(fetch, clock, streams(DELTA, event, DONE), stream=True) as answer:
        assert (
            answer.content
            == DELTA + event.replace(b'{"message": "gpt-5 failed"}', b'{"message":"smart failed"}') + DONE
        )


async def test_a_stream_without_an_error_stays(fetch: FakeFetch, clock: FakeClock) -> None:
    finished = data({"model": "smart", "error": None, "choices": [{"delta": {"content": WRITTEN}}]})
    async with answering(fetch, clock, streams(DELTA, finished, DONE), stream=True) as answer:
        assert answer.content == DELTA + finished + DONE


async def test_an_error_in_a_json_response_names_the_virtual_model_only(fetch: FakeFetch, clock: FakeClock) -> None:
    body = completion("gpt-5", WRITTEN) | {"status": "failed", "error": {"message": "gpt-5-2025-08-07 failed"}}
    async with answering(fetch, clock, replies(body)) as answer:
        assert answer.json() == body | {"model": "smart", "error": {"message": "smart failed"}}


LONG = "x" * 700_000


@pytest.mark.parametrize(
    ("error", "relayed"),
    [
        ({"message": "gpt-5 failed"}, {"message": "smart failed"}),
        ({"message": "it failed"}, {"message": "it failed"}),
        ({"message": f"gpt-5 {LONG}", "code": "gpt-5"}, {"message": "", "code": "smart"}),
        ({"message": LONG, "code": 5}, {"message": "", "code": 5}),
        ([{"message": "gpt-5 failed"}] * 1000, "The provider sent an error that is too long to be passed on."),
        (None, None),
    ],
    ids=["an id", "no id", "a long text with an id", "a long text", "many errors", "null"],
)
async def test_an_error_in_a_long_response_names_the_virtual_model_only(
    error: object, relayed: object, fetch: FakeFetch, clock: FakeClock
) -> None:
    body = {"output": [LONG, WRITTEN], "error": error, "more": LONG, "choices": [{"error": error}]}
    async with answering(fetch, clock, replies({**body, "model": "gpt-5"})) as answer:
        received = answer.json()

    for found in (received.pop("error"), received.pop("choices")[0]["error"]):
        assert (found["error"]["message"] if isinstance(relayed, str) else found) == relayed
    assert received == {"output": [LONG, WRITTEN], "more": LONG, "model": "smart"}
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    "event",
    [
        data({"error": {"message": "gpt-5 " * 5000}}),
        data({"type": "error", "message": "gpt-5 " * 5000}),
        b"event: error\ndata: " + b"gpt-5 " * 5000 + b"\n\n",
        data({"type": "response.failed", "response": {"error": {"message": "gpt-5 " * 5000}}}),
        data({"choices": [{"error": {"message": "gpt-5. " * 900}}] * 3}),
    ],
    ids=["an error", "an event", "a text", "a response", "several"],
)
async def test_a_very_long_error_within_a_stream_is_replaced(event: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with answering(fetch, clock, streams(DELTA, event, DONE), stream=True) as answer:
        received = answer.content

    assert received.startswith(DELTA)
    assert received.endswith(DONE)
    assert received.count(b"too long to be passed on") == 1
    assert b"gpt-5 gpt-5" not in received

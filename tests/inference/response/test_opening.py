"""The beginning of an event stream: what is held, what is sent at once, and what ends it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.inference.response.opening import MAX_HELD, Opening
from tests.providers.calls import DONE, chunk_event


def data(payload: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: %b\n\n" % msgspec.json.encode(payload)


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    return data({"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more})


ROLE = chunk({"role": "assistant", "content": "", "tool_calls": None})
LEAD_INS = {
    "a role": ROLE,
    "no choices": data({"choices": [], "prompt_filter_results": []}),
    "no delta": data({"choices": [{"index": 0, "finish_reason": None}]}),
    "an empty text": data({"choices": [{"text": ""}]}),
    "response.created": data({"type": "response.created", "response": {"error": None}}, "response.created"),
    "response.in_progress": data({"type": "response.in_progress"}),
    "message_start": data({"type": "message_start", "message": {}}, "message_start"),
    "ping": b'event: ping\ndata: {"type": "ping"}\n\n',
    "[DONE]": DONE,
    "an id": b"id: 7\nretry: 100\n\n",
    "part of a line": b'data: {"choices":[{"del',
    "part of an event": b"event: error\n",
}
OUTPUTS = {
    "text": chunk_event("m", "x"),
    "a tool call": chunk({"tool_calls": [{"index": 0}]}),
    "reasoning": chunk({"role": "assistant", "reasoning_content": "x"}),
    "a completed text": data({"choices": [{"text": "x"}]}),
    "a finish reason": data({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    "usage": data({"choices": [], "usage": {"prompt_tokens": 1}}),
    "an output item": data({"type": "response.output_item.added"}),
    "a content block": data({"type": "content_block_start"}),
    "another object": data({}),
    "another text": b"data: hello\n\n",
    "an object over several lines": b'data: {\ndata: "a": 1}\n\n',
}
ERRORS = {
    "OpenAI's": data({"error": {"message": "no worker"}}),
    "OpenRouter's": data({"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"code": 502}}),
    "Anthropic's": data({"type": "error", "error": {"type": "overloaded_error"}}, "error"),
    "that of responses": data({"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
    "text": b"event: error\ndata: no worker\n\n",
    "an object without a field": b'{"error": {"message": "no worker"}}\n',
    "vLLM's": data({"object": "error", "message": "no worker", "code": 400}),
    "Model Studio's": data({"code": "Throttling", "message": "no worker", "request_id": "r"}),
    "New-API's": data({"success": False, "message": "no worker"}),
    "MiniMax's": data({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "no worker"}}),
}


@pytest.mark.parametrize("lead_in", LEAD_INS.values(), ids=LEAD_INS)
def test_events_without_output_are_held(lead_in: bytes) -> None:
    opening = Opening()

    assert opening.feed(lead_in) == b""
    assert (opening.kind, opening.held) == ("lead_in", lead_in)


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_an_event_with_output_ends_the_opening(output: bytes) -> None:
    opening = Opening()

    assert (opening.feed(ROLE), opening.feed(output + DONE)) == (b"", b"")
    assert (opening.kind, opening.release()) == ("output", ROLE + output + DONE)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_an_event_that_is_an_error_ends_the_opening(error: bytes) -> None:
    opening = Opening()
    opening.feed(ROLE)
    opening.feed(error)

    assert opening.kind == "error"
    assert opening.error in error
    assert opening.error


def test_an_error_after_output_is_no_opening() -> None:
    opening = Opening()
    opening.feed(chunk_event("m", "x") + ERRORS["OpenAI's"])

    assert (opening.kind, opening.error) == ("output", b"")


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_comments_between_events_are_not_held_however_the_stream_is_cut(size: int) -> None:
    stream = b": one\n\n" + ROLE + b"\n: two\r\n\r\n" + b"event: ping\n: within\ndata: {}\n\n: three\n\n"
    opening = Opening()
    sent = b"".join(opening.feed(stream[at : at + size]) for at in range(0, len(stream), size))

    assert sent.replace(b"\r", b"") == b": one\n\n\n: two\n\n: three\n\n"
    assert opening.held == ROLE + b"event: ping\n: within\ndata: {}\n\n"


def test_a_byte_order_mark_hides_nothing() -> None:
    opening = Opening()

    opening.feed(b"\xef\xbb\xbf" + ERRORS["OpenAI's"])
    assert opening.kind == "error"


def test_the_last_line_needs_no_end() -> None:
    opening = Opening()
    opening.feed(ERRORS["OpenAI's"].rstrip())
    before = opening.kind
    opening.end()

    assert (before, opening.kind) == ("lead_in", "error")


def test_more_than_64_kib_are_not_held() -> None:
    opening = Opening()
    while opening.kind == "lead_in":
        assert len(opening.held) <= MAX_HELD
        opening.feed(ROLE)

    assert len(opening.held) > MAX_HELD

"""Complete event streams, recognized by their last events."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response import event_stream
from proxy.inference.response.event_stream import EventStreamRenamer
from tests.inference.response.streams import OWN, PUBLIC, chunk, event


def finishing(reason: object, index: int = 0, **more: object) -> bytes:
    choice = {"index": index, "delta": {"content": ""}, "finish_reason": reason}
    return event(json.dumps({"model": OWN, "choices": [choice], **more}))


def named(name: str, data: str) -> bytes:
    return f"event: {name}\n".encode() + event(data)


USAGE = event(json.dumps({"model": OWN, "choices": [], "usage": {"prompt_tokens": 1}}))
MISLEADING = '\n\ndata: [DONE]\n\nevent: error\ndata: {"finish_reason":"stop","type":"message_stop","error":{}}\n\n'
PRETTY = json.dumps({"model": OWN, "choices": [{"index": 0, "finish_reason": "stop"}]}, indent=1)

COMPLETE = {
    "[DONE]": event("[DONE]"),
    "[DONE] without a blank": b"data:[DONE]\n\n",
    "[DONE] without an end of the line": b"data: [DONE]",
    "[DONE] after an event without a blank line": b"data: {}\ndata: [DONE]\n",
    "[DONE] after a byte order mark": b"\xef\xbb\xbfdata: [DONE]\n\n",
    "a finish reason": finishing("stop"),
    "a finish reason, then usage": finishing("length") + USAGE,
    "a finish reason, then comments": finishing("tool_calls") + b": keep-alive\n\n" * 20,
    "a finish reason, then half of an event": finishing("stop") + b'data: {"usage"',
    "a finish reason, then a null one of the same choice": finishing("stop") + finishing(None),
    "a finish reason with half of a character": finishing("stop").replace(b'""', rb'"\ud83d"'),
    "a finish reason without an end of the line": finishing("stop").rstrip(),
    "a finish reason in an object over several lines": b"data: " + PRETTY.replace("\n", "\ndata: ").encode() + b"\n\n",
    "finish reasons of all choices": finishing(None, 1) + finishing("stop") + finishing("stop", 1),
    "message_stop": named("message_stop", '{"type":"message_stop"}'),
    "message_stop as a type": event('{"type": "message_stop"}'),
    "message_stop as a name": named("message_stop", "{}"),
    "a stop reason": named("message_delta", '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}'),
    "response.completed": named("response.completed", '{"type":"response.completed","response":{}}'),
    "response.failed": named("response.failed", '{"type":"response.failed","response":{}}'),
    "response.incomplete": event('{"type":"response.incomplete","response":{}}'),
    "a cancelled response": event('{"type":"response.cancelled","response":{}}'),
    "response.done": event('{"type":"response.done","response":{}}'),
    "a blocked prompt of Gemini": event('{"promptFeedback":{"blockReason":"SAFETY"}}'),
    "an error event": named("error", '{"message":"x"}'),
    "an error event with plain text": named("error", "overloaded"),
    "an error as a type": event('{"type":"error","code":"x","message":"y"}'),
    "an error object": event('{"error":{"message":"x"}}'),
    "the end of speech": event('{"type":"speech.audio.done"}'),
    "the end of a transcript": event('{"type":"transcript.text.done","text":"x"}'),
    "the end of an image": event('{"type":"image_generation.completed","b64_json":"x"}'),
    "the end of an edited image": event('{"type":"image_edit.completed","b64_json":"x"}'),
}
INCOMPLETE = {
    "nothing": b"",
    "a chunk": event(chunk("a")),
    "a null finish reason": finishing(None),
    "an empty finish reason": finishing(""),
    "the finish reason of one of two choices": finishing(None, 1) + finishing("stop"),
    "a choice that goes on after another one": finishing("stop") + finishing(None, 1),
    "a finish reason elsewhere": event('{"choices":[],"metadata":{"finish_reason":"stop"}}'),
    "text like a last event": event(chunk(MISLEADING)),
    "[DONE] within a line": b"data: x data: [DONE]\n\n",
    "half of a last event": named("response.completed", '{"type":"response.completed","response":{')[:-2],
    "the name of a last event": b"event: message_stop\n",
    "other events of a response": named("response.output_text.done", '{"type":"response.output_text.done"}'),
    "a prompt that is not blocked": event('{"promptFeedback":{"safetyRatings":[]}}'),
    "no error": event('{"error":null,"choices":[]}'),
    "a null stop reason": event('{"type":"message_start","message":{"stop_reason":null}}'),
    "an error of an item": event('{"type":"response.created","response":{"error":{"code":"x"}}}'),
    "a type that is not text": event('{"type":["error"]}'),
}


def is_over(*pieces: bytes, own: str = OWN) -> bool:
    events = EventStreamRenamer(own, PUBLIC)
    for piece in pieces:
        events.feed(piece)
    events.rest()
    return events.end.is_over


@pytest.mark.parametrize(
    ("stream", "complete"),
    [
        *(pytest.param(stream, True, id=name) for name, stream in COMPLETE.items()),
        *(pytest.param(stream, False, id=name) for name, stream in INCOMPLETE.items()),
    ],
)
def test_the_end_of_a_stream_is_recognized_wherever_it_is_cut(stream: bytes, complete: bool) -> None:
    whole = event(chunk("a")) + stream

    assert is_over(whole) == complete
    assert is_over(whole, own=PUBLIC) == complete, "not renamed"
    assert is_over(*(bytes([byte]) for byte in whole)) == complete
    assert {is_over(whole[:cut], whole[cut:]) for cut in range(len(whole))} == {complete}


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["CRLF", "CR"])
@pytest.mark.parametrize("name", COMPLETE)
def test_all_ends_of_lines_are_recognized(name: str, end: str) -> None:
    whole = (event(chunk("a")) + COMPLETE[name]).replace(b"\n", end.encode())

    assert {is_over(whole[:cut], whole[cut:]) for cut in range(len(whole))} == {True}


@pytest.mark.parametrize("before", [b"", event(chunk("a")) * 1000, event(chunk("x" * 300_000))])
@pytest.mark.parametrize("name", COMPLETE)
def test_a_last_event_is_recognized_in_a_long_piece(name: str, before: bytes) -> None:
    assert is_over(before + COMPLETE[name])
    assert not is_over(before + event(chunk(MISLEADING)))


@pytest.mark.parametrize(
    "data", ['{"type":"response.completed","x":"%s"}', '{"x":"%s","type":"response.completed"}', '{"x":"%s"}']
)
@pytest.mark.parametrize("size", [1000, 50_000, 3_000_000])
def test_a_long_last_event_is_recognized(data: str, size: int) -> None:
    whole = named("response.completed", data % ("x" * size))

    assert is_over(whole)
    assert is_over(*(whole[at : at + 65_536] for at in range(0, len(whole), 65_536)))
    assert not is_over(*(whole[:-100][at : at + 65_536] for at in range(0, len(whole), 65_536)))


def test_a_long_line_is_not_a_last_event_because_the_one_before_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_LINE", 100)
    line = event('{"x":"%s"}' % ("y" * 200))
    whole = b"event: response.completed\n" + line

    assert is_over(whole[:150], whole[150:])
    assert not is_over(whole[:-20].replace(b"completed", b"created"), whole[-20:], line[:150], line[150:])
    assert is_over(whole[:150], whole[150:], line[:150], line[150:]), "a stream that ended stays complete"


@pytest.mark.parametrize(
    ("stream", "number"),
    [
        (b"", 0),
        (event(chunk("a")), 0),
        (event('{"type":"response.created","sequence_number":0}') + b": ping\n\n", 1),
        (
            event('{"sequence_number": 41}')
            + event('{"x":"\\"sequence_number\\":7"}')
            + b'data: {"sequence_number":42',
            42,
        ),
        (event('{"sequence_number":9,"x":"%s"}' % ("y" * 10_000)), 10),
    ],
)
def test_the_number_of_the_next_event_follows_the_last_whole_one(stream: bytes, number: int) -> None:
    for cut in range(0, len(stream) + 1, 1 + len(stream) // 200):
        events = EventStreamRenamer(OWN, OWN)
        events.feed(stream[:cut])
        events.feed(stream[cut:])

        assert events.end.next_number == number


texts = st.text(max_size=20) | st.sampled_from([MISLEADING, "[DONE]", '"finish_reason":"stop"', "data: [DONE]"])
json_values: st.SearchStrategy[Any] = st.recursive(
    texts | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(
    st.lists(json_values, max_size=4),
    st.sampled_from([b"", *COMPLETE.values()]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 60),
    st.booleans(),
)
def test_only_an_end_is_an_end_whatever_the_content(
    contents: list[Any], last: bytes, end: str, size: int, pretty: bool
) -> None:
    whole = b""
    for content in contents:
        data = json.dumps({"model": OWN, "x": content}, indent=1 if pretty else None)
        whole += event(data.replace("\n", "\ndata: "))
    whole = (whole + last).replace(b"\n", end.encode())

    assert is_over(*(whole[at : at + size] for at in range(0, len(whole), size))) == bool(last)


def test_few_bytes_of_a_stream_are_kept() -> None:
    events = EventStreamRenamer(OWN, OWN)
    piece = event(chunk("x" * 3000)) * 20
    tracemalloc.start()
    try:
        for _ in range(500):
            events.feed(bytes(bytearray(piece)))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 192 * 1024, "the last piece, and of each of the last ones 8 KiB"

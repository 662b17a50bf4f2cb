"""The characters of texts in streams."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.observer import observer_of
from proxy.inference.response.text_counter import MAX_KEPT, KeptEvents, TextCounter

BASE64 = "A" * 1000


def counted(*events: Any) -> int:
    counter = TextCounter(KeptEvents())
    for event in events:
        data = event if isinstance(event, bytes) else msgspec.json.encode(event)
        counter.read_lines(b"data: %b\n\n" % data)
    return counter.count()


@pytest.mark.parametrize(
    ("event", "characters"),
    [
        ({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "häé"}}]}, 3),
        ({"choices": [{"delta": {"content": None, "reasoning_content": "1234"}}, {"delta": {"content": "5"}}]}, 5),
        ({"choices": [{"delta": {"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}}]}, 2),
        ({"choices": [{"text": "12", "finish_reason": "stop"}]}, 2),
        ({"type": "response.output_text.delta", "item_id": "i", "delta": "123"}, 3),
        ({"type": "response.completed", "response": {"output": [{"content": [{"text": "123"}]}]}}, 0),
        ({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "1234"}}, 4),
        ({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}}, 2),
        ({"type": "message_start", "message": {"content": []}}, 0),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "12"}, {"text": "3"}]}}]}, 3),
        ({"type": "response.reasoning_summary.delta", "delta": {"text": "123"}}, 3),
        ({"type": "response.audio_transcript.delta", "delta": "123"}, 3),
        ({"model": "m", "message": {"role": "assistant", "content": "12", "thinking": "3"}, "done": False}, 3),
        ({"model": "m", "response": "12", "thinking": "3", "done": False}, 3),
        ({"choices": "none", "candidates": [None], "delta": {"a": 1, "b": True}}, 0),
        (b"[DONE]", 0),
        (b"{broken", 0),
    ],
)
def test_new_text_is_counted_in_characters(event: Any, characters: int) -> None:
    assert counted(event) == characters


def chat(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def gemini(**part: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [part]}}]}


@pytest.mark.parametrize(
    ("event", "characters"),
    [
        pytest.param(chat(audio={"id": "a", "data": BASE64, "transcript": "123", "expires_at": "9"}), 3, id="audio"),
        pytest.param({"type": "response.audio.delta", "delta": BASE64}, 0, id="audio of responses"),
        pytest.param({"type": "response.output_audio.delta", "delta": BASE64}, 0, id="output audio of responses"),
        pytest.param(
            {"type": "response.image_generation_call.partial_image", "partial_image_b64": BASE64}, 0, id="an image"
        ),
        pytest.param(chat(content="12", images=[{"image_url": {"url": BASE64}}]), 2, id="images of OpenRouter"),
        pytest.param(chat(content=[{"type": "image_url", "image_url": BASE64}]), 0, id="an image in the content"),
        pytest.param(gemini(inlineData={"mimeType": "image/png", "data": BASE64}), 0, id="an image of Gemini"),
        pytest.param(gemini(fileData={"mimeType": "image/png", "fileUri": "gs://file"}), 0, id="a file of Gemini"),
        pytest.param(gemini(text="12", thoughtSignature=BASE64), 2, id="a signature of Gemini"),
        pytest.param(gemini(codeExecutionResult={"outcome": "OUTCOME_OK", "output": "12"}), 2, id="a result of code"),
        pytest.param(
            chat(
                tool_calls=[{"function": {"arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}}]
            ),
            2,
            id="a signature of a tool call",
        ),
        pytest.param(
            chat(reasoning_details=[{"type": "reasoning.encrypted", "data": BASE64}]), 0, id="encrypted reasoning"
        ),
        pytest.param(chat(content="12", annotations=[{"url_citation": {"url": "u", "title": "t"}}]), 2, id="sources"),
        pytest.param(
            {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": BASE64}},
            0,
            id="a signature of messages",
        ),
        pytest.param(
            {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {"cited_text": "text"}}},
            0,
            id="a source of messages",
        ),
        pytest.param(
            {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}},
            0,
            id="the end of a message",
        ),
    ],
)
def test_what_is_no_text_is_not_counted(event: Any, characters: int) -> None:
    assert counted(event) == characters


def test_arguments_are_counted_whatever_the_names_of_their_members_are() -> None:
    arguments = {"data": "12", "name": {"url": ["3"]}}
    assert counted(gemini(functionCall={"name": "f", "args": arguments})) == 3
    message = {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert counted({"message": message, "done": False}) == 3


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "1234"},
        {"reasoning": "1234", "reasoning_content": "1234"},
        {"reasoning": "1234", "reasoning_details": [{"type": "reasoning.text", "text": "1234", "signature": "s"}]},
        {"reasoning_content": "1234", "thinking_blocks": [{"type": "thinking", "thinking": "1234"}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.summary", "summary": "1234"}]},
    ],
)
def test_reasoning_that_is_sent_in_several_members_is_counted_once(delta: dict[str, Any]) -> None:
    assert counted(chat(content="5", **delta)) == 5


COMMAS = "1," * 150_000


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        pytest.param(chat(content=COMMAS), True, id="chat"),
        pytest.param(gemini(text=COMMAS), True, id="Gemini"),
        pytest.param({"type": "response.output_text.delta", "delta": COMMAS}, True, id="responses"),
        pytest.param({"type": "content_block_delta", "delta": {"text": COMMAS}}, True, id="messages"),
        pytest.param(chat(tool_calls=[{"type": "function", "function": {"arguments": COMMAS}}]), True, id="a tool"),
        pytest.param({"response": COMMAS, "done": False}, True, id="Ollama"),
        pytest.param({"response": "", "done": True, "context": [1] * 30_000}, False, id="a context of Ollama"),
        pytest.param({"type": "response.completed", "response": {"x": COMMAS}}, False, id="the end of responses"),
        pytest.param({"type": "response.output_text.done", "text": COMMAS}, False, id="a text that was sent before"),
        pytest.param({"type": "response.audio.delta", "delta": COMMAS}, False, id="audio of responses"),
        pytest.param({"type": "message_start", "message": {"content": COMMAS}}, False, id="the start of messages"),
        pytest.param(chat(audio={"id": "a", "data": COMMAS}), False, id="audio"),
        pytest.param(gemini(inlineData={"data": COMMAS}), False, id="an image of Gemini"),
        pytest.param({"error": {"message": COMMAS}}, False, id="an error"),
    ],
)
def test_an_event_with_very_many_values_counts_with_all_its_bytes_if_it_can_have_text(event: Any, counts: bool) -> None:
    assert counted(event) == (len(msgspec.json.encode(event)) if counts else 0)


def test_half_of_a_surrogate_pair_is_a_character() -> None:
    assert counted(b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}') == 2


@pytest.mark.parametrize("size", [1000, 100_000, 10_000_000])
@pytest.mark.parametrize("text", ["x" * 1_100_000, COMMAS])
def test_an_event_that_is_not_held_counts_with_all_its_bytes_if_it_can_have_text(text: str, size: int) -> None:
    counter = TextCounter(KeptEvents())
    stream = EventStreamRenamer("own", "public", observer_of(None, counter))
    long = chat(content=text)
    image = {"type": "response.image_generation_call.partial_image", "partial_image_b64": text}
    events = b"".join(b"data: %b\n\n" % msgspec.json.encode(each) for each in (long, image, chat(content="123")))
    for at in range(0, len(events), size):
        stream.feed(events[at : at + size])
    assert len(text) + 3 <= counter.count() <= len(text) + 100


def test_events_are_added() -> None:
    event = {"choices": [{"delta": {"content": "1234"}}]}
    assert counted(event, event, b"[DONE]") == 8


def test_an_object_in_several_lines_is_counted() -> None:
    assert counted(b'{"choices":[{"delta":\ndata: {"content":"1234"}}]}') == 4


MEMBERS = st.none() | st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=3), max_size=2)
DELTAS = st.dictionaries(
    st.sampled_from(["role", "content", "reasoning_content", "refusal", "tool_calls", "text", "name", "reasoning"]),
    MEMBERS,
    max_size=4,
)
CHOICES = st.dictionaries(st.sampled_from(["delta", "text", "index", "logprobs"]), MEMBERS | DELTAS, max_size=4)
EVENTS = st.dictionaries(
    st.sampled_from(["choices", "id", "delta", "candidates", "done", "message", "response", "usage"]),
    MEMBERS | DELTAS | st.lists(CHOICES | MEMBERS, max_size=3),
    max_size=5,
)


@given(EVENTS)
def test_short_events_count_as_long_ones_do(event: dict[str, Any]) -> None:
    assert counted(event) == counted({**event, "system_fingerprint": "x" * MAX_KEPT})


def event_of(text: str) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"choices": [{"delta": {"content": text}}]})


def test_a_stream_keeps_a_limited_number_of_events_and_counts_the_earlier_ones() -> None:
    kept = KeptEvents(10 * MAX_KEPT)
    counter = TextCounter(kept)
    for number in range(2000):
        counter.read_lines(event_of(f"{number:0200}"))
        assert 10 * MAX_KEPT - kept.left <= MAX_KEPT
    assert 10 * MAX_KEPT - kept.left == MAX_KEPT
    assert (counter.count(), kept.left) == (2000 * 200, 10 * MAX_KEPT)


def test_tiny_objects_are_kept_in_small_numbers() -> None:
    kept = KeptEvents()
    counter = TextCounter(kept)
    for _ in range(5000):
        counter.read_lines(b"{}\n" * 100)
    assert len(b"".join(counter._kept)) <= 3 * MAX_KEPT / 64
    counter.close()
    assert kept.left == KeptEvents().left


def test_streams_beyond_the_memory_of_all_are_counted_at_once() -> None:
    kept = KeptEvents(10_000)
    first, second = TextCounter(kept), TextCounter(kept)
    first.read_lines(event_of("1" * 800))
    left = kept.left
    second.read_lines(event_of("2" * 500))
    assert 0 <= left == kept.left < 10_000
    first.close()
    assert kept.left == 10_000
    assert (first.count(), second.count()) == (0, 500)


def test_deep_values_end() -> None:
    value: Any = "text"
    for _ in range(30):
        value = [value]
    assert counted({"delta": value}) == 0

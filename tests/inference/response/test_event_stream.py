"""Event streams with the requested model id instead of the provider's."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response import event_stream
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.telemetry import Tokens
from tests.inference.response.streams import IDS, OWN, PUBLIC, UNCHANGED, chunk, event, rename_stream


@pytest.mark.parametrize("data", UNCHANGED, ids=lambda data: data[:40])
def test_other_values_of_an_event_stay_unchanged(data: str) -> None:
    assert rename_stream([event(data)])[0] == event(data)


@pytest.mark.parametrize(("own", "written", "public"), IDS)
def test_ids_are_compared_decoded_and_encoded_as_json(own: str, written: str, public: str) -> None:
    data = f'{{"a":1,"model":"{written}","b":2}}'
    wanted = {"a": 1, "model": public, "b": 2}

    assert json.loads(rename_stream([event(data)], own, public)[0].removeprefix(b"data: ")) == wanted


def stream(model: str, end: str) -> bytes:
    """A stream with all kinds of events, and with content that looks like events."""
    misleading = '"model":"gpt-4o" data: {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"'
    azure = json.dumps({"choices": [{"delta": {"content": misleading}}], "model": model})
    wrapped = json.dumps({"type": "response.created", "response": {"id": "r", "model": model, "input": misleading}})
    message = json.dumps({"type": "message_start", "message": {"model": model, "usage": {"input_tokens": 7}}})
    tool = json.dumps({"type": "content_block_start", "content_block": {"input": {"model": OWN}}})
    dated = chunk("x", "gpt-4o-2024-08-06")
    events = [
        event(data, end)
        for data in (
            chunk("", model), chunk("a", model), azure, chunk(misleading, model), wrapped, tool, message, dated,
            chunk("é\n模型😀", model), azure, chunk("b", model).replace(": ", ":"),
            json.dumps({"model": model, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}), "[DONE]",
        )
    ]  # fmt: skip
    return f": hello{end}{end}event: x{end}".encode() + b"".join(events)


@pytest.mark.parametrize("held", [1024 * 1024, 20], ids=["lines are held", "lines are too long"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_is_renamed_wherever_it_is_cut(end: str, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_LINE", held)
    whole, wanted = stream(OWN, end), (stream(PUBLIC, end), Tokens(7, 4))

    assert rename_stream([whole]) == wanted
    assert rename_stream([bytes([byte]) for byte in whole]) == wanted
    assert all(rename_stream([whole[:cut], whole[cut:]]) == wanted for cut in range(len(whole)))
    assert rename_stream([whole], OWN, OWN) == (whole, Tokens(7, 4))


texts = st.text(st.sampled_from('{}[]":,\\ \nmodeldata:gpt-4o'), max_size=30) | st.sampled_from(
    ['data: {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"', '\n\ndata: {"model":"gpt-4o"}\n\n', chunk("")]
)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=6), st.integers(1, 40))
def test_content_is_never_changed(contents: list[tuple[str, bool]], size: int) -> None:
    def stream_of(model: str) -> bytes:
        whole = event(chunk("", model))
        for content, model_last in contents:
            data = {"id": "chatcmpl-1", "created": 1, "model": model, "choices": [{"delta": {"content": content}}]}
            if model_last:  # the content is before the model, and is a name, too
                data = {"choices": [{content: content}], "model": model}
            whole += event(json.dumps(data))
        return whole

    whole = stream_of(OWN)

    assert rename_stream([whole[at : at + size] for at in range(0, len(whole), size)])[0] == stream_of(PUBLIC)


def over_lines(data: str, end: str = "\n") -> bytes:
    """An event whose object is split over several `data` lines."""
    return event(json.dumps(json.loads(data), indent=1).replace("\n", f"{end}data:"), end)


def loose_stream(model: str, end: str) -> bytes:
    """A stream as not all providers write it."""
    wrapped = json.dumps({"type": "response.created", "response": {"model": model, "tools": [{"model": OWN}]}})
    usage = json.dumps({"model": model, "usage": {"prompt_tokens": 3}})
    alone = json.dumps(json.loads(chunk("JSON without an event", model)), indent=1).replace("\n", end)
    return b"".join(
        [
            b"\xef\xbb\xbf", event(chunk("a", model), end),
            f"id: 1{end}retry: 5{end}data:{chunk('no blank', model)}{end}{end}".encode(),
            f": a comment {chunk('x')}{end}".encode(), over_lines(chunk("b", model), end),
            f"event: response.created{end}".encode(), over_lines(wrapped, end), event(chunk("c", model), end),
            f": a comment within{end}".encode(), over_lines(usage, end).replace(b"data", f": x{end}data".encode()),
            f"data: {chunk('d', model)}{end}data: {chunk('no blank line', model)}{end}".encode(),
            f"{end}{end}{chunk('JSON lines', model)}{end}{chunk('e', model)}{end}".encode(),
            f"{end}{alone}{end}{end}".encode(),
            event("[DONE]", end),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_loosely_written_stream_is_renamed_wherever_it_is_cut(end: str) -> None:
    whole, wanted = loose_stream(OWN, end), (loose_stream(PUBLIC, end), Tokens(3))

    assert rename_stream([whole]) == wanted
    assert rename_stream([bytes([byte]) for byte in whole]) == wanted
    assert all(rename_stream([whole[:cut], whole[cut:]]) == wanted for cut in range(len(whole)))
    assert rename_stream([whole], OWN, OWN) == (whole, Tokens(3))


@given(st.lists(st.sampled_from([event, over_lines]), max_size=5), st.integers(1, 80), st.sampled_from(["\n", "\r\n"]))
def test_objects_in_any_lines_are_renamed(writers: list[Callable[[str, str], bytes]], size: int, end: str) -> None:
    def stream_of(model: str) -> bytes:
        return b"".join(write(chunk(f"text {number}", model), end) for number, write in enumerate(writers))

    whole = stream_of(OWN)

    assert rename_stream([whole[at : at + size] for at in range(0, len(whole), size)])[0] == stream_of(PUBLIC)


def test_comments_and_whole_events_are_sent_immediately() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)

    assert events.feed(b": ping\n") == b": ping\n"
    assert events.feed(b"\n") == b"\n"
    assert events.feed(event(chunk("a")).rstrip() + b"\n") == event(chunk("a", PUBLIC)).rstrip() + b"\n"


def test_an_object_over_more_lines_than_are_held_stays_unchanged() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    line = b'data: "%b",\n' % (b"x" * 1000)
    tracemalloc.start()
    try:
        out = len(events.feed(b"data: [\n")) + sum(len(events.feed(line)) for _ in range(5000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(events.rest()) == 8 + 5000 * len(line)
    assert peak < 8 * 1024**2


def test_a_known_prefix_does_not_hide_other_models() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    events.feed(event(chunk("")))
    again = event('{"id":"chatcmpl-1","model":"gpt-4o"}') + event(chunk("a")) + event('{"message":{"model":"gpt-4o"}}')

    assert events.feed(again) == again.replace(b'"gpt-4o"', b'"openai/gpt-4o"')


def test_another_model_stays_and_does_not_hide_the_own_one() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    start = '{"id":"chatcmpl-1","model":"gpt-4o-2024-08-06"'
    other, both = event(start + "}"), event(start + ',"message":{"model":"gpt-4o"}}')
    chunks = [other, other + event(chunk("a")), both, other + both, event(chunk("b")), other]

    renamed = b"".join(map(events.feed, chunks))
    assert renamed == b"".join(chunks).replace(b'"gpt-4o"', b'"openai/gpt-4o"')


def test_a_chunk_without_a_rename_is_returned_itself() -> None:
    piece = event(chunk(""))

    assert EventStreamRenamer(OWN, OWN).feed(piece) is piece


def test_an_unfinished_line_is_held_up_to_a_limit() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    piece = b"x" * 65_536
    tracemalloc.start()
    try:
        out = sum(len(events.feed(piece)) for _ in range(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(events.rest()) == 1000 * len(piece)
    assert peak < 8 * 1024**2


def test_a_long_line_other_than_an_event_stays_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_LINE", 20)
    line = b': a comment, {"model":"gpt-4o"}\n'

    assert rename_stream([line[:25], line[25:], b"\n"])[0] == line + b"\n"


def test_a_line_that_arrives_byte_by_byte_is_renamed() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    line = event(chunk("x" * 300_000))
    out = b"".join(events.feed(line[at : at + 1]) for at in range(len(line)))

    assert out == event(chunk("x" * 300_000, PUBLIC))


@pytest.mark.parametrize(
    ("pieces", "between_events"),
    [
        ([], True),
        (["data: x\n\n"], True),
        (["data: x\r\n\r\n"], True),
        (["data: x\n", "\n"], True),
        (["data: x\r", "\n", "\r", "\n"], True),
        (["data: x\n\nevent: y\n"], False),
        (["data: x\r\n"], False),
        (["data: x\n\ndata"], False),
        (["data: x\n\n", "d"], False),
    ],
)
def test_the_end_of_an_event_is_recognized(pieces: list[str], between_events: bool) -> None:
    same = EventStreamRenamer(OWN, OWN)
    for piece in pieces:
        same.feed(piece.encode())

    assert same.between_events == between_events


def test_held_bytes_do_not_count_as_sent() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    events.feed(b"data: x\n\ndata")

    assert (events.between_events, events.rest(), events.between_events) == (True, b"data", False)


def test_a_stream_that_ends_within_an_event_is_renamed() -> None:
    whole = event(chunk(""))

    assert rename_stream([whole.rstrip()])[0] == whole.rstrip().replace(b'"gpt-4o"', b'"openai/gpt-4o"')


def test_without_an_own_id_the_model_of_every_event_becomes_the_requested_one() -> None:
    pieces = [
        event(chunk("a", "one")),
        event(chunk("b", "one")),
        event(chunk("c", "another")),
        event('{"type":"response.created","response":{"model":"wrapped","output":[{"model":"inner"}]}}'),
    ]
    wanted = b"".join(pieces)
    for model in (b"one", b"another", b"wrapped"):
        wanted = wanted.replace(b'"%b"' % model, b'"openai/gpt-4o"')

    assert rename_stream(pieces, None)[0] == wanted


@pytest.mark.parametrize("prefix", [b"data: ", b"id: "], ids=["an event", "another line"])
def test_without_an_own_id_a_long_line_is_renamed_only_if_it_is_an_event(prefix: bytes) -> None:
    line = prefix + b'{"model":"any","text":"%b"}\n\n' % (b"x" * 1024**2)
    pieces = [line[start : start + 65_536] for start in range(0, len(line), 65_536)]
    wanted = line.replace(b"any", b"openai/gpt-4o") if prefix == b"data: " else line

    assert rename_stream(pieces, None)[0] == wanted

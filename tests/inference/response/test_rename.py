"""Answers on their way: the id that was asked for instead of the provider's, `usage` counted, all else as it is."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response import event_stream
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens

OWN, PUBLIC = "gpt-4o", "openai/gpt-4o"


def event(data: str, end: str = "\n") -> bytes:
    return f"data: {data}{end}{end}".encode()


def chunk(content: str, model: str = OWN) -> str:
    """A piece of a chat, as OpenAI writes it."""
    return json.dumps({"id": "chatcmpl-1", "created": 1, "model": model, "choices": [{"delta": {"content": content}}]})


def passed(pieces: Sequence[bytes], own: str = OWN, public: str = PUBLIC) -> tuple[bytes, Tokens]:
    events = EventStreamRenamer(own, public)
    out = b"".join([*map(events.passed, pieces), events.rest()])
    return out, events.tokens


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        pytest.param('{"model":"gpt-4o"}', '{"model":"openai/gpt-4o"}', id="alone"),
        pytest.param(' { "a" : 1 , "model" :\n"gpt-4o" } ', ' { "a" : 1 , "model" :\n"openai/gpt-4o" } ', id="blanks"),
        pytest.param('{"model":"gpt\\u002d4o"}', '{"model":"openai/gpt-4o"}', id="escaped"),
        pytest.param('{"mod\\u0065l":"gpt-4o"}', '{"mod\\u0065l":"openai/gpt-4o"}', id="an escaped name"),
        pytest.param('{"x":"\\ud800","model":"gpt-4o"}', '{"x":"\\ud800","model":"openai/gpt-4o"}', id="half a letter"),
    ],
)
def test_the_model_of_an_answer_becomes_the_one_that_was_asked_for(answer: str, wanted: str) -> None:
    assert rename_model(answer.encode(), OWN, PUBLIC)[0] == wanted.encode()
    assert rename_model(answer.encode(), OWN, OWN)[0] == answer.encode()


STAYS = [
    '{"model":"gpt-4o-2024-08-06"}',
    '{"model":"GPT-4o"}',
    '{"model":null}',
    '{"model":["gpt-4o"]}',
    '{"Model":"gpt-4o"}',
    '{"choices":[{"message":{"content":"{\\"model\\":\\"gpt-4o\\"}"}}]}',
    '{"choices":[{"model":"gpt-4o"}]}',
    '{"output":{"model":"gpt-4o"}}',
    '{"model":"gpt-4o","model":"gpt-4o"}',
    '[{"model":"gpt-4o"}]',
    '{"model":"gpt-4o"',
    "gpt-4o",
    "",
    "[" * 100_000,
]


@pytest.mark.parametrize("answer", STAYS, ids=lambda answer: answer[:40])
def test_all_else_of_an_answer_stays_as_it_is(answer: str) -> None:
    assert rename_model(answer.encode(), OWN, PUBLIC)[0] == answer.encode()
    assert passed([event(answer)])[0] == event(answer)


@pytest.mark.parametrize(
    ("own", "written", "public"),
    [
        ("a/b", "a\\/b", "x"),
        ("a/b", "a/b", 'q"u\\o\nte'),
        ("模型", "\\u6a21\\u578b", "x/模型😀"),
        ("模型", "模型", "模型"),
    ],
)
def test_ids_are_compared_as_texts_and_written_as_json(own: str, written: str, public: str) -> None:
    answer = f'{{"a":1,"model":"{written}","b":2}}'
    wanted = {"a": 1, "model": public, "b": 2}

    assert json.loads(rename_model(answer.encode(), own, public)[0]) == wanted
    assert json.loads(passed([event(answer)], own, public)[0].removeprefix(b"data: ")) == wanted


def stream(model: str, end: str) -> bytes:
    """A stream with everything in it that has fooled somebody."""
    fooling = '"model":"gpt-4o" data: {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"'
    azure = json.dumps({"choices": [{"delta": {"content": fooling}}], "model": model})
    wrapped = json.dumps({"type": "response.created", "response": {"id": "r", "model": model, "input": fooling}})
    message = json.dumps({"type": "message_start", "message": {"model": model, "usage": {"input_tokens": 7}}})
    tool = json.dumps({"type": "content_block_start", "content_block": {"input": {"model": OWN}}})
    dated = chunk("x", "gpt-4o-2024-08-06")
    events = [
        event(data, end)
        for data in (
            chunk("", model), chunk("a", model), azure, chunk(fooling, model), wrapped, tool, message, dated,
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

    assert passed([whole]) == wanted
    assert passed([bytes([byte]) for byte in whole]) == wanted
    assert all(passed([whole[:cut], whole[cut:]]) == wanted for cut in range(len(whole)))
    assert passed([whole], OWN, OWN) == (whole, Tokens(7, 4))


texts = st.text(st.sampled_from('{}[]":,\\ \nmodeldata:gpt-4o'), max_size=30) | st.sampled_from(
    ['data: {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"', '\n\ndata: {"model":"gpt-4o"}\n\n', chunk("")]
)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=6), st.integers(1, 40))
def test_no_content_is_ever_changed(contents: list[tuple[str, bool]], size: int) -> None:
    def written(model: str) -> bytes:
        whole = event(chunk("", model))
        for content, last in contents:
            said = {"id": "chatcmpl-1", "created": 1, "model": model, "choices": [{"delta": {"content": content}}]}
            if last:  # the content in front of the model, and once more in a name
                said = {"choices": [{content: content}], "model": model}
            whole += event(json.dumps(said))
        return whole

    whole = written(OWN)

    assert passed([whole[at : at + size] for at in range(0, len(whole), size)])[0] == written(PUBLIC)


def test_a_known_beginning_is_not_looked_for_within_other_events() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    events.passed(event(chunk("")))
    again = event('{"id":"chatcmpl-1","model":"gpt-4o"}') + event(chunk("a")) + event('{"message":{"model":"gpt-4o"}}')

    assert events.passed(again) == again.replace(b'"gpt-4o"', b'"openai/gpt-4o"')


def test_a_whole_piece_goes_out_as_it_came_in() -> None:
    piece = event(chunk(""))

    assert EventStreamRenamer(OWN, OWN).passed(piece) is piece


def test_an_unfinished_line_is_held_only_so_long() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    piece = b"x" * 65_536
    tracemalloc.start()
    try:
        out = sum(len(events.passed(piece)) for _ in range(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(events.rest()) == 1000 * len(piece)
    assert peak < 8 * 1024**2


def test_in_a_line_that_is_no_event_nothing_is_renamed_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_MAX_LINE", 20)
    line = b': a comment, {"model":"gpt-4o"}\n'

    assert passed([line[:25], line[25:], b"\n"])[0] == line + b"\n"


def in_pieces(answer: bytes, size: int) -> tuple[bytes, Tokens]:
    long = JsonStreamRenamer(OWN, PUBLIC)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    return b"".join([*map(long.passed, pieces), long.rest()]), long.tokens


LONG = [
    '{"model":"gpt-4o"}',
    ' { "a" : [1,{"model":"gpt-4o"}] , "mod\\u0065l" :\n"gpt\\u002d4o" , "b" : "\\\\" } ',
    '{"x":"\\ud800","y":"\\\\\\"\\\\","model":"gpt-4o","usage":{"prompt_tokens":3,"x":{"usage":{}}}}',
    '{"message":{"model":"gpt-4o","usage":{"input_tokens":3}},"usage":null,"response":["usage",{"usage":{}}]}',
    *[answer for answer in STAYS if answer.count('"model"') < 2 and answer != '{"model":"gpt-4o"'],
]


@pytest.mark.parametrize("answer", LONG, ids=lambda answer: answer[:40])
def test_a_long_answer_is_renamed_and_counted_as_a_short_one_is(answer: str) -> None:
    whole = answer.encode()
    wanted = rename_model(whole, OWN, PUBLIC)

    assert all(in_pieces(whole[:2000], size) == (wanted[0][:2000], wanted[1]) for size in (1, 2, 3, 7, 5000))
    same = JsonStreamRenamer(OWN, OWN)
    assert same.passed(whole) + same.rest() == whole


odd = st.sampled_from([OWN, "model", "{", "é", '"', "\\"]) | st.text(max_size=4)
names = st.sampled_from(["model", "usage", "message", "response", "prompt_tokens"]) | odd
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(names, values, max_size=5), st.integers(1, 30), st.booleans(), st.sampled_from([None, 1]))
def test_any_long_answer_is_treated_as_a_short_one(
    said: object, size: int, ascii_only: bool, indent: int | None
) -> None:
    answer = json.dumps(said, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")

    assert in_pieces(answer, size) == rename_model(answer, OWN, PUBLIC)


def test_of_a_long_answer_hardly_anything_is_held() -> None:
    long = JsonStreamRenamer(OWN, PUBLIC)
    begin, end = b'{"data":[{"b64_json":"', b'"}],"model":"gpt-4o","usage":{"prompt_tokens":3}}'
    piece = b"A" * 65_536
    tracemalloc.start()
    try:
        out = len(long.passed(begin)) + sum(len(long.passed(piece)) for _ in range(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out == len(begin) + 1000 * len(piece)
    assert long.passed(end) == end.replace(b"gpt-4o", PUBLIC.encode())
    assert long.tokens == Tokens(3)
    assert peak < 1024**2


@pytest.mark.parametrize("begin", [b'{"', b'{"model":"', b'{"usage":{"x":"'], ids=["name", "model", "usage"])
def test_what_has_no_end_is_not_held(begin: bytes) -> None:
    long = JsonStreamRenamer(OWN, PUBLIC)
    tracemalloc.start()
    try:
        out = len(long.passed(begin)) + sum(len(long.passed(b"x" * 1000)) for _ in range(2000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(long.rest()) == len(begin) + 2_000_000
    assert peak < 1024**2


def test_a_line_that_comes_byte_by_byte_costs_no_more_than_its_length() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    line = event(chunk("x" * 300_000))
    out = b"".join(events.passed(line[at : at + 1]) for at in range(len(line)))

    assert out == event(chunk("x" * 300_000, PUBLIC))


@pytest.mark.parametrize(
    ("pieces", "events"),
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
def test_where_something_of_ours_may_follow_is_known(pieces: list[str], events: bool) -> None:
    same = EventStreamRenamer(OWN, OWN)
    for piece in pieces:
        same.passed(piece.encode())

    assert same.between_events == events


def test_what_is_held_back_does_not_count_as_sent() -> None:
    events = EventStreamRenamer(OWN, PUBLIC)
    events.passed(b"data: x\n\ndata")

    assert (events.between_events, events.rest(), events.between_events) == (True, b"data", False)


def test_a_stream_that_breaks_off_within_an_event_is_renamed_too() -> None:
    whole = event(chunk(""))

    assert passed([whole.rstrip()])[0] == whole.rstrip().replace(b'"gpt-4o"', b'"openai/gpt-4o"')


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        pytest.param('{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}', Tokens(3, 4), id="chat"),
        pytest.param('{"usage":{"prompt_tokens":3,"total_tokens":3}}', Tokens(3), id="embeddings"),
        pytest.param('{"usage":{"input_tokens":3,"output_tokens":4}}', Tokens(3, 4), id="responses, messages"),
        pytest.param('{"response":{"usage":{"input_tokens":3,"output_tokens":4}}}', Tokens(3, 4), id="wrapped"),
        pytest.param('{"message":{"usage":{"input_tokens":3}},"usage":{"output_tokens":4}}', Tokens(3, 4), id="both"),
        pytest.param('{"usage" : {"prompt_tokens":3}}', Tokens(3), id="blanks"),
        pytest.param('{"usage":null}', Tokens(), id="null"),
        pytest.param('{"usage":{"prompt_tokens":null,"completion_tokens":4}}', Tokens(0, 4), id="half null"),
        pytest.param('{"usage":{"prompt_tokens":-3,"completion_tokens":4}}', Tokens(0, 4), id="negative"),
        pytest.param('{"usage":{"prompt_tokens":3.0,"completion_tokens":4}}', Tokens(3, 4), id="a whole float"),
        pytest.param('{"usage":{"prompt_tokens":3.5}}', Tokens(), id="a float"),
        pytest.param('{"usage":{"prompt_tokens":"3"}}', Tokens(3), id="a text"),
        pytest.param('{"usage":{"prompt_tokens":1' + "0" * 400 + "}}", Tokens(), id="more than there are"),
        pytest.param('{"usage":{"prompt_tokens":1e300}}', Tokens(), id="a huge float"),
        pytest.param('{"usage":[{"prompt_tokens":3}]}', Tokens(), id="a list"),
        pytest.param('{"choices":[{"usage":{"prompt_tokens":3}}]}', Tokens(), id="elsewhere"),
        pytest.param('{"content":"\\"usage\\":{\\"prompt_tokens\\":3}"}', Tokens(), id="in a text"),
        pytest.param('{"usage":{"prompt_tokens":3}', Tokens(), id="broken"),
        pytest.param('{"usage":{"x":' + "[" * 100_000, Tokens(), id="deep"),
    ],
)
def test_usage_is_read_where_it_is_said(answer: str, tokens: Tokens) -> None:
    assert rename_model(answer.encode(), OWN, PUBLIC)[1] == tokens
    assert passed([event(answer)])[1] == tokens


def test_counts_of_a_stream_grow_and_are_not_added_up() -> None:
    said = [
        '{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}',
        '{"type":"message_delta","usage":{"output_tokens":5}}',
        '{"type":"message_delta","usage":{"input_tokens":9,"output_tokens":8}}',
    ]

    assert passed([event(data) for data in said])[1] == Tokens(9, 8)

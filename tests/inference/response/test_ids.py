"""The ids that are read from responses, and those that are not, because callers can choose them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.ids import IdReader
from proxy.inference.response.observer import observer_of

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def ids_in(path: str, value: object) -> list[str]:
    found: list[str] = []
    IdReader(path, found.append).read(value if isinstance(value, bytes) else msgspec.json.encode(value))
    return found


ANNOTATIONS = [
    {"type": "container_file_citation", "container_id": "cntr_2", "file_id": "cfile_1", "filename": "a.png"},
    {"type": "url_citation", "url": "https://example.com"},
]
OUTPUT: Sequence[Any] = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "outputs": [{"type": "logs", "id": "x"}]},
    {"type": "shell_call", "id": "sh_1", "environment": {"type": "container_reference", "container_id": "cntr_3"}},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "arguments": '{"id":"x","file_id":"x"}'},
    {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "", "annotations": ANNOTATIONS}]},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "m",
    "previous_response_id": "resp_of_another",
    "conversation": {"id": "conv_1"},
    "metadata": {"id": "x"},
    "prompt": {"id": "x"},
    "tools": [{"type": "mcp", "id": "x", "container": {"file_ids": ["x"], "container_id": "x"}, "file_id": "x"}],
    "output": OUTPUT,
}
ITEM_IDS = ["rs_1", "ci_1", "cntr_1", "sh_1", "cntr_3", "fc_1", "msg_1", "cfile_1", "cntr_2"]


def test_a_response_names_itself_its_items_and_their_containers_and_files_and_nothing_that_it_repeats() -> None:
    assert ids_in(RESPONSES, RESPONSE) == ["resp_1", "conv_1", *ITEM_IDS]


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


STREAM = b"".join(
    (
        event("response.created", response={**RESPONSE, "output": []}),
        *(event("response.output_item.added", output_index=0, item=item) for item in OUTPUT),
        event("response.output_text.delta", item_id="msg_of_another", delta='"id":"x"'),
        event("response.mcp_list_tools.completed", id="x", tools=[{"id": "x"}]),
        b": a comment\n\n",
        event("response.completed", response=RESPONSE),
        b"data: [DONE]\n\n",
    )
)
STREAM_IDS = ["resp_1", "conv_1", *ITEM_IDS, "resp_1", "conv_1", *ITEM_IDS]


def read_from(pieces: Sequence[bytes], own_id: str = "m") -> list[str]:
    found: list[str] = []
    renamer = EventStreamRenamer(own_id, "m", observer_of(IdReader(RESPONSES, found.append), None))
    for piece in pieces:
        renamer.feed(piece)
    renamer.rest()
    return found


@pytest.mark.parametrize("own_id", ["m", "own"], ids=["the same model id", "another model id"])
def test_the_ids_in_a_stream_do_not_depend_on_where_it_is_cut(own_id: str) -> None:
    for at in range(0, len(STREAM) + 1):
        assert read_from([STREAM[:at], STREAM[at:]], own_id) == STREAM_IDS


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM))), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_ids_in_a_stream_do_not_depend_on_how_often_it_is_cut(cuts: list[int], line_end: bytes) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b].replace(b"\n", line_end) for a, b in pairwise(ends)]

    assert read_from(pieces) == STREAM_IDS


def test_an_id_is_found_before_the_event_that_contains_it_is_sent() -> None:
    found: list[str] = []
    renamer = EventStreamRenamer("own", "m", observer_of(IdReader(RESPONSES, found.append), None))
    sent = b""
    for at in range(len(STREAM)):
        sent += renamer.feed(STREAM[at : at + 1])
        assert b'"id":"rs_1"' not in sent or b"\n\n" not in sent.partition(b'"id":"rs_1"')[2] or "rs_1" in found


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "container": {"id": "container_1", "expires_at": "2030-01-01T00:00:00Z"},
    "content": [
        {"type": "tool_use", "id": "toolu_1", "input": {"container": {"id": "x"}, "file_id": "x"}},
        {"type": "mcp_tool_result", "content": {"content": [{"file_id": "x"}]}},
        {
            "type": "bash_code_execution_tool_result",
            "content": {"type": "bash_code_execution_result", "content": [{"file_id": "file_1"}]},
        },
    ],
}


def test_a_message_names_its_container_and_the_files_that_code_has_written() -> None:
    assert ids_in(MESSAGES, MESSAGE) == ["container_1", "file_1"]


@pytest.mark.parametrize(
    ("name", "fields", "ids"),
    [
        ("message_start", {"message": {"id": "msg_1", "container": {"id": "container_1"}}}, ["container_1"]),
        ("message_delta", {"delta": {"container": {"id": "container_1"}}}, ["container_1"]),
        ("message_delta", {"delta": {"container": None}}, []),
        ("content_block_start", {"content_block": MESSAGE["content"][2]}, ["file_1"]),  # type: ignore[index]
        ("content_block_start", {"content_block": {"type": "tool_use", "id": "toolu_1"}}, []),
    ],
)
def test_an_event_of_a_message_names_a_container_or_files(name: str, fields: dict[str, Any], ids: list[str]) -> None:
    found: list[str] = []
    IdReader(MESSAGES, found.append).read_lines(event(name, **fields))
    assert found == ids


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b'"id"', b'{"id":', b'{"id":1}', b'{"id":""}', b'{"id":"a b"}', b'{"id":"\\"x"}',
     b'{"id":"\xc3\xa9"}', b'{"id":"%b"}' % (b"x" * 1025), b"[" * 5000,
     b'{"output":{"id":"x"}}', b'{"output":["x",null,1,[{"id":"x"}]]}', b'{"output":[{"content":"x","id":null}]}',
     b'{"output":[{"content":["x",{"annotations":{"file_id":"x"}}]}]}',
     b'{"type":"response.x","item":[],"response":1}'],
)  # fmt: skip
@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_content_of_another_form_contains_no_ids(path: str, text: bytes) -> None:
    assert ids_in(path, text) == []


def test_an_id_next_to_half_of_a_character_is_found() -> None:
    assert ids_in(RESPONSES, b'{"id":"resp_1","output":[{"id":"msg_1","content":[{"text":"\\ud83d"}]}]}') == [
        "resp_1",
        "msg_1",
    ]

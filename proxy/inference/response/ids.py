"""The ids in a response that its caller may reference in later calls.

Only ids that the provider assigns are read, where its API documents them. Responses repeat much of the request, so a
caller could otherwise let the provider return an id of another caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from proxy.decoding import decode_or_none, has_many_values
from proxy.inference.request.json_spans import without_surrogates
from proxy.inference.response.events import event_objects

_ID = re.compile(r"[!#-\[\]-~]{1,1024}")
"""Printable ASCII without quotes, backslashes and spaces."""
_FILE_RESULTS = frozenset({"bash_code_execution_tool_result", "code_execution_tool_result"})
"""Types of blocks of a message with files that code has written (Anthropic)."""

_Find = Callable[[Mapping[str, Any]], Iterator[Any]]


class IdReader:
    """Reads the ids in one response, and passes each to `found` before the client has received it."""

    def __init__(self, path: str, found: Callable[[str], None]) -> None:
        """`path`: of the call, one of `PATHS_WITH_IDS`."""
        self._find = _FINDERS[path]
        self._found = found

    def read(self, text: bytes) -> None:
        """Read a complete JSON response, or an event of a stream. One with very many values has no ids."""
        if has_many_values(text):
            return
        value = decode_or_none(without_surrogates(text))
        if not isinstance(value, dict):
            return
        for found in self._find(value):
            if isinstance(found, str) and _ID.fullmatch(found):
                self._found(found)

    def read_lines(self, lines: bytes) -> None:
        """Read whole lines of a stream, in which every object is whole."""
        if b'"id"' in lines or b'"file_id"' in lines:  # most events have neither
            for event in event_objects(lines):
                self.read(event.text)


def _of_responses(value: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the ids in a response of the Responses API, or in an event of its stream."""
    if str(value.get("type")).startswith("response."):
        yield from _of_response(_dict(value.get("response")))
        yield from _of_item(_dict(value.get("item")))
    else:
        yield from _of_response(value)


def _of_response(response: Mapping[str, Any]) -> Iterator[Any]:
    yield response.get("id")
    yield _dict(response.get("conversation")).get("id")
    for item in _dicts(response.get("output")):
        yield from _of_item(item)


def _of_item(item: Mapping[str, Any]) -> Iterator[Any]:
    yield item.get("id")
    yield item.get("container_id")
    yield _dict(item.get("environment")).get("container_id")
    for part in _dicts(item.get("content")):
        for annotation in _dicts(part.get("annotations")):
            yield annotation.get("file_id")
            yield annotation.get("container_id")


def _of_messages(value: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the ids in a message of Anthropic's API, or in an event of its stream."""
    for part in (value, _dict(value.get("message")), _dict(value.get("delta"))):
        yield _dict(part.get("container")).get("id")
    for block in (*_dicts(value.get("content")), _dict(value.get("content_block"))):
        if block.get("type") in _FILE_RESULTS:
            for file in _dicts(_dict(block.get("content")).get("content")):
                yield file.get("file_id")


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


_FINDERS: Mapping[str, _Find] = {"/v1/responses": _of_responses, "/v1/messages": _of_messages}
PATHS_WITH_IDS = _FINDERS.keys()
"""The calls whose responses contain ids that can be referenced. Responses of all others are not read."""

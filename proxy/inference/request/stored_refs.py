"""References, at any depth of a JSON body, to files and other objects that a provider stores for its account."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

from proxy.inference.request.guards import fold_name
from proxy.inference.request.json_spans import MAX_COMMAS, STRING, TOO_MANY_VALUES, WHITESPACE

_MAX_OBJECTS = 50_000
"""Decoding time depends on the number of objects, not on the length: more than these take over 100 ms."""

_STORED_REFERENCES = frozenset({"file_id", "file_ids", "container_id"})
"""Names of fields that reference stored objects, wherever they occur."""
_MAY_REFERENCE = re.compile(rb'(?i)"(?:file_id[^"]{0,4}"\s*:\s*["\[]|container_id"\s*:\s*["\[]|audio"\s*:\s*\{)')
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"') + WHITESPACE + b"(:?)", re.DOTALL)
_CALLER_DATA = frozenset(
    {
        "annotations", "arguments", "citations", "examples", "guided_json", "input_examples", "input_schema",
        "json_schema", "metadata", "outputSchema", "output_schema", "parameters", "results", "schema",
    }
)  # fmt: skip
"""Names of fields with the caller's data or with sources of earlier responses: providers load no files for them."""
_TOOL_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
"""Types of objects whose `input` is the caller's data."""


def may_reference_stored_state(body: bytes) -> bool:
    """Return whether a body without escapes in its names needs `references_stored_state`: False for most bodies."""
    return _MAY_REFERENCE.search(body) is not None


def references_stored_state(body: bytes) -> bool:
    """Return whether a JSON body references stored objects. Raises ValueError if it has too many values."""
    if not may_reference_stored_state(body) and not _has_escaped_name(body):
        return False
    payload = _decode(body)
    return any(_is_reference(fields, outermost=fields is payload) for fields in _objects(payload))


def _has_escaped_name(body: bytes) -> bool:
    r"""Return whether a name contains an escape (`\u`), so that it can be any name."""
    at = body.find(rb"\u")
    while at >= 0:
        rest = _REST_OF_STRING.match(body, at)
        if rest is None or rest[1]:
            return True
        at = body.find(rb"\u", rest.end())
    return False


class _Fields(list[tuple[str, Any]]):
    """The fields of a JSON object, including duplicates."""

    def values_of(self, name: str) -> list[Any]:
        """Return all values whose folded name is `name`."""
        return [value for key, value in self if fold_name(key) == name]


def _decode(body: bytes) -> _Fields:
    if body.count(b",") > MAX_COMMAS:
        raise ValueError(TOO_MANY_VALUES)
    try:
        payload: _Fields = json.loads(
            body.decode(errors="replace"),
            strict=False,
            object_pairs_hook=partial(_count_object, count(1)),
            parse_int=float,  # int() rejects numbers with more than 4300 digits
        )
    except RecursionError as error:
        raise ValueError(TOO_MANY_VALUES) from error
    return payload


def _count_object(numbers: Iterator[int], pairs: list[tuple[str, Any]]) -> _Fields:
    if next(numbers) > _MAX_OBJECTS:
        raise ValueError(TOO_MANY_VALUES)
    return _Fields(pairs)


def _objects(payload: _Fields) -> Iterator[_Fields]:
    """Yield an object and all objects in it, except in the caller's data."""
    pending: list[Any] = [payload]
    while pending:
        value = pending.pop()
        if isinstance(value, _Fields):
            yield value
            is_tool_call = value is not payload and _is_tool_call(value)
            pending += [
                inner
                for name, inner in value
                if isinstance(inner, list) and not (is_tool_call and name == "input") and name not in _CALLER_DATA
            ]
        else:
            pending += [item for item in value if isinstance(item, list)]


def _is_tool_call(fields: _Fields) -> bool:
    types = fields.values_of("type")
    return bool(types) and all(isinstance(value, str) and value in _TOOL_CALLS for value in types)


def _is_reference(fields: _Fields, *, outermost: bool) -> bool:
    if any(value and _is_id(value) and fold_name(name) in _STORED_REFERENCES for name, value in fields):
        return True
    # `audio` in a message references an earlier spoken response; outermost it has the settings of the next one.
    audio = [] if outermost else fields.values_of("audio")
    return any(isinstance(value, _Fields) and any(value.values_of("id")) for value in audio)


def _is_id(value: Any) -> bool:
    return isinstance(value, str | list) and not isinstance(value, _Fields)

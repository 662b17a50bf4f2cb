"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

from proxy.inference.request.body import _folded
from proxy.inference.request.json_spans import _BLANK, _MAX_COMMAS, _TOO_MUCH, STRING

_MAX_OBJECTS = 50_000
"""Not the length of a body but the number of its values makes it slow to read: beyond these, more than 100 ms."""

_STORED_REFERENCES = frozenset({"file_id", "file_ids", "container_id"})
"""Names that stand for something kept, wherever they stand."""
_MAY_NAME_KEPT = re.compile(rb'(?i)"(?:file_id[^"]{0,4}"\s*:\s*["\[]|container_id"\s*:\s*["\[]|audio"\s*:\s*\{)')
_END_OF_TEXT = re.compile(STRING.removeprefix(b'"') + _BLANK + b"(:?)", re.DOTALL)
_CALLERS_OWN = frozenset(
    {
        "annotations", "arguments", "citations", "examples", "guided_json", "input_examples", "input_schema",
        "json_schema", "metadata", "outputSchema", "output_schema", "parameters", "results", "schema",
    }
)  # fmt: skip
"""Names of what is the caller's own, or only tells where something came from: no provider looks for files in it."""
_USES_OF_TOOLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


def _names_kept(body: bytes) -> bool:
    """Whether the body names files or other things that a provider keeps. Raises ValueError."""
    if not _MAY_NAME_KEPT.search(body) and not _escapes_a_name(body):
        return False
    if body.count(b",") > _MAX_COMMAS:
        raise ValueError(_TOO_MUCH)
    try:
        payload = json.loads(
            body.decode(errors="replace"),
            strict=False,
            object_pairs_hook=partial(_counted, count(1)),
            parse_int=float,  # no number is too long for it
        )
    except RecursionError as error:
        raise ValueError(_TOO_MUCH) from error
    return any(references_stored_state(value, outermost=value is payload) for value in _objects(payload))


def _counted(objects: Iterator[int], pairs: list[tuple[str, Any]]) -> _Pairs:
    if next(objects) > _MAX_OBJECTS:
        raise ValueError(_TOO_MUCH)
    return _Pairs(pairs)


def _escapes_a_name(body: bytes) -> bool:
    """Whether a name in the body has an escape in it: then it may be any name."""
    at = body.find(rb"\u")
    while at >= 0:
        end = _END_OF_TEXT.match(body, at)
        if end is None or end[1]:
            return True
        at = body.find(rb"\u", end.end())
    return False


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with names that stand twice."""

    def named(self, name: str) -> list[Any]:
        """All values under a name as any parser may read it."""
        return [value for given, value in self if _folded(given) == name]


def _objects(payload: _Pairs) -> Iterator[_Pairs]:
    """An object and all objects in it, but for what is the caller's own."""
    waiting: list[Any] = [payload]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Pairs):
            yield value
            types = value.named("type") if value is not payload else []
            uses_tool = bool(types) and all(isinstance(each, str) and each in _USES_OF_TOOLS for each in types)
            waiting += [
                inner
                for name, inner in value
                if isinstance(inner, list) and not (uses_tool and name == "input") and name not in _CALLERS_OWN
            ]
        else:
            waiting += [item for item in value if isinstance(item, list)]


def references_stored_state(value: _Pairs, *, outermost: bool) -> bool:
    for name, inner in value:
        if (
            inner
            and _folded(name) in _STORED_REFERENCES
            and isinstance(inner, str | list)
            and not isinstance(inner, _Pairs)
        ):
            return True
    # An earlier answer that was spoken. (Outermost `audio` says how the next one is to be spoken.)
    spoken = [] if outermost else value.named("audio")
    return any(isinstance(audio, _Pairs) and any(audio.named("id")) for audio in spoken)

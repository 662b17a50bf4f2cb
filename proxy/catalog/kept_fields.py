"""What entries keep for rules only: the values of fields, or in stored entries the results of the rules. Pure.

`Entry.kept` is an object, path -> values. A list that is stored, or shared with other processes, must not contain
what is never shown, and rules may read such fields. So `kept` of a stored entry is an array of two objects: text of a
rule of `where` -> whether it allows the entry, and field -> `[true]` if it marks the model as retired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.dialects.entry import Entry

_Values = dict[str, list[Any]]
_Results = tuple[dict[str, bool], _Values]
_OPEN_VALUES = msgspec.json.Decoder(_Values).decode
_OPEN_RESULTS = msgspec.json.Decoder(_Results).decode
_ENCODE = msgspec.json.Encoder().encode


def values_kept(entry: Entry) -> Mapping[str, list[Any]]:
    """Path -> the values kept for rules; of a stored entry only the signs that the model is retired."""
    if not entry.kept:
        return {}
    return _OPEN_RESULTS(entry.kept)[1] if has_results(entry) else _OPEN_VALUES(entry.kept)


def results_kept(entry: Entry) -> Mapping[str, bool]:
    """The text of a rule -> whether it allows the entry; empty unless the entry was stored."""
    return _OPEN_RESULTS(entry.kept)[0] if has_results(entry) else {}


def has_results(entry: Entry) -> bool:
    return entry.kept[:1] == b"["


def encode_results(allowed: Mapping[str, bool], retired: Mapping[str, list[bool]]) -> bytes:
    """`kept` of a stored entry."""
    return _ENCODE((allowed, retired))

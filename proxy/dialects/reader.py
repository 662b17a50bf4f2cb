"""One entry of a list, from its raw JSON to an `Entry`: one tolerant reader for every row of the table. No I/O.

Entries are read one by one (`read_entry`), so that the caller can yield in between and a bad entry costs only itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw

from proxy.dialects.diagnosis import ANY_DECODER, CONTROL, field_names, is_text
from proxy.dialects.dialect import MISSING, Dialect, EntryPlan, FieldSource, Getter
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.dialects.page import has_long_number
from proxy.dialects.private import is_private_text, may_tell_places, without_private
from proxy.dialects.times import unix_seconds

MAX_ID_BYTES = 256
MAX_ENTRY_BYTES = 1024 * 1024
# One deeper model, or one longer number, would cost a client the whole list: readers give up at 64 levels (.NET) or
# 128 (Rust), and at what no float can hold (Go, Rust).
MAX_DEPTH = 32
_MAX_NUMBER = int(sys.float_info.max)
_ENCODE = msgspec.json.Encoder().encode
_FLAGS = tuple(Permission.__dataclass_fields__)
_NOT_FOR_EVERYONE = "holds a value that is not JSON for everyone"


class InvalidEntry(ValueError):
    """One entry cannot be listed; the message is the reason, the same for all entries of the same fault."""


def read_entry(
    dialect: Dialect,
    raw: Raw,
    values: Mapping[str, str],
    long_numbers: bool = True,
    named: frozenset[str] = frozenset(),
) -> Entry:
    """One entry in our terms, less what is never shown. Raises InvalidEntry.

    `values` are those of the list's `{name}` placeholders; `long_numbers` comes from its page; `named` are private
    fields that the operator lists in `extra_fields`.
    """
    text = bytes(raw)
    if len(text) > MAX_ENTRY_BYTES:
        raise InvalidEntry(f"is larger than {MAX_ENTRY_BYTES:,} bytes")
    try:
        payload = dialect.familiar.decode(text)
    except (ValueError, RecursionError):
        payload = _decoded(text, long_numbers)
        is_harmless = dialect.familiar.is_harmless(payload)
    else:
        is_harmless = True
        if long_numbers and has_long_number(text) and not _is_for_everyone(payload, MAX_DEPTH):
            raise InvalidEntry(_NOT_FOR_EVERYONE)
    shape = dialect.shape(tuple(payload))
    own_id = _own_id(dialect, payload, shape.ids)
    entry = _entry(dialect, shape, own_id, payload, payload, text if dialect.raw else b"", values)
    extra = entry.extra
    if (
        is_harmless
        and ((b"/" not in extra and b"\\" not in extra) or not may_tell_places(extra))
        and not (shape.refers and (entry.root != entry.id or entry.parent))
        and not dialect.raw
    ):
        return entry
    return _less_private(dialect, entry, payload, values, named)


def _decoded(text: bytes, long_numbers: bool) -> dict[str, Any]:
    """What any entry says. Raises InvalidEntry."""
    try:
        payload = ANY_DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEntry(_NOT_FOR_EVERYONE) from error
    if not isinstance(payload, dict):
        raise InvalidEntry("is no object")
    if _looks_odd(text, long_numbers) and not _is_for_everyone(payload, MAX_DEPTH):
        raise InvalidEntry(_NOT_FOR_EVERYONE)
    return payload


def entry_of(dialect: Dialect, payload: Mapping[str, Any], raw: bytes, values: Mapping[str, str]) -> Entry:
    """The entry that an object of the dialect describes, as it is. Raises InvalidEntry."""
    shape = dialect.shape(tuple(payload))
    return _entry(dialect, shape, _own_id(dialect, payload, shape.ids), payload, payload, raw, values)


def _less_private(
    dialect: Dialect, entry: Entry, payload: Mapping[str, Any], values: Mapping[str, str], named: frozenset[str]
) -> Entry:
    """The entry without what is never shown."""
    shown = without_private(payload, entry.id, named)
    raw = entry.raw
    if raw:
        # What the contract documents (`private`) belongs to it; the bytes stay if there is nothing else.
        documented = frozenset(path.rpartition(".")[2] for path in dialect.private)
        kept = without_private(payload, entry.id, documented=documented)
        raw = raw if kept == payload else _ENCODE(kept)
    # Where the operator says what is read, it is read wherever it stands.
    source = payload if dialect.kind == "custom" else shown
    return _entry(dialect, dialect.shape(tuple(source)), entry.id, source, shown, raw, values)


def _entry(
    dialect: Dialect,
    shape: EntryPlan,
    own_id: str,
    payload: Mapping[str, Any],
    shown: Mapping[str, Any],
    raw: bytes,
    values: Mapping[str, str],
) -> Entry:
    """`said`: where what we know is read, `shape` is its; `shown`: what may be shown beside it."""
    root = shown.get("root")
    parent = values[dialect.parent] if dialect.parent else shown.get("parent")
    return Entry(
        own_id,
        _owner(payload, shape.owners),
        _created(payload, shape.times),
        root if root and root != own_id and is_text(root) else own_id,  # the same object: most are equal
        parent if parent and is_text(parent) else None,
        _permissions(payload.get("permission")),
        _extra(dialect, payload, shown, shape),
        raw,
    )


def _looks_odd(text: bytes, long_numbers: bool) -> bool:
    """Whether an entry has to be looked through value by value: a cheap question, since hardly any has to."""
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH or (long_numbers and has_long_number(text))


def _is_for_everyone(value: object, levels: int) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MAX_NUMBER
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_for_everyone(each, levels - 1) for each in inner)
    return True


def _owner(payload: Mapping[str, Any], places: Sequence[Getter]) -> str:
    for look in places:
        owner = look(payload)
        if is_text(owner) and not ("/" in owner and is_private_text(owner)):
            return owner
    return ""


def _created(payload: Mapping[str, Any], places: Sequence[Getter]) -> int:
    for look in places:
        if seconds := unix_seconds(look(payload)):
            return seconds
    return 0


def _own_id(dialect: Dialect, payload: Mapping[str, Any], places: Sequence[Getter]) -> str:
    for look in places:
        own_id = look(payload)
        if own_id is not MISSING:
            break
    else:
        raise InvalidEntry(f"has no {' or '.join(field_names(dialect.id))}")
    if not isinstance(own_id, str):
        raise InvalidEntry("has an id that is no string")
    if dialect.strip_prefix:
        own_id = _without_beginning(own_id, dialect.strip_prefix)
    if not own_id:
        raise InvalidEntry("has an empty id")
    if not own_id.isprintable() and CONTROL.search(own_id):
        raise InvalidEntry("has control characters in its id")
    if len(own_id) > MAX_ID_BYTES // 4 and len(own_id.encode()) > MAX_ID_BYTES:
        raise InvalidEntry(f"has an id of more than {MAX_ID_BYTES} bytes")
    return own_id


def _without_beginning(own_id: str, prefixes: Sequence[str]) -> str:
    """An id less the first of these beginnings that it has; `*` stands for anything but a slash."""
    for beginning in prefixes:
        pattern = re.escape(beginning).replace(r"\*", "[^/]+")
        if match := re.match(pattern, own_id):
            return own_id[match.end() :]
    return own_id


def _permissions(payload: object) -> tuple[Permission, ...]:
    """The documented flags of each entry; ids, times and organisations that providers invent stay out."""
    if not isinstance(payload, list):
        return DEFAULT_PERMISSIONS
    return tuple([_permission(entry) for entry in payload if isinstance(entry, dict)]) or DEFAULT_PERMISSIONS


def _permission(payload: Mapping[str, Any]) -> Permission:
    # By identity: 0 and 1 are equal to flags, but are none.
    return _permission_of(tuple([flag if flag is True or flag is False else None for flag in map(payload.get, _FLAGS)]))


@cache
def _permission_of(flags: tuple[bool | None, ...]) -> Permission:
    """Made once for each choice of flags: nearly all models of all providers have the same one."""
    return Permission(**{name: flag for name, flag in zip(_FLAGS, flags, strict=True) if flag is not None})


def _extra(dialect: Dialect, payload: Mapping[str, Any], rest: Mapping[str, Any], shape: EntryPlan) -> bytes:
    """What else is said: the known under the names that clients read, then the unknown as it is."""
    known, used = _known(dialect, payload, shape.extra)
    hidden = dialect.private if dialect.keeps_originals else (*used, *dialect.private)
    shown = dict(_without_all(rest, hidden) if hidden else rest)
    for name in shape.ours:
        shown.pop(name, None)
    nested = [(name, known.pop(name)) for name in shape.nested if name in known]
    shown.update(known)
    for name, value in nested:
        outer, inner = name.split(".")
        beside = shown.get(outer)
        shown[outer] = {**beside, inner: value} if isinstance(beside, dict) else {inner: value}
    return _ENCODE(shown)


def _known(
    dialect: Dialect, payload: Mapping[str, Any], places: Sequence[FieldSource]
) -> tuple[dict[str, Any], list[str]]:
    """What could be read under a known name, and the paths that it was read from."""
    known: dict[str, Any] = {}
    used: list[str] = []
    price_per = dialect.price_per
    for name, path, look, read in places:
        if name in known:
            continue
        value = look(payload)
        if value is not None and (value := read(value, price_per)) is not None:
            known[name] = value
            used.append(path)
    return known, used


def _without_all(payload: Any, paths: Sequence[str]) -> Any:
    for path in paths:
        payload = _without(payload, path.split("."))
    return payload


def _without(value: Any, path: Sequence[str]) -> Any:
    """A value less what stands at a path; every element of an array on the way."""
    if isinstance(value, list):
        return [_without(inner, path) for inner in value]
    if not isinstance(value, dict):
        return value
    name, *deeper = path
    if not deeper:
        return {key: inner for key, inner in value.items() if key != name}
    return {key: _without(inner, deeper) if key == name else inner for key, inner in value.items()}

"""Parse the raw JSON of one entry to an `Entry`: one tolerant parser for all rows of the table. No I/O.

Entries are parsed one by one (`read_entry`), so that the caller can yield in between and an invalid entry is dropped
without affecting the others.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from msgspec import Raw

from proxy.dialects.diagnosis import ANY_DECODER, field_names, is_text
from proxy.dialects.dialect import Dialect, EntryPlan
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.dialects.extra_fields import ENCODE, extra_of
from proxy.dialects.getters import MISSING, Getter, values_at
from proxy.dialects.identity import (
    ACCESS_RULES,
    RESOURCE_PREFIXES,
    SHORT_ID,
    aliases_of,
    bare_name,
    problem_of_id,
    why_no_model,
    without_prefix,
)
from proxy.dialects.page import has_long_number
from proxy.dialects.private import has_private_text, is_private, selected, without_private
from proxy.dialects.private_paths import is_path
from proxy.dialects.private_signs import ALL_SIGNS, Sign, has_sign, texts_with_signs
from proxy.dialects.private_text import has_secret, is_option
from proxy.dialects.repair import REPLACEMENT
from proxy.dialects.times import unix_seconds

# A deeper entry or a larger number would make clients reject the whole list: parsers fail at 64 levels (.NET) or
# 128 (Rust), and for numbers that exceed the range of a float (Go, Rust).
MAX_DEPTH = 32
_MAX_NUMBER = int(sys.float_info.max)
_MAY_BE_PATH = frozenset("/\\:")
_FLAGS = tuple(Permission.__dataclass_fields__)
_NOT_PORTABLE = "contains non-portable JSON"


class InvalidEntry(ValueError):
    """An entry cannot be listed. The message is the reason, equal for all entries with the same fault."""


class NotAModel(InvalidEntry):
    """A valid entry of a list that is no model, such as a wildcard."""


def read_entry(
    dialect: Dialect,
    raw: Raw | bytes,
    values: Mapping[str, str],
    long_numbers: bool = True,
    named: frozenset[str] = frozenset(),
    signs: Sequence[Sign] = ALL_SIGNS,
) -> Entry:
    """Parse one entry and remove its private values. Raises InvalidEntry.

    `values` are those of the list's `{name}` placeholders; `long_numbers` is that of the page; `signs` are those of the
    entry, or of several together; `named` are the paths in `extra_fields`, whose fields are kept even if private.
    """
    text = bytes(raw)
    try:
        payload = dialect.safe_names.decode(text)
    except (ValueError, RecursionError):
        if text[:1] == b'"':
            return _named_entry(dialect, text, values)
        payload = _decoded(text, long_numbers)
        is_safe = dialect.safe_names.add_if_safe(payload)
    else:
        is_safe = True
        if long_numbers and has_long_number(text) and not _is_portable(payload, MAX_DEPTH):
            raise InvalidEntry(_NOT_PORTABLE)
    plan = dialect.plan(tuple(payload))
    own_id, written = _own_id(dialect, payload, plan.ids)
    if plan.has_requirements:
        _require_values(dialect, payload)
    if (
        is_safe
        and not (signs and _has_private_text(payload, text, own_id, signs))
        and not (plan.has_reference and _has_reference(dialect, payload, own_id))
        and not dialect.raw
    ):
        shown = selected(payload, named) if dialect.only_named else payload
        return _entry(dialect, plan, own_id, written, payload, shown, b"", values)
    _require_public(own_id)
    return _public_entry(dialect, own_id, written, payload, text if dialect.raw else b"", values, named, signs)


def require_own_id(entry: Entry) -> None:
    """Raise InvalidEntry for an entry of a repaired response if its id has a replaced character: calls would fail."""
    if REPLACEMENT in entry.id or REPLACEMENT in entry.written:
        raise InvalidEntry("id contains invalid characters")


def _named_entry(dialect: Dialect, text: bytes, values: Mapping[str, str]) -> Entry:
    """Parse an entry that is only an id. Raises InvalidEntry."""
    own_id, written = _bare_id(dialect, ANY_DECODER.decode(text), {})
    _require_public(own_id)
    raw = ENCODE({"id": own_id}) if dialect.raw else b""
    return _entry(dialect, dialect.plan(()), own_id, written, {}, {}, raw, values)


def _decoded(text: bytes, long_numbers: bool) -> dict[str, Any]:
    """Decode an entry with any names. Raises InvalidEntry."""
    try:
        payload = ANY_DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEntry(_NOT_PORTABLE) from error
    if not isinstance(payload, dict):
        raise InvalidEntry("not an object")
    if _needs_check(text, long_numbers) and not _is_portable(payload, MAX_DEPTH):
        raise InvalidEntry(_NOT_PORTABLE)
    return payload


def entry_of(dialect: Dialect, payload: Mapping[str, Any], raw: bytes, values: Mapping[str, str]) -> Entry:
    """Convert an object of the dialect to an entry, including private values. Raises InvalidEntry."""
    plan = dialect.plan(tuple(payload))
    return _entry(dialect, plan, *_own_id(dialect, payload, plan.ids), payload, payload, raw, values)


def _has_private_text(payload: Mapping[str, Any], text: bytes, own_id: str, signs: Sequence[Sign]) -> bool:
    """Whether an entry contains a private text. `text` is its JSON. Its id can be a path, but no secret."""
    if b"\\" in text:
        may_be = has_sign(ENCODE(payload), signs)
        return may_be and (has_private_text(payload, own_id, signs) or has_secret(own_id))
    for value in texts_with_signs(text, signs):
        if has_secret(value) if value == own_id else is_private(value) or is_option(value):
            return True
    return False


def _require_values(dialect: Dialect, payload: Mapping[str, Any]) -> None:
    for path, value in dialect.required.items():
        if value not in values_at(payload, path):
            raise NotAModel(f"`{path}` is not {value}")


def _require_public(own_id: str) -> None:
    """Raise InvalidEntry if an id is a credential or contains one. A path is allowed: calls need it."""
    if has_secret(own_id):
        raise InvalidEntry("id contains a secret")


def _has_reference(dialect: Dialect, payload: Mapping[str, Any], own_id: str) -> bool:
    return payload.get(dialect.root, own_id) not in (own_id, None, "") or bool(payload.get("parent"))


def _public_entry(
    dialect: Dialect,
    own_id: str,
    written: str,
    payload: Mapping[str, Any],
    raw: bytes,
    values: Mapping[str, str],
    named: frozenset[str],
    signs: Sequence[Sign],
) -> Entry:
    """The entry without private values, except those that the operator chose."""
    safe = dialect.safe_names.names
    shown = without_private(payload, own_id, named, safe, signs)
    if raw:
        # Keep what the native API documents, although `private` hides it. If all is kept, the bytes do not change.
        public = without_private(payload, own_id, frozenset(dialect.private), safe, signs)
        raw = raw if public == payload else ENCODE(public)
    chosen = dialect.chosen_private
    source = without_private(payload, own_id, named | chosen, safe, signs) if chosen else shown
    others = selected(shown, named) if dialect.only_named else shown
    return _entry(dialect, dialect.plan(tuple(source)), own_id, written, source, others, raw, values)


def _entry(
    dialect: Dialect,
    plan: EntryPlan,
    own_id: str,
    written: str,
    payload: Mapping[str, Any],
    shown: Mapping[str, Any],
    raw: bytes,
    values: Mapping[str, str],
) -> Entry:
    """`payload` is the source of standard fields, and `plan` is its plan; `shown` is the source of all other fields."""
    root, parent = (shown.get(dialect.root), shown.get("parent")) if plan.has_reference else (None, None)
    if dialect.parent:
        parent = values[dialect.parent]
    return Entry(
        own_id,
        _owner(payload, plan.owners),
        _created(payload, plan.times),
        # The same object as the id, since most are equal.
        root if root and root not in (own_id, written) and is_text(root) else own_id,
        parent if parent and is_text(parent) else None,
        DEFAULT_PERMISSIONS if (permission := shown.get("permission")) is None else _permissions(permission),
        extra_of(dialect, payload, shown, plan),
        raw,
        written,
        aliases_of(payload, plan.aliases, own_id) if plan.aliases else (),
        kept=ENCODE({path: [*values_at(payload, path)] for path in dialect.kept}) if dialect.kept else b"",
    )


def _needs_check(text: bytes, long_numbers: bool) -> bool:
    """Whether an entry may be non-portable and each value must be checked. Fast, and rarely true."""
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH or (long_numbers and has_long_number(text))


def _is_portable(value: object, levels: int) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MAX_NUMBER
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_portable(each, levels - 1) for each in inner)
    return True


def _owner(payload: Mapping[str, Any], getters: Sequence[Getter]) -> str:
    for get in getters:
        owner = get(payload)
        if isinstance(owner, str) and (public := _shared_owner(owner) if len(owner) <= SHORT_ID else _public(owner)):
            return public
    return ""


def _public(owner: str) -> str:
    """An owner, "" if it is private. A path has certain characters; most owners have none, and are not searched."""
    return owner if _MAY_BE_PATH.isdisjoint(owner) or not (is_path(owner) or is_private(owner)) else ""


_shared_owner = lru_cache(1024)(_public)
"""Cached, because a list has few owners, and so that its entries share them."""


def _created(payload: Mapping[str, Any], getters: Sequence[Getter]) -> int:
    for get in getters:
        if seconds := unix_seconds(get(payload)):
            return seconds
    return 0


def _own_id(dialect: Dialect, payload: Mapping[str, Any], getters: Sequence[Getter]) -> tuple[str, str]:
    """Return the id without a prefix, and the id as it is written if it had one, else "". Raises InvalidEntry."""
    for get in getters:
        written = get(payload)
        if written is not MISSING:
            break
    else:
        raise InvalidEntry(f"missing {' or '.join(field_names(dialect.id))}")
    return _bare_id(dialect, written, payload)


def _bare_id(dialect: Dialect, written: object, payload: Mapping[str, Any]) -> tuple[str, str]:
    if not isinstance(written, str):
        raise InvalidEntry("id is not a string")
    own_id = written
    if dialect.strip_prefix:
        own_id = without_prefix(written, dialect.strip_prefix)
    if dialect.resource_names and own_id is written and written.startswith(RESOURCE_PREFIXES):
        own_id = bare_name(written, payload)
    # Most ids are short and printable, and need no closer look.
    if not (own_id[:1] > " " and own_id.isprintable() and len(own_id) <= SHORT_ID) and (
        problem := problem_of_id(own_id)
    ):
        raise InvalidEntry(problem)
    if "*" in own_id or own_id in ACCESS_RULES:
        raise NotAModel(why_no_model(own_id))
    return (own_id, "") if own_id == written else (own_id, written)


def _permissions(payload: object) -> tuple[Permission, ...]:
    """The documented flags of each permission. Ids, times and organizations are omitted: providers generate them."""
    if not isinstance(payload, list):
        return DEFAULT_PERMISSIONS
    return tuple([_permission(entry) for entry in payload if isinstance(entry, dict)]) or DEFAULT_PERMISSIONS


def _permission(payload: Mapping[str, Any]) -> Permission:
    # Compared by identity, because 0 == False and 1 == True.
    return _permission_of(tuple([flag if flag is True or flag is False else None for flag in map(payload.get, _FLAGS)]))


@cache
def _permission_of(flags: tuple[bool | None, ...]) -> Permission:
    """Cached, because nearly all models have the same flags."""
    return Permission(**{name: flag for name, flag in zip(_FLAGS, flags, strict=True) if flag is not None})

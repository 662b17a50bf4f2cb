"""Bytes in, entries out: one tolerant reader for every row of the table. No I/O.

A provider's answer is opened once (`open_page`), its entries are read one by one (`read_entry`), so that the
caller can take a breath between them, and so that a bad entry costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from proxy.catalog import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.dialects.dialect import Dialect
from proxy.dialects.times import unix_seconds
from proxy.errors import UpstreamError

OURS = frozenset({"id", "object", "created", "owned_by", "permission", "root", "parent"})
"""The fields of a listed model that `extra` may never shadow."""

MAX_ID_BYTES = 256
# 8 MB of `[],` took 1.1 s and 239 MB to build; 20,000 models with 20 nested values each stay below this.
MAX_NESTED = 500_000
_REASON_CHARS = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_RAW_ARRAY = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()
_FLAGS = Permission.__dataclass_fields__.keys()
_MISSING = object()


class Dropped(ValueError):
    """One entry cannot be listed; the message is the reason, the same for all entries of the same fault."""


@dataclass(frozen=True)
class Page:
    """One answer, opened: the raw JSON of its entries, and of everything around them."""

    items: Sequence[Raw]
    whole: Raw

    def value(self, path: str) -> Any:
        """The decoded value at a dotted path of the answer, None where there is none."""
        raw = _dig(self.whole, path)
        return None if raw is None else _ANY.decode(raw)


def open_page(dialect: Dialect, body: bytes) -> Page:
    """Find the entries of one answer.

    Raises UpstreamError (`garbled`) when the answer is no list of models, with what it is instead.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise _garbled("an empty body")
    if text.startswith(b"<"):
        raise _garbled("an HTML or XML page; is base_url the address of the API?")
    if text.count(b"[") + text.count(b"{") > MAX_NESTED:
        raise _garbled(f"more than {MAX_NESTED:,} nested values")
    try:
        text.decode()
        whole = msgspec.json.decode(text, type=Raw)
        items = _items(dialect, whole)
        if not items and (complaint := _complaint(whole)):
            raise UpstreamError("garbled", f"answered 200 with an error: {complaint}")
        if items is None:
            where = " or ".join(_names(dialect.items))
            raise _garbled(f"{_shape(whole)} where {where} should be an array of models")
    except (ValueError, RecursionError) as error:
        # msgspec's text names positions, never content.
        raise _garbled(f"no valid JSON ({error})") from error
    return Page(items, whole)


def read_entry(dialect: Dialect, raw: Raw, asked: Mapping[str, str]) -> Entry:
    """One entry in our terms. `asked` holds the values that the question was about. Raises Dropped."""
    try:
        said = _ANY.decode(raw)
    except (ValueError, RecursionError) as error:
        raise Dropped("holds a value that is not JSON for everyone") from error
    if not isinstance(said, dict):
        raise Dropped("is no object")
    return entry_of(dialect, said, bytes(raw) if dialect.native else b"", asked)


def entry_of(dialect: Dialect, said: Mapping[str, Any], native: bytes, asked: Mapping[str, str]) -> Entry:
    """The entry that an object of the dialect describes. Raises Dropped."""
    own_id = _own_id(dialect, said)
    parent = asked[dialect.parent] if dialect.parent else said.get("parent")
    root = said.get("root")
    return Entry(
        id=own_id,
        owner=next((value for value in (_field(said, name) for name in dialect.owner) if _is_text(value)), ""),
        created=next((time for time in (unix_seconds(_field(said, name)) for name in dialect.created) if time), 0),
        root=root if _is_text(root) else own_id,
        parent=parent if _is_text(parent) else None,
        permissions=_permissions(said.get("permission")),
        extra=_extra(dialect, said),
        native=native,
    )


def reason_in(body: bytes) -> str:
    """What an error body says, whatever its shape, on one line; "" when it says nothing to be read."""
    try:
        said = _ANY.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return ""
    return _one_line(_message(said))


def _items(dialect: Dialect, whole: Raw) -> Sequence[Raw] | None:
    """The entries' raw JSON; empty for `null`; None where no alternative of `items` is an array."""
    found: Sequence[Raw] | None = None
    for path in dialect.items:
        raw = _dig(whole, path)
        if raw is None:
            continue
        start = memoryview(raw)[0]
        if start == ord("["):
            return _RAW_ARRAY.decode(raw)
        if start == ord("n") and path:
            found = ()  # Ollama without a model says `data: null`.
    return found


def _dig(raw: Raw, path: str) -> Raw | None:
    """The raw JSON at a dotted path, None where there is none; nothing beside the path is decoded."""
    for name in path.split(".") if path else ():
        if memoryview(raw)[0] != ord("{"):
            return None
        inner = _RAW_OBJECT.decode(raw).get(name)
        if inner is None:
            return None
        raw = inner
    return raw


def _field(said: Mapping[str, Any], path: str) -> Any:
    value: Any = said
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _own_id(dialect: Dialect, said: Mapping[str, Any]) -> str:
    own_id = next((said[name] for name in dialect.id if name in said), _MISSING)
    if own_id is _MISSING:
        raise Dropped(f"has no {' or '.join(_names(dialect.id))}")
    if not isinstance(own_id, str):
        raise Dropped("has an id that is no string")
    if not own_id:
        raise Dropped("has an empty id")
    if _CONTROL.search(own_id):
        raise Dropped("has control characters in its id")
    if len(own_id.encode()) > MAX_ID_BYTES:
        raise Dropped(f"has an id of more than {MAX_ID_BYTES} bytes")
    return own_id


def _permissions(said: object) -> tuple[Permission, ...]:
    """The documented flags of each entry; ids, times and organisations that providers invent stay out."""
    entries = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
    return tuple(_permission(entry) for entry in entries) or DEFAULT_PERMISSIONS


def _permission(said: Mapping[str, Any]) -> Permission:
    return Permission(**{flag: said[flag] for flag in _FLAGS if isinstance(said.get(flag), bool)})


def _extra(dialect: Dialect, said: Mapping[str, Any]) -> bytes:
    rest = {dialect.rename.get(name, name): value for name, value in said.items() if name not in OURS}
    for path in dialect.private:
        rest = _without(rest, path.split("."))
    return msgspec.json.encode({name: value for name, value in rest.items() if name not in OURS}) if rest else b"{}"


def _without(said: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    name, *deeper = path
    if name not in said:
        return said
    rest = {key: value for key, value in said.items() if key != name}
    inner = said[name]
    if deeper and isinstance(inner, dict):
        rest = {key: _without(inner, deeper) if key == name else value for key, value in said.items()}
    return rest


def _complaint(whole: Raw) -> str:
    """What an answer with status 200 complains of, "" if it does not (One-API, LM Studio, vLLM, MiniMax)."""
    said = _ANY.decode(whole)
    if isinstance(said, str):
        return _one_line(said)
    if not isinstance(said, dict):
        return ""
    status = _field(said, "base_resp.status_code")
    if said.get("error") or said.get("object") == "error" or said.get("success") is False or status:
        return _one_line(_message(said)) or "without a reason"
    return ""


_MESSAGES = ("error.message", "error", "message", "error_msg", "detail", "errors", "msg", "reason", "title",
             "base_resp.status_msg")  # fmt: skip


def _message(said: object) -> str:
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return next((text for text in map(_message, said) if text), "")
    if not isinstance(said, dict):
        return ""
    for path in _MESSAGES:
        value = _field(said, path)
        if _is_text(value):
            return value
        if isinstance(value, list) and (text := _message(value)):
            return text
    return ""


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())[:_REASON_CHARS]


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _names(paths: Sequence[str]) -> list[str]:
    return [f"`{path}`" if path else "the answer" for path in paths]


def _shape(whole: Raw) -> str:
    """What an answer is, told by its outermost names: never its content."""
    said = _ANY.decode(whole)
    if isinstance(said, dict):
        return "an object with " + (
            ", ".join(f"`{_one_line(name)[:40]}`" for name in list(said)[:8]) or "nothing in it"
        )
    return {str: "a string", list: "an array", type(None): "null", bool: "a boolean"}.get(type(said), "a number")


def _garbled(what: str) -> UpstreamError:
    return UpstreamError("garbled", f"answered {what}")

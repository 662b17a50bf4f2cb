"""Bytes in, entries out: one tolerant reader for every row of the table. No I/O.

A provider's answer is opened once (`open_page`), its entries are read one by one (`read_entry`), so that the
caller can take a breath between them, and so that a bad entry costs only itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from proxy.catalog import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.dialects.dialect import MISSING, Dialect, Look, Place, Shape, look_at
from proxy.dialects.times import unix_seconds
from proxy.errors import UpstreamError

MAX_ID_BYTES = 256
# 8 MB of `[],` took 1.1 s and 239 MB to build; 20,000 models with 50 values each stay below this.
MAX_VALUES = 1_000_000
MAX_ENTRY_BYTES = 1024 * 1024
# One deeper model, or one longer number, would cost a client the whole list: readers give up at 64 levels (.NET) or
# 128 (Rust), and at what no float can hold (Go, Rust).
MAX_DEPTH = 32
_MAX_NUMBER = int(sys.float_info.max)
_REASON_CHARS = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMERAL = re.compile(r"-?[0-9]+")
_ALL_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 300
_STRIDE = 16
_LONG_NUMBER_SAMPLED = b"0" * (len(_LONG_NUMBER) // _STRIDE)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_RAW_ARRAY = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()
_ENCODE = msgspec.json.Encoder().encode
_FLAGS = tuple(Permission.__dataclass_fields__)
_BOM = b"\xef\xbb\xbf"
_NOT_FOR_EVERYONE = "holds a value that is not JSON for everyone"


class Dropped(ValueError):
    """One entry cannot be listed; the message is the reason, the same for all entries of the same fault."""


@dataclass(frozen=True)
class Page:
    """One answer, opened: the raw JSON of its entries, and of everything around them."""

    items: Sequence[Raw]
    top: Mapping[str, Raw]
    """The outermost values by their names; none where the answer is an array."""
    long_numbers: bool = True
    """Whether a number on it may be one that no float can hold."""

    def value(self, path: str) -> Any:
        """The decoded value at a dotted path of the answer, None where there is none. Raises UpstreamError."""
        try:
            raw = _dig(self.top, path)
            return None if raw is None else _ANY.decode(raw)
        except (ValueError, RecursionError) as error:
            raise _garbled(f"a value at `{path}` that is not JSON for everyone") from error


def open_page(dialect: Dialect, body: bytes) -> Page:
    """Find the entries of one answer.

    Raises UpstreamError (`garbled`) when the answer is no list of models, with what it is instead.
    """
    text = body.removeprefix(_BOM).strip()
    if not text:
        raise _garbled("an empty body")
    if text.startswith(b"<"):
        raise _garbled("an HTML or XML page; is base_url the address of the API?")
    if len(text) > MAX_VALUES and sum(map(text.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise _garbled(f"more than {MAX_VALUES:,} values")
    try:
        text.decode()
        if text.startswith(b"{"):
            whole, top = Raw(text), _RAW_OBJECT.decode(text)
        else:
            whole, top = msgspec.json.decode(text, type=Raw), {}
        items = _items(dialect, whole, top)
        if items is None and dialect.empty_without_items and top.keys() <= {"nextPageToken"}:
            items = ()
        if not items:
            _refuse_what_is_no_list(dialect, _ANY.decode(whole), found=items is not None)
    except (ValueError, RecursionError) as error:
        # msgspec's text names positions, never content.
        raise _garbled(f"no valid JSON ({error})") from error
    return Page(items or (), top, _has_long_number(text))


def read_entry(dialect: Dialect, raw: Raw, asked: Mapping[str, str], long_numbers: bool = True) -> Entry:
    """One entry in our terms. Raises Dropped.

    `asked` holds the values that the question was about; `long_numbers` is what its page says.
    """
    text = bytes(raw)
    if len(text) > MAX_ENTRY_BYTES:
        raise Dropped(f"is larger than {MAX_ENTRY_BYTES:,} bytes")
    try:
        said = _ANY.decode(text)
    except (ValueError, RecursionError) as error:
        raise Dropped(_NOT_FOR_EVERYONE) from error
    if not isinstance(said, dict):
        raise Dropped("is no object")
    if _looks_odd(text, long_numbers) and not _is_for_everyone(said, MAX_DEPTH):
        raise Dropped(_NOT_FOR_EVERYONE)
    return entry_of(dialect, said, text if dialect.native else b"", asked)


def entry_of(dialect: Dialect, said: Mapping[str, Any], native: bytes, asked: Mapping[str, str]) -> Entry:
    """The entry that an object of the dialect describes. Raises Dropped."""
    shape = dialect.shape(tuple(said))
    own_id = _own_id(dialect, said, shape.ids)
    root = said.get("root")
    parent = asked[dialect.parent] if dialect.parent else said.get("parent")
    return Entry(
        own_id,
        _owner(said, shape.owners),
        _created(said, shape.times),
        root if root and root != own_id and _is_text(root) else own_id,  # the same object: most are equal
        parent if parent and _is_text(parent) else None,
        _permissions(said.get("permission")),
        _extra(dialect, said, shape),
        native,
    )


def why_none_is_readable(dialect: Dialect, raw: Raw, reason: str) -> UpstreamError:
    """Of a page none of whose entries can be listed: what the first one lacks, and what it has instead."""
    has = _shape(_ANY.decode(raw))
    if dialect.kind == "custom":
        return UpstreamError(
            "garbled", f"`list.id` is {' or '.join(_names(dialect.id))}, a model is {has}: it {reason}"
        )
    return _garbled(f"no model that can be listed: {has}, which {reason}")


def reason_in(body: bytes) -> str:
    """What an error body says, whatever its shape, on one line; "" when it says nothing to be read."""
    text = body.removeprefix(_BOM).strip()
    if text.startswith(b"<"):
        return ""  # a page for a browser
    try:
        return _one_line(_message(_ANY.decode(text)))
    except (ValueError, RecursionError):
        return _plain_text(text)


def _plain_text(text: bytes) -> str:
    try:
        return _one_line(text.decode())
    except ValueError:
        return ""


def _items(dialect: Dialect, whole: Raw, top: Mapping[str, Raw]) -> Sequence[Raw] | None:
    """The entries' raw JSON; empty for `null`; None where no alternative of `items` is an array."""
    found: Sequence[Raw] | None = None
    for path in dialect.items:
        raw = _dig(top, path) if path else whole
        if raw is None:
            continue
        start = memoryview(raw)[0]
        if start == ord("["):
            return _RAW_ARRAY.decode(raw)
        if start == ord("n") and path:
            found = ()  # Ollama without a model says `data: null`.
    return found


def _dig(top: Mapping[str, Raw], path: str) -> Raw | None:
    """The raw JSON at a dotted path, None where there is none; nothing beside the path is decoded."""
    name, *deeper = path.split(".")
    raw = top.get(name)
    for name in deeper:
        if raw is None or memoryview(raw)[0] != ord("{"):
            return None
        raw = _RAW_OBJECT.decode(raw).get(name)
    return raw


def _looks_odd(text: bytes, long_numbers: bool) -> bool:
    """Whether an entry has to be looked through value by value: a cheap question, since hardly any has to."""
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH or (long_numbers and _has_long_number(text))


def _has_long_number(text: bytes) -> bool:
    # Of so many digits in a row a look at every 16th byte finds 18 in a row: that is cheap, and hardly ever so.
    sampled = text[::_STRIDE].translate(_ALL_ZEROS)
    return _LONG_NUMBER_SAMPLED in sampled and _LONG_NUMBER in text.translate(_ALL_ZEROS)


def _is_for_everyone(value: object, levels: int) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MAX_NUMBER
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_for_everyone(each, levels - 1) for each in inner)
    return True


def _owner(said: Mapping[str, Any], places: Sequence[Look]) -> str:
    for look in places:
        owner = look(said)
        if _is_text(owner):
            return owner
    return ""


def _created(said: Mapping[str, Any], places: Sequence[Look]) -> int:
    for look in places:
        if seconds := unix_seconds(look(said)):
            return seconds
    return 0


def _own_id(dialect: Dialect, said: Mapping[str, Any], places: Sequence[Look]) -> str:
    for look in places:
        own_id = look(said)
        if own_id is not MISSING:
            break
    else:
        raise Dropped(f"has no {' or '.join(_names(dialect.id))}")
    if not isinstance(own_id, str):
        raise Dropped("has an id that is no string")
    if dialect.cut:
        own_id = _without_beginning(own_id, dialect.cut)
    if not own_id:
        raise Dropped("has an empty id")
    if not own_id.isprintable() and _CONTROL.search(own_id):
        raise Dropped("has control characters in its id")
    if len(own_id) > MAX_ID_BYTES // 4 and len(own_id.encode()) > MAX_ID_BYTES:
        raise Dropped(f"has an id of more than {MAX_ID_BYTES} bytes")
    return own_id


def _without_beginning(own_id: str, cut: Sequence[str]) -> str:
    """An id less the first of these beginnings that it has; `*` stands for anything but a slash."""
    for beginning in cut:
        pattern = re.escape(beginning).replace(r"\*", "[^/]+")
        if match := re.match(pattern, own_id):
            return own_id[match.end() :]
    return own_id


def _permissions(said: object) -> tuple[Permission, ...]:
    """The documented flags of each entry; ids, times and organisations that providers invent stay out."""
    if not isinstance(said, list):
        return DEFAULT_PERMISSIONS
    return tuple([_permission(entry) for entry in said if isinstance(entry, dict)]) or DEFAULT_PERMISSIONS


def _permission(said: Mapping[str, Any]) -> Permission:
    # By identity: 0 and 1 are equal to flags, but are none.
    return _permission_of(tuple([flag if flag is True or flag is False else None for flag in map(said.get, _FLAGS)]))


@cache
def _permission_of(flags: tuple[bool | None, ...]) -> Permission:
    """Made once for each choice of flags: nearly all models of all providers have the same one."""
    return Permission(**{name: flag for name, flag in zip(_FLAGS, flags, strict=True) if flag is not None})


def _extra(dialect: Dialect, said: Mapping[str, Any], shape: Shape) -> bytes:
    """What else is said: the known under the names that clients read, then the unknown as it is."""
    known, used = _known(dialect, said, shape.extra)
    hidden = dialect.private if dialect.keeps_originals else (*used, *dialect.private)
    shown = dict(_without_all(said, hidden) if hidden else said)
    for name in shape.ours:
        shown.pop(name, None)
    nested = [(name, known.pop(name)) for name in shape.nested if name in known]
    shown.update(known)
    for name, value in nested:
        outer, inner = name.split(".")
        beside = shown.get(outer)
        shown[outer] = {**beside, inner: value} if isinstance(beside, dict) else {inner: value}
    return _ENCODE(shown)


def _known(dialect: Dialect, said: Mapping[str, Any], places: Sequence[Place]) -> tuple[dict[str, Any], list[str]]:
    """What could be read under a known name, and the paths that it was read from."""
    known: dict[str, Any] = {}
    used: list[str] = []
    price_per = dialect.price_per
    for name, path, look, read in places:
        if name in known:
            continue
        value = look(said)
        if value is not None and (value := read(value, price_per)) is not None:
            known[name] = value
            used.append(path)
    return known, used


def _without_all(said: Any, paths: Sequence[str]) -> Any:
    for path in paths:
        said = _without(said, path.split("."))
    return said


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


def _refuse_what_is_no_list(dialect: Dialect, said: object, *, found: bool) -> None:
    """Raises UpstreamError, unless the answer is a list without models. `found`: the place of the entries is there."""
    reason = _one_line(_message(said))
    if _complains(dialect, said):
        raise _garbled(f"200 with an error: {reason or 'without a reason'}")
    if not found:
        where = " or ".join(_names(dialect.items))
        if dialect.kind == "custom":
            raise UpstreamError("garbled", f"`list.items` is {where}, the answer {_what_it_has(said)}")
        says = f"; it says: {reason}" if reason else ""
        raise _garbled(f"{_shape(said)} where {where} should be an array of models{says}")


def _complains(dialect: Dialect, said: object) -> bool:
    """Whether an answer with status 200 is an error all the same (One-API, LM Studio, vLLM, MiniMax, Huawei)."""
    if not isinstance(said, dict):
        return isinstance(said, str)
    if said.get("error") or said.get("error_code") or said.get("object") == "error" or said.get("success") is False:
        return True
    # `{"code":401,"message":"...","data":null}`; `{"code":0,"data":[]}` is a list.
    listed = any(isinstance(_at(said, path), list) for path in dialect.items)
    return _is_failure(_at(said, "base_resp.status_code")) or (not listed and _is_failure(said.get("code")))


def _at(said: Mapping[str, Any], path: str) -> Any:
    return look_at(path)(said) if path.partition(".")[0] in said else None


def _is_failure(code: object) -> bool:
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    return _NUMERAL.fullmatch(str(code)) is not None and str(code) not in ("0", "200")


# Whatever holds them: the first of these names under which there is text.
_MESSAGES = ("error", "message", "error_msg", "detail", "errors", "msg", "reason", "title", "base_resp", "status_msg",
             "code")  # fmt: skip


def _message(said: object, levels: int = 5) -> str:
    if isinstance(said, str):
        return said
    if isinstance(said, dict):
        said = [said.get(name) for name in _MESSAGES]
    if not isinstance(said, list) or not levels:
        return ""
    return next((text for text in (_message(inner, levels - 1) for inner in said[:20]) if text), "")


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text[: 4 * _REASON_CHARS]).split())[:_REASON_CHARS]


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _names(paths: Sequence[str]) -> list[str]:
    return [f"`{path}`" if path else "the answer" for path in paths]


def _shape(said: object) -> str:
    """What an answer is, told by its outermost names: never its content."""
    if isinstance(said, dict):
        return "an object with " + (
            ", ".join(f"`{_one_line(name)[:40]}`" for name in list(said)[:8]) or "nothing in it"
        )
    return {str: "a string", list: "an array", type(None): "null", bool: "a boolean"}.get(type(said), "a number")


def _what_it_has(said: object) -> str:
    if isinstance(said, list):
        return 'is itself an array: `items: ""`'
    found = ", ".join(f"`{path}` ({count} object{'s' * (count != 1)})" for path, count in _arrays(said))
    return f"has {found}" if found else f"is {_shape(said)}"


def _arrays(said: object, path: str = "", levels: int = 4) -> list[tuple[str, int]]:
    """Where there are arrays of objects, and how many stand in each: where the models may be instead."""
    if isinstance(said, list):
        count = sum(isinstance(item, dict) for item in said)
        return [(path, count)] if count else []
    if not isinstance(said, dict) or not levels:
        return []
    inner = [_arrays(value, f"{path}.{name}".removeprefix("."), levels - 1) for name, value in list(said.items())[:20]]
    return [found for each in inner for found in each][:4]


def _garbled(what: str) -> UpstreamError:
    return UpstreamError("garbled", f"answered {what}")

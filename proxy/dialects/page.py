"""Open a response as a page of a list: the raw JSON of its entries and of the other fields. No I/O.

Entries are in an array. An object of objects by id is accepted too, if it cannot be anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from proxy.dialects.diagnosis import ANY_DECODER, BOM, require_list, unusable
from proxy.dialects.dialect import Dialect
from proxy.dialects.error_body import describe_body

# Parsing 8 MB of `[],` takes 1.1 s and 239 MB. 20,000 models with 50 values each are below this limit.
MAX_VALUES = 1_000_000
_ALL_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 300
_STRIDE = 16
_LONG_NUMBER_SAMPLED = b"0" * (len(_LONG_NUMBER) // _STRIDE)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_RAW_ARRAY = msgspec.json.Decoder(list[Raw])
_RAW_OBJECTS = msgspec.json.Decoder(dict[str, dict[str, Raw]])
_ENCODE = msgspec.json.Encoder().encode

# An object with such a field is a wrapper or an error, not models by id.
_NOT_IDS = frozenset(
    ["attributes", "body", "config", "context", "data", "detail", "details", "error", "errors", "exception", "fault",
     "headers", "info", "items", "links", "list", "message", "meta", "metadata", "model", "models", "msg", "object",
     "page", "pagination", "paging", "payload", "provider", "providers", "request", "response", "result", "results",
     "settings", "status", "usage", "user"]
)  # fmt: skip
# Nor is an object of objects with such a field: errors, or providers with their models.
_NOT_ENTRIES = frozenset(
    ["message", "msg", "error", "errors", "detail", "error_msg", "error_code", "status_code", "data", "models"]
)


@dataclass(frozen=True)
class Page:
    """The raw JSON of a response's entries and of its outermost fields."""

    items: Sequence[Raw]
    top: Mapping[str, Raw]
    """The outermost values by name; empty if the response is an array."""
    long_numbers: bool = True
    """Whether it may contain a number that a float cannot represent."""

    def fields_at(self, path: str) -> Mapping[str, Raw]:
        """The raw values by name of the object at a dotted path, "" for the response itself; empty if there is none."""
        if not path:
            return self.top
        try:
            raw = _raw_at(self.top, path)
            return {} if raw is None or memoryview(raw)[0] != ord("{") else _RAW_OBJECT.decode(raw)
        except (ValueError, RecursionError):
            return {}

    def value(self, path: str) -> Any:
        """The decoded value at a dotted path of the response, None if there is none. Raises UpstreamError."""
        try:
            raw = _raw_at(self.top, path)
            return None if raw is None else ANY_DECODER.decode(raw)
        except (ValueError, RecursionError) as error:
            raise unusable(f"non-portable JSON at `{path}`") from error


def open_page(dialect: Dialect, body: bytes) -> Page:
    """Find the entries of a response.

    Raises UpstreamError (`invalid_response`) if the response is not a list of models, with a description of what it is.
    """
    text = body.removeprefix(BOM).strip()
    if not text:
        raise unusable("empty body")
    if not text.startswith((b"{", b"[")):
        _refuse_pages(dialect, text)
    if len(text) > MAX_VALUES and sum(map(text.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise unusable(f"more than {MAX_VALUES:,} JSON values")
    try:
        text.decode()
        if text.startswith(b"{"):
            document, top = Raw(text), _RAW_OBJECT.decode(text)
        else:
            document, top = msgspec.json.decode(text, type=Raw), {}
        items = _items(dialect, document, top)
        if items is None and dialect.empty_without_items and top.keys() <= {"nextPageToken"}:
            items = ()
        if not items:
            require_list(dialect, ANY_DECODER.decode(document), has_items=items is not None)
    except (ValueError, RecursionError) as error:
        # The texts of msgspec contain positions, never content.
        raise unusable(f"invalid JSON: {error}") from error
    return Page(items or (), top, has_long_number(text))


def _refuse_pages(dialect: Dialect, text: bytes) -> None:
    """Raise UpstreamError for a web page or a text, as other servers than the API return them with status 200."""
    body = describe_body(text)
    if body.form in ("JSON", "binary data"):
        return
    what = f"an {body.form}" if body.is_markup else body.form
    quoted = f": {body.text}; " if body.text else ": "
    version = f"; often `{dialect.base_path}` is missing" if dialect.base_path else ""
    hint = "a proxy or portal requires a login" if body.is_login else f"check base_url{version}"
    raise unusable(what, f"{quoted}{hint}")


def _items(dialect: Dialect, document: Raw, top: Mapping[str, Raw]) -> Sequence[Raw] | None:
    """The raw JSON of the entries; empty for `null`; None if no path in `items` leads to an array."""
    items: Sequence[Raw] | None = None
    for path in dialect.items:
        raw = _raw_at(top, path) if path else document
        if raw is None:
            continue
        start = memoryview(raw)[0]
        if start == ord("["):
            return _RAW_ARRAY.decode(raw)
        if start == ord("n") and path:
            items = ()  # Ollama without models returns `data: null`.
    if items is not None:
        return items
    return _items_by_id(dialect, document, top) or _other_items(dialect, top)


def _other_items(dialect: Dialect, top: Mapping[str, Raw]) -> Sequence[Raw] | None:
    """The raw JSON of the entries at one of `or_items`, where other arrays can be, too; None if there is no list."""
    for path in dialect.or_items:
        raw = _raw_at(top, path)
        if raw is None or memoryview(raw)[0] != ord("["):
            continue
        items = _RAW_ARRAY.decode(raw)
        if (
            items
            and memoryview(items[0])[0] == ord("{")
            and not _RAW_OBJECT.decode(items[0]).keys().isdisjoint(dialect.id)
        ):
            return items
    return None


def _items_by_id(dialect: Dialect, document: Raw, top: Mapping[str, Raw]) -> Sequence[Raw] | None:
    """The raw JSON of entries that are listed as an object by id, each with its id; None if there is no such object."""
    field = next((path for path in dialect.id if not {".", "/"} & set(path)), "")
    for path in dialect.items if field else ():
        raw = _raw_at(top, path) if path else document
        if raw is None or memoryview(raw)[0] != ord("{"):
            continue
        try:
            entries = _RAW_OBJECTS.decode(raw)
        except msgspec.ValidationError:
            continue  # not an object of objects
        if _is_by_id(dialect, entries, is_top=not path):
            return [Raw(_ENCODE(_with_id(field, name, entry))) for name, entry in entries.items()]
    return None


def _is_by_id(dialect: Dialect, entries: Mapping[str, Mapping[str, Raw]], is_top: bool) -> bool:
    """Whether an object of objects can only be models by id. At the top level each must have a field of a model."""
    if not entries or not _NOT_IDS.isdisjoint(name.strip("_$@").casefold() for name in entries):
        return False
    if not all(_NOT_ENTRIES.isdisjoint(entry) for entry in entries.values()):
        return False
    return not is_top or all(map(dialect.has_known_field, entries.values()))


def _with_id(field: str, name: str, entry: Mapping[str, Raw]) -> Mapping[str, Any]:
    """An entry with its own id, or else its name in the object (PHP numbers the entries of filtered arrays)."""
    own_id = entry.get(field)
    return entry if own_id is not None and memoryview(own_id)[0] == ord('"') else {**entry, field: name}


def _raw_at(top: Mapping[str, Raw], path: str) -> Raw | None:
    """The raw JSON at a dotted path, None if there is none. Decodes nothing outside of the path."""
    name, *deeper = path.split(".")
    raw = top.get(name)
    for name in deeper:
        if raw is None or memoryview(raw)[0] != ord("{"):
            return None
        raw = _RAW_OBJECT.decode(raw).get(name)
    return raw


def has_long_number(text: bytes) -> bool:
    """Whether there are so many digits in a row that a float may not be able to represent the number."""
    # Every 16th byte of such a number is a digit, too. Checking this first is cheap and nearly always excludes it.
    sampled = text[::_STRIDE].translate(_ALL_ZEROS)
    return _LONG_NUMBER_SAMPLED in sampled and _LONG_NUMBER in text.translate(_ALL_ZEROS)

"""Open a response as a page of a list: the raw JSON of its entries and of the other fields. No I/O.

Entries are in an array. An object of objects by id is accepted too, if it cannot be anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Raw

from proxy.cooperative import Cooperative, batched, run_now
from proxy.dialects.diagnosis import ANY_DECODER, BOM, require_list, unusable
from proxy.dialects.dialect import Dialect
from proxy.dialects.error_body import describe_body
from proxy.dialects.raw_json import AT_ONCE, SHORT, TooLong, elements, is_array, is_object, members, sketch
from proxy.dialects.repair import repairing
from proxy.errors import UpstreamError

# Parsing 8 MB of `[],` takes 1.1 s and 239 MB. 20,000 models with 50 values each are below this limit.
MAX_VALUES = 1_000_000
_ALL_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 300
_STRIDE = 16
_LONG_NUMBER_SAMPLED = b"0" * (len(_LONG_NUMBER) // _STRIDE)
_BLANKS = b" \t\r\n"
_MANY_BLANKS = 8 * 1024 * 1024
"""To skip more takes too long for one step of the event loop. A list with indented lines has fewer."""
_WINDOW = 1024 * 1024  # bytes that are searched for long numbers in one step
_RAW = msgspec.json.Decoder(Raw)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
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
    objects: Mapping[str, Mapping[str, Raw]]
    """Path -> the raw values by name of the objects that were opened; "" is the response, empty if it is an array."""
    long_numbers: bool = True
    """Whether it may contain a number that a float cannot represent."""
    is_repaired: bool = False
    """Whether the response was invalid JSON, in which values and characters were replaced (see `repair`)."""

    def fields_at(self, path: str) -> Mapping[str, Raw]:
        """The raw values by name of the object at a dotted path, "" for the response itself; empty if there is none.

        Long objects that do not contain the list count as empty.
        """
        if path in self.objects:
            return self.objects[path]
        raw = self._raw_at(path)
        try:
            is_short_object = raw is not None and is_object(raw) and len(memoryview(raw)) <= SHORT
            return _RAW_OBJECT.decode(raw) if raw is not None and is_short_object else {}
        except (ValueError, RecursionError):
            return {}

    def value(self, path: str) -> Any:
        """The decoded value at a dotted path of the response, None if there is none. Raises UpstreamError."""
        raw = self._raw_at(path)
        if raw is None:
            return None
        if len(memoryview(raw)) > SHORT:
            raise unusable(f"more than {SHORT:,} bytes at `{path}`")
        try:
            return ANY_DECODER.decode(raw)
        except (ValueError, RecursionError) as error:
            raise unusable(f"non-portable JSON at `{path}`") from error

    def _raw_at(self, path: str) -> Raw | None:
        outer, _, name = path.rpartition(".")
        return self.fields_at(outer).get(name)


def open_page(dialect: Dialect, body: bytes, most: int = MAX_VALUES) -> Page:
    """`opening_page` at once."""
    return run_now(opening_page(dialect, body, most))


def opening_page(dialect: Dialect, body: bytes, most: int) -> Cooperative[Page]:
    """Find the entries of a response, in steps. Of more than `most` entries, only one more is returned.

    Raises UpstreamError (`invalid_response`) if the response is not a list of models, with a description of what it is.
    """
    text = body.removeprefix(BOM).strip()
    if not text:
        raise unusable("empty body")
    if not text.startswith((b"{", b"[")):
        _refuse_pages(dialect, text)
    if len(text) > _MANY_BLANKS:
        yield
        blanks = len(text) - len(text.translate(None, _BLANKS))
        if blanks > max(_MANY_BLANKS, len(text) // 2):
            raise unusable(f"{blanks:,} blanks, more than half of it")
    values = 0
    for sign in (b"[", b"{", b",") if len(text) > MAX_VALUES else ():
        yield
        values += text.count(sign)
    if values > MAX_VALUES:
        raise unusable(f"more than {MAX_VALUES:,} JSON values")
    try:
        return (yield from _opened(dialect, text, most))
    except TooLong as error:
        raise unusable(str(error)) from error
    except RecursionError as error:
        raise _invalid(error) from error
    except ValueError as error:
        repaired = yield from repairing(text)
        if repaired is None:
            raise _invalid(error) from error
        invalid = error
    try:
        return replace((yield from _opened(dialect, repaired, most)), is_repaired=True)
    except (ValueError, RecursionError):
        raise _invalid(invalid) from invalid


def _invalid(error: Exception) -> UpstreamError:
    # The texts of msgspec contain positions, never content.
    return unusable(f"invalid JSON: {error}")


def _opened(dialect: Dialect, text: bytes, most: int) -> Cooperative[Page]:
    """The page in a JSON text. Raises ValueError or RecursionError for invalid JSON, TooLong, and UpstreamError."""
    text.decode()
    if len(text) > MAX_VALUES:
        yield
    # The fields of a short object are opened at once, and that shows whether it is valid.
    raw = Raw(text) if text[:1] == b"{" and len(text) <= AT_ONCE else _RAW.decode(text)
    document = Document(raw, (yield from members(raw)) if is_object(raw) else {})
    items = yield from _items(dialect, document, most)
    if items is None and dialect.empty_without_items and document.top.keys() <= {"nextPageToken"}:
        items = ()
    if not items:
        require_list(dialect, (yield from sketch(document.raw)), has_items=items is not None)
    return Page(items or (), document.objects, (yield from _has_long_number(text)))


def _has_long_number(text: bytes) -> Cooperative[bool]:
    for start in range(0, len(text), _WINDOW):
        if start:
            yield
        if has_long_number(text[start : start + _WINDOW + len(_LONG_NUMBER)]):
            return True
    return False


class Document:
    """A JSON document whose objects are opened in steps, each once."""

    def __init__(self, raw: Raw, top: Mapping[str, Raw]) -> None:
        self.raw = raw
        self.top = top
        self.objects: dict[str, Mapping[str, Raw]] = {"": top}

    def at(self, path: str) -> Cooperative[Raw | None]:
        """The raw JSON at a dotted path, that of the document at "", None if there is none."""
        if not path:
            return self.raw
        outer, _, name = path.rpartition(".")
        return (yield from self._fields_at(outer)).get(name)

    def _fields_at(self, path: str) -> Cooperative[Mapping[str, Raw]]:
        if path not in self.objects:
            raw = yield from self.at(path)
            self.objects[path] = {} if raw is None or not is_object(raw) else (yield from members(raw))
        return self.objects[path]


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


def _items(dialect: Dialect, document: Document, most: int) -> Cooperative[Sequence[Raw] | None]:
    """The raw JSON of the entries; empty for `null`; None if no path in `items` leads to an array."""
    items: Sequence[Raw] | None = None
    for path in dialect.items:
        raw = yield from document.at(path)
        if raw is None:
            continue
        if is_array(raw):
            return (yield from elements(raw, most))
        if memoryview(raw)[0] == ord("n") and path:
            items = ()  # Ollama without models returns `data: null`.
    if items is not None:
        return items
    by_id = yield from _items_by_id(dialect, document, most)
    return by_id or (yield from _other_items(dialect, document, most))


def _other_items(dialect: Dialect, document: Document, most: int) -> Cooperative[Sequence[Raw] | None]:
    """The raw JSON of the entries at one of `or_items`, where other arrays can be, too; None if there is no list."""
    empty: Sequence[Raw] | None = None
    for path in dialect.or_items:
        raw = yield from document.at(path)
        if raw is None or not is_array(raw):
            continue
        items = yield from elements(raw, most)
        if not items and "." in path:
            empty = items
        elif items and (yield from _is_entry(dialect, path, items[0])):
            return items
    return empty


def _is_entry(dialect: Dialect, path: str, item: Raw) -> Cooperative[bool]:
    """Whether the first value of an array at one of `or_items` is an entry: an object with an id, or in `models` a
    text."""
    if is_object(item):
        return not (yield from members(item)).keys().isdisjoint(dialect.id)
    return path.endswith("models") and memoryview(item)[0] == ord('"')


def _items_by_id(dialect: Dialect, document: Document, most: int) -> Cooperative[Sequence[Raw] | None]:
    """The raw JSON of entries that are listed as an object by id, each with its id; None if there is no such object."""
    field = next((path for path in dialect.id if not {".", "/"} & set(path)), "")
    paths = (*dialect.items, *(path for path in dialect.or_items if path.endswith(".models")))
    for path in paths if field else ():
        raw = yield from document.at(path)
        if raw is None or not is_object(raw):
            continue
        fields = document.top if not path else (yield from members(raw))
        if not all(map(is_object, fields.values())):
            continue
        entries: dict[str, Mapping[str, Raw]] = {}
        for batch in batched(list(fields)[: most + 1]):
            for name in batch:
                entries[name] = yield from members(fields[name])
            yield
        if (yield from _is_by_id(dialect, entries, is_top=not path)):
            items: list[Raw] = []
            for batch in batched([*entries]):
                # Removed one by one: to free many at once takes long, too.
                items += [Raw(_ENCODE(_with_id(field, name, entries.pop(name)))) for name in batch]
                yield
            return items
    return None


def _is_by_id(dialect: Dialect, entries: Mapping[str, Mapping[str, Raw]], is_top: bool) -> Cooperative[bool]:
    """Whether an object of objects can only be models by id. At the top level each must have a field of a model."""
    if not entries or not _NOT_IDS.isdisjoint(name.strip("_$@").casefold() for name in entries):
        return False
    for batch in batched(entries.values()):
        if not all(_NOT_ENTRIES.isdisjoint(entry) for entry in batch):
            return False
        if is_top and not all(map(dialect.has_known_field, batch)):
            return False
        yield
    return True


def _with_id(field: str, name: str, entry: Mapping[str, Raw]) -> Mapping[str, Any]:
    """An entry with its own id, or else its name in the object (PHP numbers the entries of filtered arrays)."""
    own_id = entry.get(field)
    return entry if own_id is not None and memoryview(own_id)[0] == ord('"') else {**entry, field: name}


def has_long_number(text: bytes) -> bool:
    """Whether there are so many digits in a row that a float may not be able to represent the number."""
    # Every 16th byte of such a number is a digit, too. Checking this first is cheap and nearly always excludes it.
    sampled = text[::_STRIDE].translate(_ALL_ZEROS)
    return _LONG_NUMBER_SAMPLED in sampled and _LONG_NUMBER in text.translate(_ALL_ZEROS)

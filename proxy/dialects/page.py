"""A response opened as a page of a list: the raw JSON of its entries, and what surrounds them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from proxy.dialects.diagnosis import ANY_DECODER, BOM, invalid_response, require_list
from proxy.dialects.dialect import Dialect

# 8 MB of `[],` took 1.1 s and 239 MB to build; 20,000 models with 50 values each stay below this.
MAX_VALUES = 1_000_000
_ALL_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 300
_STRIDE = 16
_LONG_NUMBER_SAMPLED = b"0" * (len(_LONG_NUMBER) // _STRIDE)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_RAW_ARRAY = msgspec.json.Decoder(list[Raw])


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
            return None if raw is None else ANY_DECODER.decode(raw)
        except (ValueError, RecursionError) as error:
            raise invalid_response(f"a value at `{path}` that is not JSON for everyone") from error


def open_page(dialect: Dialect, body: bytes) -> Page:
    """Find the entries of one answer.

    Raises UpstreamError (`invalid_response`) when the answer is no list of models, with what it is instead.
    """
    text = body.removeprefix(BOM).strip()
    if not text:
        raise invalid_response("an empty body")
    if text.startswith(b"<"):
        raise invalid_response("an HTML or XML page; is base_url the address of the API?")
    if len(text) > MAX_VALUES and sum(map(text.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise invalid_response(f"more than {MAX_VALUES:,} values")
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
            require_list(dialect, ANY_DECODER.decode(whole), has_items=items is not None)
    except (ValueError, RecursionError) as error:
        # msgspec's text names positions, never content.
        raise invalid_response(f"no valid JSON ({error})") from error
    return Page(items or (), top, has_long_number(text))


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


def has_long_number(text: bytes) -> bool:
    # Of so many digits in a row a look at every 16th byte finds 18 in a row: that is cheap, and hardly ever so.
    sampled = text[::_STRIDE].translate(_ALL_ZEROS)
    return _LONG_NUMBER_SAMPLED in sampled and _LONG_NUMBER in text.translate(_ALL_ZEROS)

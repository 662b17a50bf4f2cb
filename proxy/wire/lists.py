"""How a format lists models: its paths, an entry per model, and the pages that a query selects."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from proxy.calls import Api
from proxy.catalog import Model
from proxy.cooperative import Cooperative, batched
from proxy.errors import BadRequest

_MAX_VALUE = 1024
"""Characters of a parameter."""


class Page(NamedTuple):
    """A part of a list: the positions of its models, and the bytes around their entries."""

    positions: Sequence[int]
    start: bytes
    end: bytes


@dataclass(frozen=True, eq=False)
class ListFormat:
    """The lists of models of one format."""

    entry: Callable[[Model], bytes]
    """Returns a model in a list, as JSON."""
    page: Callable[[Any, Any], Page]
    """Returns a part of the list, from the results of `query` and `prepare`."""
    query: Callable[[bytes], Hashable] = lambda query: None
    """Parses the query of a request. Raises BadRequest. Equal results select equal parts."""
    prepare: Callable[[Sequence[Model]], Cooperative[Any]] | None = None
    """Returns what `page` reads, if that is not the models themselves. They are sorted by id.

    It can have a `size` in bytes, and a `digest` of what pages contain besides entries.
    """
    single: Callable[[Model], bytes] | None = None
    """Returns one model that was requested by its id, if that is not an entry of the list."""
    paths: tuple[str, ...] = ()
    """The paths of lists that only this format has."""
    has_items: bool = True
    """Whether one model is at `{path}/{id}`."""
    look_up: str = ""
    """The path of one model whose id is in the body of a POST request: a JSON object with `model` or `name`."""
    fixed: Mapping[str, bytes] = field(default_factory=dict)
    """Other paths that clients of lists read, and their responses, which are always the same."""
    api: Api | None = None
    """Models are listed that can be called through this API; None for all."""

    def item(self, model: Model) -> bytes:
        return (self.single or self.entry)(model)


class Entries(Protocol):
    """The encoded entries of a list."""

    @property
    def length(self) -> int:
        """The bytes of all entries."""

    def joined(self, positions: Sequence[int]) -> bytes | memoryview:
        """Return these entries, joined with commas. `positions` are in ascending order."""


class JoinedEntries(NamedTuple):
    """The entries of a list, joined with commas."""

    text: bytes
    ends: Sequence[int]
    """The position after each entry."""
    start: int = 0
    """The position of the first one."""
    digest: str = ""
    """SHA-256 of `text`, in hexadecimal digits."""

    @property
    def length(self) -> int:
        return len(self.text)

    def joined(self, positions: Sequence[int]) -> bytes | memoryview:
        text, ends, start = self.text, self.ends, self.start
        if isinstance(positions, range):
            if not positions:
                return b""
            first = positions[0]
            return memoryview(text)[ends[first - 1] + 1 if first else start : ends[positions[-1]]]
        return b",".join([text[ends[at - 1] + 1 if at else start : ends[at]] for at in positions])


def encoded_entries(models: Iterable[Model], entry: Callable[[Model], bytes]) -> Cooperative[JoinedEntries]:
    """Encode all models, in steps."""
    text = BytesIO()
    digest = hashlib.sha256()
    ends = array("Q")
    end = -1
    for batch in batched(models):
        entries = list(map(entry, batch))
        part = (b"," if ends else b"") + b",".join(entries)
        text.write(part)
        digest.update(part)  # in steps, too
        for each in entries:
            end += len(each) + 1
            ends.append(end)
        yield
    return JoinedEntries(text.getvalue(), ends, digest=digest.hexdigest())


def whole(start: bytes, end: bytes) -> Callable[[object, Sequence[Model]], Page]:
    """Return the `page` of a format whose lists have no pages."""
    return lambda query, models: Page(range(len(models)), start, end)


# -- queries -----------------------------------------------------------------------------------------------------------


def parameters(query: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the parameters with these names; the last one of several with the same name. Raises BadRequest."""
    values = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in names:
            if len(value) > _MAX_VALUE:
                raise BadRequest(f"{name} has more than {_MAX_VALUE:,} characters.")
            values[name] = value
    return values


def whole_number(name: str, value: str, default: int) -> int:
    """Return a number in a query, the default if it is empty. Raises BadRequest."""
    if not value:
        return default
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise BadRequest(f"{name} must be a whole number.")
    return int(value)


def position_after(models: Sequence[Model], model_id: str) -> int:
    """Return the position of the first model whose id is greater. The id need not be listed (any more)."""
    return bisect_right(models, model_id, key=_id)


def position_of(models: Sequence[Model], model_id: str) -> int:
    """Return the position of an id, or that of the next greater one."""
    return bisect_left(models, model_id, key=_id)


def _id(model: Model) -> str:
    return model.offers[0].id

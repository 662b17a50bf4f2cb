"""The row that describes a family of providers: how its model list is requested, paged and read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from proxy.dialects.metadata import NAMES, Reader
from proxy.dialects.private import Familiar

PagingStyle = Literal["url", "cursor", "offset", "page"]
AuthStyle = Literal["bearer", "header", "basic", "query", "none"]

OURS = frozenset({"id", "object", "created", "owned_by", "permission", "root", "parent"})
"""The fields of a listed model that `extra` may never shadow."""
_SHAPES = 256  # of one dialect's entries that are remembered: a list has one or two, a hostile one any number


@dataclass(frozen=True)
class Paging:
    """How a response shows that there are more pages, and how they are requested. Paths are dotted, into the response.

    `url`     the next page's address is at `read`; only its query is used, on the configured list URL
    `cursor`  the value at `read` (or else the id of the last entry) is sent back as `send`; where `more` is
              set, only while it is true
    `offset`  the number of entries received so far is sent as `send`, until there are as many as the number at `total`;
              without a total until a page is empty
    `page`    the next page's number is sent as `send`, until there are `total` entries or `pages` pages; without
              either until a page is empty
    """

    style: PagingStyle
    read: str = ""
    send: str = ""
    more: str = ""
    total: str = ""
    pages: str = ""
    first: int = 1
    """The number of the first page."""


@dataclass(frozen=True)
class Auth:
    """How a provider takes its credential: as a `bearer` token, in a `header` or a `query` parameter of this name,
    as the `user:password` of HTTP `basic`, or nowhere (`none`)."""

    style: AuthStyle = "bearer"
    name: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting that only this kind has. Without a default it must be given, unless it is optional."""

    default: str | None = None
    many: bool = False
    """A list of strings; the model list is requested once for each, under the name without its `s`."""
    optional: bool = False


Getter = Callable[[Mapping[str, Any]], Any]
"""An entry that has the outermost field of a path -> the value at the path."""
MISSING = object()
"""What `ids` return where there is no value; all others return None."""


class FieldSource(NamedTuple):
    """Where an entry may hold a fact of `extra`."""

    name: str
    path: str
    look: Getter
    read: Reader


class EntryPlan(NamedTuple):
    """What follows from the names of an entry's outermost fields alone; nearly all entries of a list have the same.

    Of all paths of a value only those whose outermost field exists, in the order of preference.
    """

    ids: tuple[Getter, ...]
    owners: tuple[Getter, ...]
    times: tuple[Getter, ...]
    extra: tuple[FieldSource, ...]
    nested: tuple[str, ...]
    """The names in `extra` that are inside another."""
    ours: tuple[str, ...]
    """Fields that may not be shown under their own names."""
    refers: bool
    """Whether it has a `root` or a `parent`."""


@dataclass(frozen=True)
class Dialect:
    """One row of the table. A field path is dotted; of several alternatives the first that exists counts."""

    kind: str
    path: str = "/models"
    """Below `base_url`; `{name}` stands for a setting, percent-encoded."""
    or_path: str = ""
    """Requested instead if there is nothing at `path`."""
    base_path: str = ""
    """The path of a `base_url` that has none."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Sent with the first request; `{name}` stands for a setting."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request; `{name}` stands for a setting, and without it the header is left out."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    auth: Auth = Auth()
    items: tuple[str, ...] = ("data",)
    """Where the entries are; "" is the response itself, if that is an array."""
    empty_without_items: bool = False
    """A response without the field of entries is an empty list (Google omits an empty field)."""
    id: tuple[str, ...] = ("id",)
    """`a/b` joins two fields with a slash."""
    strip_prefix: tuple[str, ...] = ()
    """Prefixes that are removed from an id; `*` matches anything but a slash."""
    owner: tuple[str, ...] = ("owned_by",)
    created: tuple[str, ...] = ("created",)
    parent: str = ""
    """Name of the value (see `Setting.many`) to which every entry of a list belongs; "" reads the field `parent`."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The name of a fact -> where this dialect has it (see `metadata.NAMES`)."""
    keeps_originals: bool = False
    """Fields that `extra` reads are shown under their own names too: clients of this dialect know them."""
    price_per: int = 1
    """How many tokens the prices of this dialect are for."""
    private: tuple[str, ...] = ()
    """Fields that are never shown: they identify the operator's account, or only frame the entry."""
    paging: tuple[Paging, ...] = ()
    """The first style whose signs are in the response is followed."""
    iam: bool = False
    """Whether it may log in at a Huawei IAM instead of having a key."""
    raw: bool = False
    """Keep every entry as it was sent, for the endpoints that this proxy serves in this dialect."""
    is_remote: bool = True
    """False: nothing is fetched, the models are those of the configuration."""
    call: str = ""
    """The URL below which models are called: `{base}` is `base_url`, `{host}` that without its path, any other
    `{name}` a setting. "" and one whose settings are not given: its models cannot be called."""
    call_auth: Auth | None = None
    """How calls send the credential, if that differs from `auth`."""
    call_id: str = "{id}"
    """The id that calls send; `{name}` stands for a setting."""

    @cached_property
    def familiar(self) -> Familiar:
        """The names that entries of this dialect are known to have."""
        return Familiar()

    @cached_property
    def shape(self) -> Callable[[tuple[str, ...]], EntryPlan]:
        """The plan of an entry with these outermost fields."""
        return lru_cache(_SHAPES)(self._shape)

    def _shape(self, fields: tuple[str, ...]) -> EntryPlan:
        def there(path: str) -> bool:
            return all(part.split(".")[0] in fields for part in path.split("/"))

        extra = [
            FieldSource(name, path, look_at(path), NAMES[name])
            for name, paths in self.extra.items()
            for path in paths
            if there(path)
        ]
        return EntryPlan(
            ids=tuple(_look_at_all(path.split("/")) for path in self.id if there(path)),
            owners=tuple(look_at(path) for path in self.owner if there(path)),
            times=tuple(look_at(path) for path in self.created if there(path)),
            extra=tuple(extra),
            nested=tuple({place.name: None for place in extra if "." in place.name}),
            # Regardless of case: Go's decoder takes a later `ID` for the `id`.
            ours=tuple(field for field in fields if field.casefold() in OURS),
            refers="root" in fields or "parent" in fields,
        )


def look_at(path: str, missing: object = None) -> Getter:
    """A getter of the value at a dotted path. Made once per path: there may be a hundred thousand entries."""
    outer, *deeper = path.split(".")
    if not deeper:
        return itemgetter(outer)
    inner, *deepest = deeper
    if not deepest:

        def look_inside(payload: Mapping[str, Any]) -> Any:
            try:
                return payload[outer][inner]
            except (KeyError, TypeError):  # no such field, or not an object
                return missing

        return look_inside

    def look(payload: Mapping[str, Any]) -> Any:
        try:
            value = payload[outer][inner]
            for step in deepest:
                value = value[step]
        except (KeyError, TypeError):  # no such field, or not an object
            return missing
        return value

    return look


def _look_at_all(paths: Sequence[str]) -> Getter:
    """A getter of the texts of several fields, joined with slashes; None where one is not a text."""
    looks = [look_at(path, MISSING) for path in paths]
    if len(looks) == 1:
        return looks[0]

    def look(payload: Mapping[str, Any]) -> Any:
        values = [look(payload) for look in looks]
        if MISSING in values:
            return MISSING
        return "/".join(values) if all(isinstance(value, str) and value for value in values) else None

    return look


def filled_in(template: str, values: Mapping[str, object]) -> str:
    """A text with `{name}` replaced; a name without a value stays."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), template)

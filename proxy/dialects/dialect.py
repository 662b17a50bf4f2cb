"""The row that describes a family of providers: how its model list is asked for, paged and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

PagingStyle = Literal["url", "cursor", "offset", "page"]
AuthStyle = Literal["bearer", "header", "basic", "query", "none"]


@dataclass(frozen=True)
class Paging:
    """How an answer says that there is more, and how that is asked for. Paths are dotted, into the answer.

    `url`     the next page's address stands at `read`; only its query is used, on our own list URL
    `cursor`  the value at `read` (or else the id of the last entry) is sent back as `send`; where `more` is
              named, only while it is true
    `offset`  the number of entries received so far is sent as `send`, until the number at `total` is there;
              without a total until a page is empty
    `page`    the next page's number is sent as `send`, until `total` entries or `pages` pages are there; without
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
    """Where a provider wants its credential: as a `bearer` token, in a `header` or a `query` parameter of this name,
    as the `user:password` of HTTP `basic`, or nowhere (`none`)."""

    style: AuthStyle = "bearer"
    name: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting that only this kind has. Without a default it must be given, unless it is optional."""

    default: str | None = None
    many: bool = False
    """A list of strings; the model list is asked once for each, under the name less its `s`."""
    optional: bool = False


@dataclass(frozen=True)
class Dialect:
    """One row of the table. A field path is dotted; of several alternatives the first that is there counts."""

    kind: str
    path: str = "/models"
    """Below `base_url`; `{name}` stands for a setting, percent-encoded."""
    or_path: str = ""
    """Asked instead where nothing is at `path`."""
    base_path: str = ""
    """What a `base_url` without a path gets."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Sent with the first question; `{name}` stands for a setting."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every question; `{name}` stands for a setting, and one that is not given leaves its header out."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    auth: Auth = Auth()
    items: tuple[str, ...] = ("data",)
    """Where the entries are; "" is the answer itself, if that is an array."""
    empty_without_items: bool = False
    """An answer that names no entries at all is an empty list (Google leaves an empty field away)."""
    id: tuple[str, ...] = ("id",)
    """`a/b` joins two fields with a slash."""
    cut: tuple[str, ...] = ()
    """Beginnings that are cut off an id; `*` stands for anything but a slash."""
    owner: tuple[str, ...] = ("owned_by",)
    created: tuple[str, ...] = ("created",)
    parent: str = ""
    """Name of the asked value (see `Setting.many`) that every entry belongs to; "" reads the field `parent`."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The name under which clients read something -> where this dialect says it (see `extra.NAMES`)."""
    keeps_originals: bool = False
    """Fields that `extra` reads are shown under their own names too: clients of this dialect know them."""
    price_per: int = 1
    """How many tokens the prices of this dialect are for."""
    private: tuple[str, ...] = ()
    """Fields that are never shown: they identify the operator's account, or only frame the entry."""
    paging: tuple[Paging, ...] = ()
    """The first style whose signs the answer shows is followed."""
    iam: bool = False
    """May log in at a Huawei IAM instead of having a key."""
    native: bool = False
    """Keep every entry as it was sent, for the contract that we serve in this dialect ourselves."""
    asked: bool = True
    """False: nobody is asked, the models stand in the configuration."""

    @cached_property
    def extra_by_field(self) -> Mapping[str, tuple[tuple[int, str, str], ...]]:
        """`extra` by the outermost field that is read: (order of preference, name, path). Made once, for speed."""
        by_field: dict[str, tuple[tuple[int, str, str], ...]] = {}
        order = 0
        for name, alternatives in self.extra.items():
            for path in alternatives:
                field = path.partition(".")[0]
                by_field[field] = (*by_field.get(field, ()), (order, name, path))
                order += 1
        return by_field

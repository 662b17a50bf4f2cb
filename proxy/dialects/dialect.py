"""The row that describes a family of providers: how its model list is asked for, paged and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Paging:
    """How an answer says that there is more, and how that is asked for. Paths are dotted, into the answer.

    `url`     the next page's address stands at `read`; only its query is used, on our own list URL
    `cursor`  the value at `read` (or else the id of the last entry) is sent back as `send`; where `more` is
              named, only while it is true
    `offset`  the number of entries received so far is sent as `send`, until the number at `total` is there;
              without a total until a page is empty
    """

    style: Literal["url", "cursor", "offset"]
    read: str = ""
    send: str = ""
    more: str = ""
    total: str = ""


@dataclass(frozen=True)
class Auth:
    """Where a provider wants its credential: `bearer`, a named `header`, or `none`."""

    style: Literal["bearer", "header", "none"] = "bearer"
    name: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting that only this kind has. Without a default it must be given."""

    default: str | None = None
    many: bool = False
    """A list of strings; the model list is asked once for each, under the name less its `s`."""


@dataclass(frozen=True)
class Dialect:
    """One row of the table. A field path is dotted; of several alternatives the first that is there counts."""

    kind: str
    path: str = "/models"
    """Below `base_url`; `{name}` stands for a setting, percent-encoded."""
    base_path: str = ""
    """What a `base_url` without a path gets."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Sent with the first question."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    auth: Auth = Auth()
    items: tuple[str, ...] = ("data",)
    """Where the entries are; "" is the answer itself, if that is an array."""
    id: tuple[str, ...] = ("id",)
    owner: tuple[str, ...] = ("owned_by",)
    created: tuple[str, ...] = ("created",)
    parent: str = ""
    """Name of the asked value (see `Setting.many`) that every entry belongs to; "" reads the field `parent`."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Field of the provider -> the name under which clients read it."""
    private: tuple[str, ...] = ()
    """Fields that identify the operator's account: never shown in a list."""
    paging: tuple[Paging, ...] = ()
    """The first style whose signs the answer shows is followed."""
    iam: bool = False
    """May log in at a Huawei IAM instead of having a key."""
    native: bool = False
    """Keep every entry as it was sent, for the contract that we serve in this dialect ourselves."""
    asked: bool = True
    """False: nobody is asked, the models stand in the configuration."""

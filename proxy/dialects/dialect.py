"""The row that describes a kind of provider: how its model list is requested, paginated and parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

from proxy.calls import Api
from proxy.dialects.fact_readers import NAMES
from proxy.dialects.facts import ROW_RANK, Shape, fact_sources, groups_in, is_fact, shape_reader
from proxy.dialects.field_sources import FieldSource, Sources, ordered
from proxy.dialects.getters import Getter, joined_getter, path_getter
from proxy.dialects.prices import has_outer_unit, has_prices
from proxy.dialects.private import SafeNames, leads_to_private

PagingStyle = Literal["url", "cursor", "offset", "page"]
AuthStyle = Literal["bearer", "header", "basic", "query", "none"]

RESERVED_FIELDS = frozenset({"id", "object", "created", "owned_by", "permission", "root", "parent"})
"""Fields that the proxy sets. Provider fields of the same name are not passed through in `extra`."""
_MAX_PLANS = 256  # cached per dialect; a list needs one or two, but a hostile list could need any number


@dataclass(frozen=True)
class Paging:
    """How a response indicates more pages, and how they are requested. Paths are dotted, into the response.

    `url`     the URL of the next page is at `read`; only its query is used, with the configured list URL
    `cursor`  the value at `read` (or else the id of the last entry) is sent back as `send`; where `more` is
              set, only while that is true
    `offset`  the number of entries received so far is sent as `send`, until it reaches the number at `total`;
              without a total, until a page is empty
    `page`    the number of the next page is sent as `send`, until there are `total` entries or `pages` pages;
              without either, until a page is empty
    """

    style: PagingStyle
    read: str = ""
    send: str = ""
    more: str = ""
    total: str = ""
    pages: str = ""
    or_send: str = ""
    """Instead of `send`, for a response with a `first_id` and without an `object`, as Anthropic's lists are."""
    first: int = 1
    """The number of the first page."""


@dataclass(frozen=True)
class Auth:
    """How the credential is sent: as a `bearer` token, in the `header` or `query` parameter `name`, as `user:password`
    with HTTP `basic` authentication, or not at all (`none`)."""

    style: AuthStyle = "bearer"
    name: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting specific to one kind. It is required if it has no default and is not optional."""

    default: str | None = None
    many: bool = False
    """A list of strings. One model list is requested for each; the placeholder is the name without its `s`."""
    optional: bool = False
    pattern: str = ""
    """What a value must match, if it is part of a host name."""
    flag: bool = False
    """`true` or `false`. If it is true, the row of this name in `Dialect.variants` applies."""


@dataclass(frozen=True, slots=True)  # its fields are read several times as fast as those of a named tuple
class EntryPlan:
    """How to parse entries with certain outermost fields. Nearly all entries of a list share one plan.

    Contains only paths whose outermost field exists, in order of preference.
    """

    ids: tuple[Getter, ...]
    owners: tuple[Getter, ...]
    times: tuple[Getter, ...]
    extra: Sources
    """For entries without objects that may contain facts."""
    groups: tuple[str, ...]
    """Fields whose objects may contain facts."""
    shape_of: Callable[[Mapping[str, Any]], Shape]
    """Returns the names in the groups of an entry."""
    sources: Callable[[Shape], Sources]
    """Returns the sources of entries of a shape, cached."""
    has_prices: bool
    may_have_plain_prices: bool
    """Whether `pricing` may be as clients expect it already."""
    nested: tuple[str, ...]
    """Names in `extra` that are nested in an object."""
    reserved: tuple[str, ...]
    """Fields whose names are reserved for the proxy."""
    has_reference: bool
    """Whether `root` or `parent` exists."""
    aliases: tuple[str, ...]
    """Fields with other names of the model."""
    private: tuple[str, ...]
    """Paths of fields that are not shown."""
    has_requirements: bool
    """Whether the dialect requires values."""


@dataclass(frozen=True)
class Dialect:
    """One row of the table. Field paths are dotted. The first of several paths that exists is used."""

    kind: str
    path: str = "/models"
    """Appended to `base_url`. `{name}` is replaced by a setting, percent-encoded."""
    or_path: str = ""
    """Fallback if there is no list at `path`."""
    also: tuple[Dialect, ...] = ()
    """Further lists of the same provider; models are in the order of the lists."""
    base_url: str = ""
    """Used if `base_url` is not set. `{name}` is replaced by a setting; "": it is required."""
    base_path: str = ""
    """Path used if `base_url` has none."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Query of the first request. `{name}` is replaced by a setting."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request. `{name}` is replaced by a setting; without it the header is omitted."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    variants: Mapping[str, Dialect] = field(default_factory=dict)
    """Setting that is a flag -> the row that applies if it is true."""
    auth: Auth = Auth()
    items: tuple[str, ...] = ("data",)
    """Paths of the array of entries. "" is the top level of the response."""
    or_items: tuple[str, ...] = ()
    """Further paths of the array, used by gateways. The array is accepted there only if its entries have an id."""
    empty_without_items: bool = False
    """A response without the field of entries is an empty list (Google omits empty fields)."""
    id: tuple[str, ...] = ("id",)
    """`a/b` joins two fields with a slash."""
    strip_prefix: tuple[str, ...] = ()
    """Prefixes that are removed from an id. `*` matches anything but a slash."""
    resource_names: bool = False
    """Ids may be resource names such as `models/m`; calls accept the last part (see `identity.bare_name`)."""
    aliases: tuple[str, ...] = ("aliases", "alias", "alias_of")
    """Fields with other names that the provider accepts for a model, each a name or a list of names. Not OpenRouter's
    `canonical_slug`: that of a free variant is the paid model."""
    owner: tuple[str, ...] = ("owned_by",)
    created: tuple[str, ...] = ("created",)
    root: str = "root"
    """Field with the id of the base model."""
    required: Mapping[str, str] = field(default_factory=dict)
    """Path -> value. Entries with another value there are not models that can be called."""
    parent: str = ""
    """Placeholder (see `Setting.many`) whose value is the parent of all entries of a list; "": the field `parent`."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Metadata name (see `metadata.NAMES`) -> paths of its value."""
    facts: bool = True
    """Also recognize facts under the names of other dialects (see `facts`). Their fields stay."""
    keeps_originals: bool = False
    """Also show fields that `extra` reads under their original names, for clients of this dialect."""
    price_per: int = 1
    """Number of tokens that the prices of this dialect refer to."""
    private: tuple[str, ...] = ()
    """Fields that are never shown, because they identify the operator's account or are redundant."""
    only_named: bool = False
    """Do not show fields that neither `extra` nor the setting `extra_fields` names."""
    chosen: tuple[str, ...] = ()
    """Paths of standard fields that the operator chose: they may lead to private fields."""
    kept: tuple[str, ...] = ()
    """Fields whose values are kept for the operator's rules, even if they are not shown."""
    paging: tuple[Paging, ...] = ()
    """The first style that matches the response is used."""
    iam: bool = False
    """Whether the setting `iam` (a Huawei IAM login) can replace the API key."""
    aws: str = ""
    """The AWS service for which requests without an API key are signed, in the setting `region`; "": none."""
    raw: bool = False
    """Keep entries as they were sent, for endpoints that the proxy serves in this dialect."""
    is_remote: bool = True
    """False: nothing is fetched; the models are declared in the configuration."""
    call: str = ""
    """Base URL of calls: `{base}` is `base_url`, `{host}` is `base_url` without its path, any other `{name}` a setting.
    If it is "" or a setting is not set, the models cannot be called."""
    call_root: str = ""
    """Base URL of calls whose path has a version of its own (`/v2/rerank`); "" for `call` without its version."""
    call_auth: Auth | None = None
    """How calls send the credential, None if as `auth`."""
    native_api: Api | None = None
    """The kind's own API of calls, if the proxy serves it and it is not one of `COMMON_APIS`."""
    gemini_call: str = ""
    """Base URL of calls of the Gemini API, which replaces `/v1beta` in their path and takes the credential as `auth`
    describes; "" if they are sent as other calls are."""
    call_id: str = "{id}"
    """The model id in calls. `{name}` is replaced by a setting."""

    def variant(self, settings: Mapping[str, object]) -> Dialect:
        """The row that applies to these settings of the kind."""
        return next((row for name, row in self.variants.items() if settings.get(name) == "true"), self)

    @cached_property
    def safe_names(self) -> SafeNames:
        """Field names of this dialect's entries that are known not to be private."""
        return SafeNames()

    def has_known_field(self, fields: Iterable[str]) -> bool:
        """Whether one of these outermost fields is known, so that an object with them may be an entry."""
        return any(field in self._outer_fields or is_fact(field) for field in fields)

    @cached_property
    def _outer_fields(self) -> frozenset[str]:
        known = (path for paths in self.extra.values() for path in paths)
        return frozenset(path.split(".")[0] for path in (*self.id, *self.owner, *self.created, *known))

    @cached_property
    def chosen_private(self) -> frozenset[str]:
        """The paths in `chosen` that lead to private fields."""
        return frozenset(filter(leads_to_private, self.chosen))

    @cached_property
    def plan(self) -> Callable[[tuple[str, ...]], EntryPlan]:
        """Returns the plan of entries with these outermost fields, cached."""
        return lru_cache(_MAX_PLANS)(self._plan)

    def _plan(self, fields: tuple[str, ...]) -> EntryPlan:
        def exists(path: str) -> bool:
            return all(part.split(".")[0] in fields for part in path.split("/"))

        extra = [
            (ROW_RANK, FieldSource(name, path, path_getter(path), NAMES[name], path))
            for name, paths in self.extra.items()
            for path in paths
            if exists(path)
        ]
        groups = groups_in(fields) if self.facts else ()

        def sources(shape: Shape) -> Sources:
            return ordered((*extra, *(fact_sources(fields, groups, shape) if self.facts else ())))

        return EntryPlan(
            ids=tuple(joined_getter(path.split("/")) for path in self.id if exists(path)),
            owners=tuple(path_getter(path) for path in self.owner if exists(path)),
            times=tuple(path_getter(path) for path in self.created if exists(path)),
            extra=sources((None,) * len(groups)),
            groups=groups,
            shape_of=shape_reader(groups),
            sources=lru_cache(_MAX_PLANS)(sources),
            has_prices=self.facts and has_prices(fields),
            may_have_plain_prices=self.price_per == 1 and not has_outer_unit(fields),
            nested=tuple({source.name: None for _, source in extra if "." in source.name}),
            # Case-insensitive, because Go's JSON decoder treats a later `ID` as the `id`.
            reserved=tuple(field for field in fields if field.casefold() in RESERVED_FIELDS),
            has_reference=self.root in fields or "parent" in fields,
            aliases=tuple(field for field in self.aliases if field in fields),
            private=tuple(path for path in self.private if exists(path)),
            has_requirements=bool(self.required),
        )


def fill_template(template: str, values: Mapping[str, object]) -> str:
    """Replace each `{name}` in a text. Placeholders without a value are kept."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), template)

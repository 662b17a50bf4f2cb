"""Convert a provider's entries to its offers.

No I/O and no state: results depend only on the configuration and on the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from proxy.catalog.adjust import completed, is_retired, overridden, passes, without
from proxy.catalog.agreement import agree
from proxy.catalog.display_names import label_display_names
from proxy.catalog.naming import Naming
from proxy.catalog.offer_facts import read_facts
from proxy.catalog.owners import owner_from_entry, owner_of_model
from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.config.list_settings import RETIRED_FIELDS
from proxy.dialects import DIALECTS, entry_of, selected
from proxy.dialects.entry import Entry
from proxy.patterns import matcher

Step = Callable[[Iterable[Offer]], Iterator[Offer]]
Rule = Callable[[Provider, Config], Step]
Time = Callable[[], float]
OwnerSource = Literal["provider setting", "owners", "declared", "model", "base model", "provider name"]
"""Where an owner comes from. `model`: from its id and the owner that the provider reports, see `owners.py`."""


def select(provider: Provider, config: Config) -> Step:
    """Apply `include` and `exclude` to the provider's own ids, and `where` to its fields. The first of duplicate
    entries is used.

    Declared models are always selected: listing them one by one is more specific than any pattern.
    """
    new_selector = selector(provider)
    return lambda offers: filter(new_selector(), offers)


def selector(provider: Provider) -> Callable[[], Callable[[Offer], bool]]:
    """Return a function that returns what `select` does with the offers of one list, one after the other."""
    included, excluded = matcher(provider.include), matcher(provider.exclude)
    declared = {entry.id for entry in declared_entries(provider)}
    where = provider.where
    selects_all = "*" in provider.include and not provider.exclude and not where

    def new() -> Callable[[Offer], bool]:
        seen: set[str] = set()

        def is_selected(offer: Offer) -> bool:
            own_id = offer.entry.id
            if own_id in seen:
                return False
            if (
                selects_all
                or own_id in declared
                or (included(own_id) and not excluded(own_id) and (not where or passes(offer.entry, where)))
            ):
                seen.add(own_id)
                return True
            return False

        return is_selected

    return new


def removed_by(provider: Provider, entry: Entry) -> Iterator[tuple[str | int, ...]]:
    """Yield the settings for which `select` removes an entry, as paths: `include`, `exclude` or `where` with an index.

    Nothing for an entry that is selected. For explanations: what `select` does needs one look-up for all patterns.
    """
    if not matcher(provider.include)(entry.id):
        yield ("include",)
    for index, pattern in enumerate(provider.exclude):
        if matcher([pattern])(entry.id):
            yield "exclude", index
    for index, rule in enumerate(provider.where):
        if not passes(entry, [rule]):
            yield "where", index


def override(provider: Provider, config: Config) -> Step:
    """Apply `overrides` to the provider's own ids, in the order of the file."""
    overrides = [(matcher(given.match), given.fields) for given in provider.overrides if given.fields]
    if not overrides:
        return iter

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            matching = [given for matches, given in overrides if matches(offer.entry.id)]
            yield _overridden(offer, fields_set(matching)) if matching else offer

    return step


def fields_set(matching: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields that several `overrides` of one model set: of each field, the last value in the order of the file."""
    fields: dict[str, Any] = {}
    for given in matching:
        # Replaced in this order: a field may be part of an earlier one.
        fields = {**{name: fields[name] for name in fields if name not in given}, **given}
    return fields


def _overridden(offer: Offer, fields: Mapping[str, Any]) -> Offer:
    entry = overridden(offer.entry, fields)
    if "owned_by" not in fields:
        return replace(offer, entry=entry)
    owner = fields["owned_by"]
    return replace(offer, owned_by=owner or "", entry=entry if owner else replace(entry, owner=""))


def hide_retired(provider: Provider, config: Config, *, time: Time) -> Step:
    """Apply `hide_retired`, except to declared models. After `override`, which can correct a shutdown date."""
    if not provider.hide_retired:
        return iter
    declared = {entry.id for entry in declared_entries(provider)}

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        now = time()
        for offer in offers:
            if offer.entry.id in declared or not is_retired(offer.entry, RETIRED_FIELDS, now):
                yield offer

    return step


def owner_rule(provider: Provider, config: Config) -> Callable[[Entry], str]:
    """Return a function from an entry to its owner. The first of these sources that has one is used:

    1. the provider's `owner`  2. the rules in `owners`  3. the `owned_by` of a declared model  4. the id and the owner
    in the entry, see `owners.py`  5. the id of its base model  6. the provider's name.
    """
    if not (provider.owner or config.owners or provider.models):

        def owner_of(entry: Entry) -> str:
            return owner_of_model(entry.owner, entry.id) or owner_of_model("", entry.root) or provider.name

        return owner_of
    with_source = owner_with_source(provider, config)
    return lambda entry: with_source(entry)[0]


def owner_with_source(provider: Provider, config: Config) -> Callable[[Entry], tuple[str, OwnerSource, int | None]]:
    """`owner_rule`, with the source of the owner, and the number of the rule if it is one of `owners`."""
    rules = [(matcher(rule.match), rule.owner, number) for number, rule in enumerate(config.owners)]
    declared = {entry.id: owner_from_entry(entry.owner, entry.id) for entry in declared_entries(provider)}

    def owner_of(entry: Entry) -> tuple[str, OwnerSource, int | None]:
        if provider.owner:
            return provider.owner, "provider setting", None
        for matches, owner, number in rules:
            if matches(entry.id):
                return owner, "owners", number
        if owner := declared.get(entry.id, ""):
            return owner, "declared", None
        if owner := owner_of_model(entry.owner, entry.id):
            return owner, "model", None
        if owner := owner_of_model("", entry.root):
            return owner, "base model", None
        return provider.name, "provider name", None

    return owner_of


def assign_owner(provider: Provider, config: Config) -> Step:
    """Set the owner of each model (see `owner_rule`), unless `overrides` sets it."""
    owner_of = owner_rule(provider, config)

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            yield Offer(offer.id, offer.provider, offer.owned_by or owner_of(offer.entry), offer.entry)

    return step


def rename(provider: Provider, config: Config) -> Step:
    """Set public ids (see `Naming`). Each id depends only on its entry."""
    naming = Naming(provider, config)
    if naming.is_identity:
        return iter

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            for public in naming.public_ids(offer.entry.id, offer.owned_by):
                yield offer if public == offer.id else Offer(public, offer.provider, offer.owned_by, offer.entry)

    return step


def drop_fields(provider: Provider, config: Config) -> Step:
    """Remove the fields in `drop_fields`."""
    if not provider.drop_fields:
        return iter

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            yield replace(offer, entry=without(offer.entry, provider.drop_fields))

    return step


def limit_extra(provider: Provider, config: Config) -> Step:
    """Apply `extra_fields`: keep only these of the provider's other fields, and those that the operator reads."""
    shown = shown_fields(provider)
    if shown is None:
        return iter

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            yield _limited(offer, shown)

    return step


def shown_fields(provider: Provider) -> frozenset[str] | None:
    """The paths that `limit_extra` leaves in an entry, None for all."""
    if not provider.extra_fields:
        return None if provider.extra_fields is None else frozenset()
    return frozenset([*provider.extra_fields, *provider.fields, *(provider.list.fields if provider.list else ())])


def _limited(offer: Offer, shown: frozenset[str]) -> Offer:
    fields = msgspec.json.decode(offer.entry.extra)
    limited = selected(fields, shown)
    return replace(offer, entry=replace(offer.entry, extra=msgspec.json.encode(limited)))


def list_aliases(provider: Provider, config: Config) -> Step:
    """Apply `list_aliases`: other names in entries become models of their own, which calls send as they are.

    `include` and `exclude` apply to them. An entry that the provider lists under such a name takes precedence.
    """
    if not provider.list_aliases:
        return iter
    naming = Naming(provider, config)
    included, excluded = matcher(provider.include), matcher(provider.exclude)

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        seen: set[str] = set()
        aliases: list[tuple[str, Offer]] = []
        for offer in offers:
            seen.add(offer.entry.id)
            aliases += ((name, offer) for name in offer.entry.aliases)
            yield offer
        for name, offer in aliases:
            if name not in seen and included(name) and not excluded(name):
                seen.add(name)
                entry = aliased(offer.entry, name)
                for public in naming.public_ids(name, offer.owned_by):
                    yield Offer(public, offer.provider, offer.owned_by, entry, offer, offer.facts)

    return step


def aliased(entry: Entry, name: str) -> Entry:
    """The same model under another own id."""
    return replace(entry, id=name, written="", aliases=())


def rules(time: Time) -> tuple[Rule, ...]:
    """All rules in their order. `time` returns Unix seconds, for the rule that depends on it."""
    return (
        select,
        override,
        agree,
        partial(hide_retired, time=time),
        assign_owner,
        rename,
        label_display_names,
        drop_fields,
        limit_extra,
        read_facts,
        list_aliases,
    )


def declared_entries(provider: Provider) -> Iterator[Entry]:
    """The models that are declared in the configuration."""
    for declared_entry in provider.models:
        yield entry_of(DIALECTS["static"], declared_entry, b"", {})


def with_declared(declared: Sequence[Entry], entries: Iterable[Entry]) -> Iterable[Entry]:
    """The declared models, then the listed ones. A declared model that is listed too overrides only its own fields."""
    if not declared:
        return entries
    entries = tuple(entries)
    ids = {entry.id for entry in declared}
    listed: dict[str, Entry] = {}
    for entry in entries:
        if entry.id in ids:
            listed.setdefault(entry.id, entry)
    shown = (completed(each, listed[each.id]) if each.id in listed else each for each in declared)
    return (*shown, *(entry for entry in entries if entry.id not in ids))


def plain_offers(provider: str, entries: Iterable[Entry]) -> Iterator[Offer]:
    """Offers before any rule: without an owner, under the provider's own ids."""
    for entry in entries:
        yield Offer(entry.id, provider, "", entry)

"""What the rules of a provider make of one entry of its list: each rule is run alone, and its effect is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import msgspec

from proxy.catalog import Offer
from proxy.catalog.adjust import fields_of, retired_by
from proxy.catalog.kept_fields import results_kept
from proxy.catalog.naming import Naming
from proxy.catalog.owners import owner_signs
from proxy.catalog.rules import (
    Rule,
    declared_entries,
    fields_set,
    owner_with_source,
    plain_offers,
    removed_by,
    rules,
    with_declared,
)
from proxy.config import Config, Provider
from proxy.config.list_settings import RETIRED_FIELDS
from proxy.dialects.entry import Entry
from proxy.explain.reasons import Reasons
from proxy.explain.values import Effect, ProviderModel, Reason
from proxy.patterns import matcher

_MAX_NAMES = 10


class _Change(NamedTuple):
    """The offers of one own id before and after a rule."""

    before: Sequence[Offer]
    after: Sequence[Offer]


class Trace(NamedTuple):
    """One model of a provider, and the offers that the rules make of it."""

    model: ProviderModel
    offers: Sequence[Offer]


class Tracer:
    """Traces single models of one provider."""

    def __init__(self, provider: Provider, config: Config, now: float, reasons: Reasons) -> None:
        """`now`: Unix seconds."""
        self._provider = provider
        self._config = config
        self._now = now
        self._reasons = reasons
        self._naming = Naming(provider, config)
        self._declared = tuple(declared_entries(provider))
        self._rules = rules(lambda: now)
        self._explain: Mapping[str, Callable[[_Change], Iterator[Reason]]] = {
            "select": self._of_selection,
            "override": self._of_overrides,
            "hide_retired": self._of_retirement,
            "assign_owner": self._of_owner,
            "rename": self._of_names,
            "drop_fields": partial(self._of_fields, "drop_fields"),
            "limit_extra": partial(self._of_fields, "extra_fields"),
            "list_aliases": self._of_aliases,
        }

    def trace(self, own_id: str, entries: Iterable[Entry]) -> Trace:
        """Trace one model. `entries`: those of the list that have this id, or contain it as another name."""
        listed = tuple(entries)
        declared = [entry for entry in self._declared if entry.id == own_id]
        offers = [*plain_offers(self._provider.name, with_declared(declared, listed))]
        written = next((entry.written for entry in listed if entry.id == own_id), "")
        found = [*self._of_prefix(written, own_id)]
        owner = ""
        for rule in self._rules:
            after = [*rule(self._provider, self._config)(offers)]
            change = _Change(_of(offers, own_id), _of(after, own_id))
            if explain := self._explain.get(_name(rule)):
                found += explain(change)
            offers = after
            owner = change.after[0].owned_by if change.after else owner
        own = _of(offers, own_id)
        model = ProviderModel(
            id=own_id,
            written=written,
            is_listed=any(entry.id == own_id for entry in listed),
            is_declared=bool(declared),
            ids=[offer.id for offer in own],
            owned_by=owner,
            reasons=found,
        )
        return Trace(model, own)

    def _of(self, rule: str, effect: Effect, text: str, *path: str | int) -> Reason:
        return self._reasons.of_provider(rule, effect, text, self._provider.name, *path)

    def _of_prefix(self, written: str, own_id: str) -> Iterator[Reason]:
        if not written:
            return
        given = (prefix for prefix in self._provider.strip_prefix if written.endswith(own_id))
        path = ("strip_prefix",) if next(given, None) else ()
        yield self._of("strip_prefix", "renames", f"the provider writes {written!r}; a prefix is removed", *path)

    def _of_selection(self, change: _Change) -> Iterator[Reason]:
        if not change.before:
            return
        provider, entry = self._provider, change.before[0].entry
        if change.after:
            index = next((n for n, each in enumerate(self._declared) if each.id == entry.id), None)
            if index is not None:
                yield self._of("models", "keeps", "declared in the file", "models", index)
            elif self._reasons.is_given("providers", provider.name, "include"):
                index = next(n for n, pattern in enumerate(provider.include) if matcher([pattern])(entry.id))
                text = f"selected by include {provider.include[index]!r}"
                yield self._of("include", "keeps", text, "include", index)
            return
        for path in removed_by(provider, entry):
            yield self._of(str(path[0]), "removes", self._why_removed(entry, path), *path)

    def _why_removed(self, entry: Entry, path: Sequence[str | int]) -> str:
        provider = self._provider
        match path:
            case ("exclude", int(index)):
                return f"removed by exclude {provider.exclude[index]!r}"
            case ("where", int(index)):
                # Without the value, which may be one that is never shown.
                rule = provider.where[index]
                is_known = fields_of(entry)(rule.field) or results_kept(entry)
                missing = "" if is_known else ", because it has no such field"
                return f"removed by where: `{rule}` is not fulfilled{missing}"
            case _:
                return "removed by include: no pattern matches it"

    def _of_overrides(self, change: _Change) -> Iterator[Reason]:
        if not change.before:
            return
        own_id = change.before[0].entry.id
        for index, given in matching_overrides(self._provider, own_id):
            names = _listed(list(given))
            text = f"overrides for {_listed(self._provider.overrides[index].match)} set {names}"
            yield self._of("overrides", "changes", text, "overrides", index)

    def _of_retirement(self, change: _Change) -> Iterator[Reason]:
        if change.before and not change.after:
            field, value = retired_by(change.before[0].entry, RETIRED_FIELDS, self._now) or ("", None)
            shown = _day(value) if field == "shutdown_at" else msgspec.json.encode(value).decode()
            yield self._of("hide_retired", "removes", f"removed by hide_retired: {field} is {shown}", "hide_retired")

    def _of_owner(self, change: _Change) -> Iterator[Reason]:
        if change.after:
            yield self.owner(change.before[0])

    def owner(self, offer: Offer) -> Reason:
        """The reason for the owner of an offer before `assign_owner`."""
        own_id, provider = offer.entry.id, self._provider
        if offer.owned_by:
            places = [n for n, given in matching_overrides(provider, own_id) if "owned_by" in given]
            return self._of("overrides", "sets", "set by overrides", "overrides", places[-1])
        owner, source, number = owner_with_source(provider, self._config)(offer.entry)
        if source == "provider setting":
            return self._of("owner", "sets", "set for the provider", "owner")
        if source == "owners" and number is not None:
            rule = self._config.owners[number]
            index = next(n for n, pattern in enumerate(rule.match) if matcher([pattern])(own_id))
            text = f"owners rule {rule.match[index]!r}"
            return self._reasons.of("owners", "sets", text, "owners", number, "match", index)
        if source == "declared":
            index = next(n for n, each in enumerate(self._declared) if each.id == own_id)
            return self._of("models", "sets", "declared in the file", "models", index)
        if source == "base model":
            return self._of("owner", "sets", f"the id of its base model {offer.entry.root!r}")
        if source == "provider name":
            return self._of("owner", "sets", f"the name of the provider: {_why_no_owner(offer.entry)}")
        return self._of("owner", "sets", _why_owner(offer.entry, owner))

    def _of_names(self, change: _Change) -> Iterator[Reason]:
        if not change.before:
            return
        offer = change.before[0]
        own_id = offer.entry.id
        for public, other in self._naming.reserved_for(own_id).items():
            text = f"removed by aliases: {public!r} is an alias of {other!r}"
            yield self._of("aliases", "removes", text, "aliases", public)
        for public, alias in self._naming.aliases_for(own_id, offer.owned_by).items():
            if alias is not None:
                own = self._provider.aliases[alias]
                what = f"alias {alias!r} of {own!r}"
                yield self._of("aliases", "renames", f"listed as {public!r}: {what}", "aliases", alias)
            elif self._provider.prefix:
                text = f"listed as {public!r}: prefix {self._provider.prefix!r}"
                yield self._of("prefix", "renames", text, "prefix")
            if (duplicates := self._config.merge.duplicates) != "merge":
                text = f"listed as {public!r}: duplicates is {duplicates}"
                yield self._reasons.of("duplicates", "renames", text, "merge", "duplicates")

    def _of_fields(self, setting: str, change: _Change) -> Iterator[Reason]:
        if not change.before or not change.after:
            return
        before, after = (msgspec.json.decode(offers[0].entry.extra) for offers in change)
        if removed := [name for name in before if name not in after]:
            yield self._of(setting, "changes", f"{setting} removes the fields {_listed(removed)}", setting)

    def _of_aliases(self, change: _Change) -> Iterator[Reason]:
        if change.after and not change.before:
            of = change.after[0].alias_of
            text = f"listed by list_aliases: another name of {of.entry.id if of else ''!r}"
            yield self._of("list_aliases", "keeps", text, "list_aliases")


def matching_overrides(provider: Provider, own_id: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The overrides that set a field of a model: number and fields, without fields that a later one sets, too."""
    matching = [(n, each.fields) for n, each in enumerate(provider.overrides) if matcher(each.match)(own_id)]
    for place, (number, given) in enumerate(matching):
        later = fields_set(fields for _, fields in matching[place + 1 :])
        if own := {name: given[name] for name in given if name not in later}:
            yield number, own


def _why_no_owner(entry: Entry) -> str:
    reported = f"reports {entry.owner!r}, which is not the name of a maker," if entry.owner else "reports no owner,"
    return f"it {reported} and the id {entry.id!r} names no known one"


def _why_owner(entry: Entry, owner: str) -> str:
    signs = owner_signs(entry.owner, entry.id)
    part = "vendor part" if signs.id_part == "vendor" else "model family"
    if owner == signs.by_entry:
        same = f", and so does the {part} of the id" if signs.by_id == signs.by_entry else ""
        return f"the provider reports {entry.owner!r}{same}"
    by_id = f"the {part} of the id {entry.id!r}"
    if not entry.owner:
        return f"{by_id}; the provider reports none"
    if not signs.by_entry:
        return f"{by_id}; the provider reports {entry.owner!r}, which is not the name of a maker"
    return f"{by_id}, which contradicts what the provider reports ({entry.owner!r})"


def _day(seconds: object) -> str:
    """The UTC date of Unix seconds; the number itself if it is out of range."""
    try:
        return datetime.fromtimestamp(float(str(seconds)), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _of(offers: Iterable[Offer], own_id: str) -> Sequence[Offer]:
    return [offer for offer in offers if offer.entry.id == own_id]


def _name(rule: Rule) -> str:
    function = rule.func if isinstance(rule, partial) else rule
    return getattr(function, "__name__", "")


def _listed(names: Sequence[str]) -> str:
    """`a, b and 3 more`."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more

"""Where each field of a listed model comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.catalog import Model, Offer
from proxy.catalog.bundled import bundled
from proxy.catalog.display_names import label_of
from proxy.catalog.merge import FACTS, PLACEHOLDERS, combining, created_from
from proxy.catalog.offer_facts import facts_of
from proxy.config import Config, Provider
from proxy.dialects import RESERVED_FIELDS, Dialect, unix_seconds
from proxy.dialects.getters import values_at
from proxy.explain.entries import matching_overrides
from proxy.explain.reasons import Reasons
from proxy.explain.values import Fact, Reason, Source


class Facts:
    """Explains the fields of models."""

    def __init__(self, config: Config, withheld: Mapping[str, frozenset[str]], reasons: Reasons, now: float) -> None:
        """`withheld`: provider -> its own ids of models whose creation time is not shown; `now`: Unix seconds."""
        self._config = config
        self._providers = {provider.name: provider for provider in config.providers}
        self._withheld = withheld
        self._reasons = reasons
        self._now = now
        self._shows_types = config.server.facts_style == "all"
        """Whether types that follow from names are shown."""

    def of(self, model: Model, offers: Sequence[Offer], owner: Reason) -> list[Fact]:
        """The fields of a model. `offers`: the allowed ones, before they were merged; `owner`: why it has its owner."""
        owned_by = Fact("owned_by", model.owned_by, model.offers[0].provider, "owner", [owner])
        return [owned_by, *self.besides_owner(model, offers)]

    def besides_owner(self, model: Model, offers: Sequence[Offer]) -> list[Fact]:
        """The fields of a model without its owner."""
        facts = [self._created(model, offers)]
        shown: dict[str, Any] = msgspec.json.decode(model.offers[0].entry.extra)
        sources = self._sources(offers)
        for name in FACTS:
            if shown.get(name) is None:
                continue
            if name in sources:
                facts.append(self._fact(name, shown[name], sources[name], offers[0]))
            elif name != "type":
                facts.append(self._bundled(name, shown[name], offers))
        return [*facts, *self._derived_type(offers[0], is_known="type" in sources)]

    def _bundled(self, name: str, value: Any, offers: Sequence[Offer]) -> Fact:
        with_facts = (
            each for each in offers if each.facts and name in msgspec.json.decode(each.facts.bundled or b"{}")
        )
        offer = next(with_facts, offers[0])
        text = f"from {bundled().label(self._now)}: no provider reports it"
        return Fact(name, value, offer.provider, "bundled", [self._reasons.of("facts", "sets", text, "facts")])

    def _derived_type(self, offer: Offer, *, is_known: bool) -> Iterator[Fact]:
        """The type that follows from other facts or from the name, if it is shown, or access rules read it."""
        facts, own_id = facts_of(offer), (offer.alias_of or offer).entry.id
        if is_known or not (self._shows_types or self._config.has_fact_rules):
            return
        note = "" if self._shows_types else "; the list does not show it"
        if facts.type_source == "name":
            text = f"the model family of the id {own_id!r}, because no provider reports a type{note}"
            yield Fact("type", facts.type, offer.provider, "name", [Reason("type", "sets", text)])
        elif facts.type_source == "modalities":
            text = f"its modalities, because no provider reports a type{note}"
            yield Fact("type", facts.type, offer.provider, "modalities", [Reason("type", "sets", text)])

    def _sources(self, offers: Sequence[Offer]) -> dict[str, Offer]:
        """Fact -> the offer that it comes from, found by merging one offer more at a time."""
        combined = combining(ignore_case=self._config.merge.ignore_case, fill=self._config.merge.fill)
        sources: dict[str, Offer] = {}
        for number, offer in enumerate(offers, 1):
            fields = msgspec.json.decode(combined(tuple(offers[:number])).offers[0].entry.extra)
            for name in FACTS:
                if fields.get(name) is not None:
                    sources.setdefault(name, offer)
        return sources

    def _fact(self, name: str, value: Any, offer: Offer, first: Offer) -> Fact:
        source, reason = self._of_offer(name, value, offer)
        reasons = [reason] if offer is first else [self._of_other(offer, first), reason]
        return Fact(name, value, offer.provider, source, reasons)

    def _of_other(self, offer: Offer, first: Offer) -> Reason:
        """Why a value is not that of the first offer."""
        if offer.id != first.id:
            text = f"from {offer.provider}, which lists it as {offer.id!r}"
            return self._reasons.of("ignore_case", "sets", text, "merge", "ignore_case")
        text = f"from {offer.provider}, because {first.provider} reports none"
        return self._reasons.of("fill", "sets", text, "merge", "fill")

    def _of_offer(self, name: str, value: Any, offer: Offer) -> tuple[Source, Reason]:
        provider, own_id = self._providers[offer.provider], (offer.alias_of or offer).entry.id
        for index, given in reversed([*matching_overrides(provider, own_id)]):
            if field := next((each for each in given if each.partition(".")[0] == name), ""):
                text = f"set by overrides for {', '.join(provider.overrides[index].match)}"
                return "override", self._of(provider, "overrides", text, "overrides", index, field)
        for index, declared in enumerate(provider.models):
            if declared["id"] == own_id and name in declared:
                return "declared", self._of(provider, "models", "declared in the file", "models", index)
        if name == "display_name" and str(value).endswith(f"({label_of(offer.id, own_id)})"):
            return "provider", Reason("fields", "sets", "the provider's field, with what its id has in addition")
        return "provider", Reason("fields", "sets", _field_text(provider, offer, name, value))

    def _of(self, provider: Provider, rule: str, text: str, *path: str | int) -> Reason:
        return (
            self._reasons.of_provider(rule, "sets", text, provider.name, *path) if path else Reason(rule, "sets", text)
        )

    def _created(self, model: Model, offers: Sequence[Offer]) -> Fact:
        unique = [*{offer.provider: offer for offer in reversed(offers)}.values()][::-1]
        offer = created_from(unique)
        if offer.created == 0:
            reason = Reason("created", "sets", self._why_unknown(unique))
            return Fact("created", 0, "", "none", [reason, *_placeholders(unique)])
        source, reason = self._of_time(offer)
        reasons = [reason]
        if offer.created in PLACEHOLDERS:
            text = "a placeholder; no other provider of the model sends a time"
            reasons = [Reason("created", "sets", text), reason]
        elif len(unique) > 1:
            ignored = [other.provider for other in unique if other.created in PLACEHOLDERS]
            without = f", without {', '.join(ignored)} (unknown or a placeholder)" if ignored else ""
            text = f"from {offer.provider}, the earliest time of {len(unique)} offers{without}"
            reasons = [Reason("created", "sets", text), reason]
        return Fact("created", model.created, offer.provider, source, reasons)

    def _of_time(self, offer: Offer) -> tuple[Source, Reason]:
        """The source of a creation time."""
        provider, own_id = self._providers[offer.provider], (offer.alias_of or offer).entry.id
        for index, given in matching_overrides(provider, own_id):
            if "created" in given:
                text = f"set by overrides for {', '.join(provider.overrides[index].match)}"
                return "override", self._of(provider, "overrides", text, "overrides", index, "created")
        for index, declared in enumerate(provider.models):
            if declared["id"] == own_id and declared.get("created"):
                return "declared", self._of(provider, "models", "declared in the file", "models", index)
        return "provider", Reason("fields", "sets", f"the provider's field {_field_of_time(provider.dialect, offer)}")

    def _why_unknown(self, offers: Sequence[Offer]) -> str:
        withheld = [each.provider for each in offers if each.entry.id in self._withheld.get(each.provider, frozenset())]
        if withheld:
            return f"unknown: {', '.join(withheld)} sends the time of the request, or a time that changes"
        return "unknown: no provider of the model sends a time"


def _placeholders(offers: Sequence[Offer]) -> list[Reason]:
    """The providers whose time is not used because it is a placeholder."""
    ignored = [each.provider for each in offers if each.created and each.created in PLACEHOLDERS]
    return [Reason("created", "no_match", f"the time of {', '.join(ignored)} is a placeholder")] if ignored else []


def _field_of_time(dialect: Dialect, offer: Offer) -> str:
    """The field with a creation time: one that is shown with this time, otherwise those that are never shown."""
    fields = msgspec.json.decode(offer.entry.extra)
    for path in dialect.created:
        if any(unix_seconds(value) == offer.created for value in values_at(fields, path)):
            return path
    hidden = (*RESERVED_FIELDS, *dialect.private)
    return _either([path for path in dialect.created if path in hidden] or dialect.created)


def _field_text(provider: Provider, offer: Offer, name: str, value: Any) -> str:
    fields = msgspec.json.decode(offer.entry.extra)
    found = [*_fields_with(provider.dialect, fields, name, value)]
    own = [path for path in found if path != name]
    if own:
        return f"the provider's field {own[0]}"
    if given := [path for path in provider.dialect.extra.get(name, ()) if path.partition(".")[0] not in fields]:
        return f"the provider's field {_either(given)}"
    return f"the provider's field {name}"


def _fields_with(dialect: Dialect, fields: Mapping[str, Any], name: str, value: Any) -> Iterator[str]:
    """The fields of an entry that have this value of a fact, in the order of preference of the reader."""
    plan = dialect.plan(tuple(fields))
    sources = plan.sources(plan.shape_of(fields)) if plan.groups else plan.extra
    for source in sources.fields:
        raw = source.get(fields)
        read = source.read(raw, dialect.price_per) if raw is not None else None
        if read is not None and (read == value if source.name == name else not source.name and read.get(name) == value):
            yield source.field


def _either(paths: Sequence[str]) -> str:
    """`a`; `a or another one` if it is not known which of several the provider has sent."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} or another one of the same meaning"

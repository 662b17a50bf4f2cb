"""The differences between two lists of a provider, for the change feed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.catalog import Offer
from proxy.cooperative import Cooperative, batched
from proxy.dialects import EXTRA_NAMES
from proxy.telemetry.changes import MAX_TEXT, Change, ChangeType, FieldChange

MAX_MODELS = 100
"""Maximum models of one kind of change that are recorded; of further ones only the number is."""
FACTS = tuple(sorted(EXTRA_NAMES.keys() - {"description", "updated_at"}))
"""The fields that are compared, with the owner. Others, such as a load, may differ in every response."""
_IDS_PER_STEP = 2000
_MAX_VALUE = 300
"""Maximum bytes of a value in a change."""
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode

Offers = Mapping[str, Sequence[Offer]]
"""Provider -> its offers, in the configured order of providers."""


def differences(provider: str, before: Sequence[Offer], after: Offers, at: float) -> Cooperative[Sequence[Change]]:
    """The changes of one provider's list. `after`: the offers of all providers now; `at`: Unix seconds.

    A model that other providers offer, too, is neither added nor removed: it changes its providers.
    """
    old = yield from _by_id(before)
    new = yield from _by_id(after.get(provider, ()))
    added = [public_id for public_id in reversed(new) if public_id not in old]
    removed = [public_id for public_id in reversed(old) if public_id not in new]
    yield
    others = yield from _others(provider, {*added, *removed}, after)
    names = [*after]
    changes: dict[ChangeType, list[Change]] = {"model_added": [], "model_removed": [], "model_changed": []}

    def add(kind: ChangeType, model: str, fields: tuple[FieldChange, ...] = ()) -> None:
        changes[kind].append(Change(at=at, type=kind, provider=provider, model=model[:MAX_TEXT], fields=fields))

    for kind, models in (("model_added", added), ("model_removed", removed)):
        for model in models:
            if others.get(model):
                without = sorted(others[model], key=names.index)
                present = [name for name in names if name == provider or name in others[model]]
                pair = (without, present) if kind == "model_added" else (present, without)
                add("model_changed", model, (FieldChange("providers", *pair),))
            else:
                add(kind, model)  # type: ignore[arg-type]  # of the tuple above
    for batch in batched((yield from _changed(old, [*reversed(new.values())]))):
        for earlier, offer in batch:
            if fields := tuple(_changed_fields(earlier, offer)):
                add("model_changed", offer.id, fields)
        yield
    return [change for kind, of_kind in changes.items() for change in _bounded(kind, of_kind, provider, at)]


def _bounded(kind: ChangeType, changes: Sequence[Change], provider: str, at: float) -> Iterator[Change]:
    yield from changes[:MAX_MODELS]
    if further := len(changes[MAX_MODELS:]):
        yield Change(at=at, type=kind, provider=provider, more=further)


def _by_id(offers: Sequence[Offer]) -> Cooperative[dict[str, Offer]]:
    """Public id -> its first offer, the last one first: an offer replaces those after it."""
    found: dict[str, Offer] = {}
    for end in range(len(offers), 0, -_IDS_PER_STEP):
        found.update({offer.id: offer for offer in reversed(offers[max(0, end - _IDS_PER_STEP) : end])})
        yield
    return found


def _others(provider: str, models: Collection[str], offers: Offers) -> Cooperative[Mapping[str, Collection[str]]]:
    """Model -> the other providers that offer it."""
    found: dict[str, set[str]] = {}
    for name, of_provider in offers.items() if models else ():
        for start in range(0, 0 if name == provider else len(of_provider), _IDS_PER_STEP):
            for offer in of_provider[start : start + _IDS_PER_STEP]:
                if offer.id in models:
                    found.setdefault(offer.id, set()).add(name)
            yield
    return found


def _changed(before: Mapping[str, Offer], after: Sequence[Offer]) -> Cooperative[list[tuple[Offer, Offer]]]:
    """The offers that may have changed: an entry with unchanged bytes is usually the same object."""
    changed: list[tuple[Offer, Offer]] = []
    for start in range(0, len(after), _IDS_PER_STEP):
        changed += [
            (earlier, offer)
            for offer in after[start : start + _IDS_PER_STEP]
            if (earlier := before.get(offer.id)) is not None
            and (earlier.entry is not offer.entry or earlier.owned_by != offer.owned_by)
        ]
        yield
    return changed


def _changed_fields(before: Offer, after: Offer) -> Iterator[FieldChange]:
    if before.owned_by != after.owned_by:
        yield FieldChange("owned_by", before.owned_by[:_MAX_VALUE], after.owned_by[:_MAX_VALUE])
    if before.entry.extra != after.entry.extra:
        old, new = _DECODE(before.entry.extra), _DECODE(after.entry.extra)
        for name in FACTS:
            values = _value(old, name), _value(new, name)
            if values[0] != values[1]:
                yield FieldChange(name, *values)


def _value(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None if there is none, and the beginning of its text if it is long."""
    value: Any = fields
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    text = _ENCODE(value)
    return value if len(text) <= _MAX_VALUE else text[:_MAX_VALUE].decode(errors="replace")

"""Which models a provider has gained and lost."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.catalog import Offer
from proxy.cooperative import Cooperative
from proxy.store.slot import Slot
from proxy.telemetry.events import ModelsChange

_IDS_PER_STEP = 2000
"""Ids that are compared before other work has its turn: 0.2 ms."""


def models_change(slot: Slot, before: Sequence[Offer]) -> Cooperative[ModelsChange | None]:
    """The public ids that were added and removed; None if only fields of models have changed."""
    old: dict[str, None] = {}
    new: dict[str, None] = {}
    for ids, offers in ((old, before), (new, slot.offers)):
        for start in range(0, len(offers), _IDS_PER_STEP):
            ids.update((offer.id, None) for offer in offers[start : start + _IDS_PER_STEP])
            yield
    added = [public_id for public_id in new if public_id not in old]
    removed = [public_id for public_id in old if public_id not in new]
    return ModelsChange(slot.provider.name, added, removed) if added or removed else None

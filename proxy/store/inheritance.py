"""Reuse the lists of an earlier configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.catalog import Offer
from proxy.cooperative import NEXT_TURN, run_yielding
from proxy.store.changes import models_change
from proxy.store.slot import Slot
from proxy.telemetry.events import ModelsChange


async def inherit_lists(
    slots: Mapping[str, Slot],
    before: Mapping[str, Slot],
    *,
    same_rules: bool,
    on_models: Callable[[ModelsChange], None],
) -> Mapping[str, Sequence[Offer]]:
    """Let all slots inherit, in steps. Returns provider -> its offers before, for those with other ones now, or none.

    `same_rules`: the rules that all providers share are the same.
    """
    changed = {name: slot.offers for name, slot in before.items() if name not in slots}
    for name in slots.keys() & before.keys():
        slot, earlier = slots[name], before[name]
        await run_yielding(slot.inherit(earlier, same_rules=same_rules))
        has_list = slot.listing is not None or not slot.provider.is_remote
        if has_list and slot.offers is not earlier.offers:
            changed[name] = earlier.offers
            if change := await run_yielding(models_change(slot, earlier.offers)):
                on_models(change)
        await NEXT_TURN
    return changed

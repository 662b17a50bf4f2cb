"""Whether a name that is not listed may be listed soon, because a list is missing: then it is 503 instead of 404. Pure.

It never depends on the models of other keys: before a list is there, the answer is the same for all names; the names of
an expired list count only for keys whose rules allow them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proxy.access import Policy
from proxy.config.routing import VirtualModel
from proxy.store.slot import Slot

MAX_START = 600.0
"""Seconds after the start in which a list that was never fetched is expected: a typo must not be retried forever."""
_MIN_WAIT = 1.0


def seconds_until_known(
    name: str, policy: Policy, slots: Iterable[Slot], virtual: Sequence[VirtualModel], now: float
) -> float:
    """Return after how many seconds a name that is not listed may be; 0 if it is unknown or not allowed.

    `now`: monotonic seconds.
    """
    waits = [slot.next_attempt_at - now for slot in _missing(name, policy, slots, virtual, now)]
    return max(_MIN_WAIT, min(waits)) if waits else 0.0


def seconds_to_next_attempt(slots: Iterable[Slot], now: float) -> float:
    """Return after how many seconds the next refresh of any provider starts, at least 1. `now`: monotonic seconds."""
    waits = [slot.next_attempt_at - now for slot in slots if slot.provider.is_remote]
    return max(_MIN_WAIT, min(waits, default=_MIN_WAIT))


def _missing(
    name: str, policy: Policy, slots: Iterable[Slot], virtual: Sequence[VirtualModel], now: float
) -> Iterator[Slot]:
    """Yield the providers whose missing list may contain the name."""
    model = next((model for model in virtual if model.id == name), None)
    names, allows = (model.targets, policy.target_filter(name)) if model else ((name,), policy.allows)
    for slot in slots:
        is_awaited = slot.provider.is_remote and not slot.has_answered and now < slot.since + MAX_START
        expired = (offer for each in names for offer in slot.expired.get(each, ()))
        if (is_awaited and policy.may_allow(slot.provider.name)) or (allows and any(map(allows, expired))):
            yield slot

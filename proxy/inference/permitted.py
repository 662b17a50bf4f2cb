"""Where calls may fail over to (`failover_to`). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from proxy.catalog.values import TargetOffer
from proxy.inference.routing import Candidate


def permitted(
    batch: Sequence[Candidate], failover_to: Mapping[str, str], new_offers: Mapping[str, Collection[str]]
) -> Sequence[Candidate]:
    """Return the first candidate, and those that every one before them permits (`failover_to`, by provider).

    `any` permits all; `listed` no new offer (`new_offers`: provider -> own ids); `same_owner` in addition only the same
    owner. The operator has selected the targets of a virtual model: another target is permitted whatever its owner is,
    and even if all of its offers are new.
    """

    def is_new(candidate: Candidate) -> bool:
        return candidate.offer.entry.id in new_offers.get(candidate.offer.provider, ())

    def may_follow(candidate: Candidate, before: Candidate) -> bool:
        to = failover_to[before.offer.provider]
        if to == "any":
            return True
        target = _target(candidate)
        if target != _target(before):
            return not is_new(candidate) or all(is_new(each) for each in batch if _target(each) == target)
        return not is_new(candidate) and (to == "listed" or candidate.offer.owned_by == before.offer.owned_by)

    result = [batch[0]]
    for candidate in batch[1:]:
        if all(may_follow(candidate, before) for before in result):
            result.append(candidate)
    return result


def _target(candidate: Candidate) -> str:
    """The target of a virtual model, "" for any other model."""
    return candidate.offer.target if isinstance(candidate.offer, TargetOffer) else ""

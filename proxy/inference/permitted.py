"""Where calls may fail over to (`failover_to`). Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from proxy.catalog.values import TargetOffer
from proxy.inference.routing import Candidate

Refusal = Literal["new offer", "other owner"]
"""Why calls do not fail over to an offer."""


def permitted(
    batch: Sequence[Candidate], failover_to: Mapping[str, str], new_offers: Mapping[str, Collection[str]]
) -> Sequence[Candidate]:
    """Return the first candidate, and those that every one before them permits (`failover_to`, by provider).

    `any` permits all; `listed` no new offer (`new_offers`: provider -> own ids); `same_owner` in addition only the same
    owner. The operator has selected the targets of a virtual model: another target is permitted whatever its owner is,
    and even if all of its offers are new.
    """

    refuses = refuser(batch, failover_to, new_offers)
    result = [batch[0]]
    for candidate in batch[1:]:
        if not any(refuses(candidate, before) for before in result):
            result.append(candidate)
    return result


def refuser(
    batch: Sequence[Candidate], failover_to: Mapping[str, str], new_offers: Mapping[str, Collection[str]]
) -> Callable[[Candidate, Candidate], Refusal | None]:
    """Return a function: why the first of two candidates must not follow the second one, None if it can."""

    def is_new(candidate: Candidate) -> bool:
        return candidate.offer.entry.id in new_offers.get(candidate.offer.provider, ())

    def refusal(candidate: Candidate, before: Candidate) -> Refusal | None:
        to = failover_to[before.offer.provider]
        if to == "any":
            return None
        target = _target(candidate)
        if target != _target(before):
            has_other = any(not is_new(each) for each in batch if _target(each) == target)
            return "new offer" if is_new(candidate) and has_other else None
        if is_new(candidate):
            return "new offer"
        return None if to == "listed" or candidate.offer.owned_by == before.offer.owned_by else "other owner"

    return refusal


def _target(candidate: Candidate) -> str:
    """The target of a virtual model, "" for any other model."""
    return candidate.offer.target if isinstance(candidate.offer, TargetOffer) else ""

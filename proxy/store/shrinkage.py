"""Whether a list that lost many models is accepted: only after several responses over `confirm_empty`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.config import Provider

SHRINK_FROM = 5
"""A list of more models than this must be confirmed if it loses more than half of them."""
CONFIRMATIONS = 3
"""Minimum number of responses in a row that lost the same models, the first included."""


@dataclass(frozen=True)
class Shrinkage:
    """Responses in a row of similar length that are much shorter than the list before them."""

    before: int
    """Number of models of the list before the first of them."""
    models: int
    """Number of models of the first of them."""
    since: float
    """Monotonic seconds of the first of them."""
    responses: int = 1
    """Their number; 0 after a failed refresh, because only responses in a row confirm a list."""


def shrinkage_after(
    provider: Provider, pending: Shrinkage | None, before: int, models: int, now: float
) -> Shrinkage | None:
    """What must be confirmed after a complete list of `models` models, None if it is accepted.

    `pending`: what had to be confirmed before it; `before`: number of models shown so far; `now`: monotonic seconds.
    """
    if not has_shrunk(before, models) or (models == 0 and provider.may_be_empty):
        return None
    if pending is None or not pending.responses or not _is_similar(pending.models, models):
        return Shrinkage(before, models, now)
    pending = replace(pending, responses=pending.responses + 1)
    is_confirmed = pending.responses >= CONFIRMATIONS and now >= pending.since + provider.confirm_empty
    return None if is_confirmed else pending


def _is_similar(models: int, others: int) -> bool:
    return not has_shrunk(models, others) and not has_shrunk(others, models)


def has_shrunk(before: int, now: int) -> bool:
    """Whether a list lost so many models that it must be confirmed."""
    return before > 0 and (now == 0 or (before > SHRINK_FROM and now * 2 < before))

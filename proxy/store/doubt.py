"""Whether a list that lost many models is believed: only after several responses over `confirm_empty`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.config import Provider

SHRINK_FROM = 5
"""A list of more models than this must be confirmed if it loses more than half of them."""
CONFIRMATIONS = 3
"""Minimum number of responses in a row that lost the same models, the first included."""


@dataclass(frozen=True)
class Doubt:
    """Responses in a row of similar length that are much shorter than the list before them."""

    before: int
    """Number of models of the list before the first of them."""
    models: int
    """Number of models of the first of them."""
    since: float
    """Monotonic seconds of the first of them."""
    responses: int = 1
    """Their number; 0 after a failed refresh, because only responses in a row confirm a list."""


def doubt_of(provider: Provider, doubt: Doubt | None, before: int, models: int, now: float) -> Doubt | None:
    """The doubt after a whole list of `models` models, None if it is believed.

    `doubt`: the doubt before it; `before`: number of models known so far, `now`: monotonic seconds.
    """
    if not has_shrunk(before, models) or (models == 0 and provider.may_be_empty):
        return None
    if doubt is None or not doubt.responses or has_shrunk(doubt.models, models) or has_shrunk(models, doubt.models):
        return Doubt(before, models, now)
    doubt = replace(doubt, responses=doubt.responses + 1)
    is_confirmed = doubt.responses >= CONFIRMATIONS and now >= doubt.since + provider.confirm_empty
    return None if is_confirmed else doubt


def has_shrunk(before: int, now: int) -> bool:
    """Whether a list lost so many models that it must be confirmed."""
    return before > 0 and (now == 0 or (before > SHRINK_FROM and now * 2 < before))

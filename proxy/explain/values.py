"""The explanation of one model, as `GET /admin/explain` and `models-proxy explain --json` return it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

Verdict = Literal["listed", "accepted", "denied", "not_listed", "unknown"]
"""`listed`: in the list of the caller; `accepted`: not listed, but can be called; `denied`: the caller's rules deny it;
`not_listed`: a provider has a model of this name, but settings remove or rename it; `unknown`: no provider has it."""

Effect = Literal["keeps", "removes", "renames", "changes", "sets", "allows", "denies", "no_match", "stops"]


class Reason(Struct, frozen=True):
    """One decision, and the setting that causes it."""

    rule: str
    """The name of the setting, or of the rule that has none."""
    effect: Effect
    text: str
    setting: str = ""
    """Like `providers[2].exclude[0]`, "" if no file contains it."""
    file: str = ""
    line: int = 0


class ProviderModel(Struct, frozen=True):
    """One model of a provider, from its list to its public ids."""

    id: str
    """The provider's own id."""
    written: str
    """The id as the provider writes it, if a prefix was removed from it, else ""."""
    is_listed: bool
    """Whether the list of the provider contains it."""
    is_declared: bool
    ids: Sequence[str]
    """Its public ids; none if it is removed."""
    owned_by: str
    """"" if it is removed before its owner is determined."""
    reasons: Sequence[Reason]


class ProviderPart(Struct, frozen=True):
    """What one provider has under the requested name."""

    name: str
    state: str
    """As in `/health`; `skipped` and `disabled`, too."""
    error: str
    """Why the list is not complete and current, "" if it is."""
    is_known: bool
    """Whether its models are known."""
    had_it: bool
    """Whether its last list, which has expired, contained the name."""
    dropped: Mapping[str, int]
    """Reason -> entries of the list that are no models, or cannot be read."""
    models: Sequence[ProviderModel]
    accepts: Reason | None
    """Why it accepts the name without listing it, null if it does not."""


class RulePart(Struct, frozen=True):
    """One access rule of the caller."""

    rule: str
    effect: Literal["allows", "denies", "no_match"]
    providers: Sequence[str]
    """The providers whose model it matches; none for a virtual model itself."""
    setting: str = ""
    file: str = ""
    line: int = 0


class AccessPart(Struct, frozen=True):
    """What the rules of the caller decide."""

    caller: str
    origin: str
    """Whose rules they are: `key alice` or `group staff`."""
    rules: Sequence[RulePart]
    """In the order of the file."""
    reasons: Sequence[Reason]
    """What applies besides the rules."""


class LimitPart(Struct, frozen=True):
    """One limit of the caller."""

    group: str | None
    """The group whose members it limits together; null if it is that of the caller alone."""
    limit: str
    """`requests`, `tokens`, `concurrent` or `list_requests`."""
    per: str | None
    """`s`, `m`, `h`, `d` or `month`; null for `concurrent`."""
    amount: int
    remaining: int | None
    reset_seconds: float | None
    """Seconds until it is unused. null, like `remaining`, without a running server, and for a group's members."""
    setting: str = ""
    file: str = ""
    line: int = 0


Source = Literal["provider", "declared", "override", "owner", "bundled", "modalities", "name", "none"]
"""Where a value comes from. `owner`: as in `reasons`; `bundled`: from `genai-prices`; `modalities`: from these; `name`:
from the family in the name of the model; `none`: it is unknown."""


class Fact(Struct, frozen=True):
    """One field of the listed model."""

    name: str
    value: Any
    provider: str
    """The provider whose offer it comes from, "" if it comes from none."""
    source: Source
    reasons: Sequence[Reason]
    """How the offer got the value; before that, why it is not that of the first offer."""


class OfferPart(Struct, frozen=True):
    """One offer of the model."""

    provider: str
    id: str
    """The provider's own id."""
    owned_by: str
    created: int
    target: str
    """The target of a virtual model, else ""."""
    is_allowed: bool
    reasons: Sequence[Reason]


class CallPart(Struct, frozen=True):
    """One offer, and whether calls are sent to it."""

    provider: str
    id: str
    """The id that is sent."""
    position: int
    """From 1, in the order in which offers are tried; 0 if calls are not sent to it."""
    is_skipped: bool
    """Whether calls are rejected at the moment: circuit breaker, cool-down."""
    reasons: Sequence[Reason]


class Calls(Struct, frozen=True):
    """Which offers serve a call."""

    can_call: bool
    strategy: str
    candidates: Sequence[CallPart]
    reasons: Sequence[Reason]


class Near(Struct, frozen=True):
    """A similar id, and why it is not the requested model."""

    id: str
    providers: Sequence[str]
    is_allowed: bool
    """Whether the caller can use it under its own id."""
    reasons: Sequence[Reason]


class Explanation(Struct, frozen=True):
    """Why a model is listed or not, and which offer serves its calls."""

    model: str
    key: str | None
    """The name of the key; "" for requests without a key; None if no key was requested."""
    verdict: Verdict
    text: str
    id: str
    """The public id, if it is listed or accepted: a name can be another spelling of it."""
    owned_by: str
    created: int
    is_virtual: bool
    targets: Sequence[str]
    providers: Sequence[ProviderPart]
    access: AccessPart | None
    limits: Sequence[LimitPart]
    offers: Sequence[OfferPart]
    """All offers of the id; the first one that is allowed gives the fields."""
    facts: Sequence[Fact]
    calls: Calls | None
    nearest: Sequence[Near]

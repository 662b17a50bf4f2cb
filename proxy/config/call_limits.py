"""The settings `limits` and `group_limits` of keys and groups: how much callers may use in which time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BeforeValidator

from proxy.config.fields import Settings, whole

Unit = Literal["s", "m", "h", "d", "month"]
UNITS: tuple[Unit, ...] = get_args(Unit)
UNIT_NAMES: Mapping[str, str] = {"s": "second", "m": "minute", "h": "hour", "d": "day", "month": "month"}
"""The names of units in messages."""
SLIDING: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds of sliding windows. Days and months are those of the calendar."""
MAX_CONCURRENT = 1_000_000

_RATE = re.compile(r"([0-9]{1,15})(k|M|G)?\s*/\s*(s|m|h|d|month)")
_FACTORS = {None: 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}
_MAX_AMOUNT = 10**15


class Rate(NamedTuple):
    """An amount per unit of time."""

    amount: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount}/{self.unit}"


def rates(value: object) -> tuple[Rate, ...]:
    """`600/m`, or a list of several, such as `[600/m, 2M/d]`."""
    written = value if isinstance(value, list | tuple) else (value,)
    rates = tuple(item if isinstance(item, Rate) else _rate(item) for item in written)
    if len({rate.unit for rate in rates}) < len(rates):
        raise ValueError("must not have two limits with the same unit; remove one")
    return rates


def _rate(value: object) -> Rate:
    match = _RATE.fullmatch(str(value).strip())
    amount = int(match[1]) * _FACTORS[match[2]] if match else 0
    if match is None or not 0 < amount <= _MAX_AMOUNT:
        raise ValueError("must be a positive number per s, m, h, d or month, like 600/m or [600/m, 2M/d]")
    return Rate(amount, match[3])  # type: ignore[arg-type]  # one of these units


Rates = Annotated[tuple[Rate, ...], BeforeValidator(rates)]


class CallLimits(Settings):
    """The limits of a caller, or of all callers of a group together. Settings that are missing do not limit."""

    requests: Rates = ()
    """Calls."""
    tokens: Rates = ()
    """Input and output tokens of calls."""
    concurrent: Annotated[int | None, whole(1, MAX_CONCURRENT)] = None
    """Calls in progress."""
    list_requests: Rates = ()
    """Requests for lists of models, and for single models."""

    @property
    def needs_store(self) -> bool:
        """Whether a limit per day or month is set: without a store, its counters are lost at a restart."""
        rates = (*self.requests, *self.tokens, *self.list_requests)
        return any(rate.unit not in SLIDING for rate in rates)

    def with_defaults(self, other: CallLimits | None) -> CallLimits:
        """Return these limits, and those of `other` that are not set here."""
        if other is None:
            return self
        return other.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def written(self) -> dict[str, object]:
        """Return the settings as they could be written in the file."""
        return {
            name: [str(rate) for rate in value] if isinstance(value, tuple) else value
            for name in self.model_fields
            if (value := getattr(self, name))
        }

"""Read from the headers of a rate limit when it ends, for providers that do not send `Retry-After`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from proxy.asgi import Header

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_RESET = re.compile(r"(?:.+-)?rate-?limit-.*reset.*")
_MIN_UNIX = 1_000_000_000
_MIN_MILLISECONDS = 100_000_000_000


def seconds_until_reset(headers: Iterable[Header], now: float) -> float | None:
    """Return the seconds until all limits of which nothing remains are reset; None if no header reports that.

    `headers`: names in lower case. `now`: Unix seconds. Names and values differ: `x-ratelimit-reset-requests: 6m0s`,
    `anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z`, `ratelimit-reset: 30`, `x-ratelimit-reset: 1767225600000`.
    """
    values = {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in headers}
    return max(_waits(values, now), default=None)


def _waits(values: Mapping[str, str], now: float) -> Iterator[float]:
    for name, value in values.items():
        if not _RESET.fullmatch(name):
            continue
        remaining = values.get(name.replace("reset-after", "remaining").replace("reset", "remaining"), "")
        if _NUMBER.fullmatch(remaining) and float(remaining) == 0 and (wait := seconds_in(value, now)) is not None:
            yield wait


def seconds_in(value: str, now: float) -> float | None:
    """Return the seconds that a duration, a number of seconds or a time means; None for anything else."""
    if _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, value))
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number < _MIN_UNIX:
            return number
        return max(0.0, (number / 1000 if number >= _MIN_MILLISECONDS else number) - now)
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return max(0.0, (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() - now)

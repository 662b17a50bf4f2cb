"""Creation times as providers write them -> whole Unix seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MILLISECONDS_FROM = 10**11  # as seconds this would be the year 5138
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second a date can name


def unix_seconds(value: object) -> int:
    """Unix seconds of a number, a numeral or an ISO 8601 time; 0 where the value tells no time.

    Milliseconds, microseconds and nanoseconds are told by their size (Poe sends milliseconds). A time without a
    zone is taken as UTC. Never raises.
    """
    if isinstance(value, bool):
        return 0
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, int | float) and math.isfinite(value):
        return _in_range(value)
    return 0


def _from_text(text: str) -> int:
    try:
        return _in_range(float(text)) if text.replace(".", "", 1).isdecimal() else _from_iso(text)
    except (ValueError, OverflowError):
        return 0


def _from_iso(text: str) -> int:
    # From Python 3.11 on this takes "Z", offsets and any number of fraction digits (Ollama sends nine).
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return _in_range(time.timestamp())


def _in_range(seconds: float) -> int:
    while _MILLISECONDS_FROM <= seconds < math.inf:
        seconds = seconds / 1000
    return int(seconds) if 0 < seconds <= _LATEST else 0

"""Convert creation times in the formats that providers use to integer Unix seconds."""

from __future__ import annotations

from datetime import UTC, date, datetime

_NOT_SECONDS = 10**11  # as seconds, this would be the year 5138
_UNITS = (1, 10**3, 10**6, 10**9)  # seconds, milliseconds, microseconds, nanoseconds
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that datetime supports
_AFTER_DAYS = 10**8  # a number of eight digits is a day (20240501), since as seconds it would be in 1970 to 1973
_YEARS = range(1900, 2101)  # a number of these is a year, not a time in 1970
_COMPACT = (8, 14)  # digits of 20240501 and 20240501103000; as Unix times they would be in 1970 and 2611


def unix_seconds(value: object) -> int:
    """Unix seconds of a number, a numeric string, an ISO 8601 time or a date; 0 if the value is not a time.

    Milliseconds, microseconds and nanoseconds are recognized by their size (Poe sends milliseconds). A time without
    a zone is interpreted as UTC. Never raises.
    """
    if type(value) is int and _AFTER_DAYS <= value < _NOT_SECONDS:
        return value  # the common case
    if value is None or isinstance(value, bool):
        return 0
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, date):  # YAML has dates
        return _from_text(value.isoformat())
    if isinstance(value, int) and _AFTER_DAYS // 10 <= value < _AFTER_DAYS:
        return _from_text(str(value))
    return _from_number(value) if isinstance(value, int | float) else 0


def _from_text(text: str) -> int:
    try:
        if text.isdecimal() and len(text) in _COMPACT:
            return _from_iso(f"{text[:8]}T{text[8:] or '00'}")
        return _from_number(float(text)) if text.replace(".", "", 1).isdecimal() else _from_iso(text)
    except (ValueError, OverflowError):
        return 0


def _from_iso(text: str) -> int:
    # Python 3.11 and later accept "Z", offsets and any number of fraction digits (Ollama sends nine).
    time = datetime.fromisoformat(text).replace(microsecond=0)
    return _in_range(time if time.tzinfo else time.replace(tzinfo=UTC))


def _in_range(time: datetime) -> int:
    seconds = int(time.timestamp())
    return seconds if 0 < seconds <= _LATEST else 0


def _from_number(number: float) -> int:
    if number in _YEARS:
        return 0
    # Compared without converting, because JSON integers can exceed the range of a float.
    unit = next((unit for unit in _UNITS if 0 < number < _NOT_SECONDS * unit), 0)
    return int(number // unit) if unit else 0

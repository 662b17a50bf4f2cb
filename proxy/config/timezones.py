"""Names of time zones, as in the IANA database (`Europe/Berlin`)."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cache

UTC_NAME = "UTC"


def timezone_name(name: str) -> str:
    """The name of a time zone in this machine's database."""
    zone_of(name)
    return name


@cache
def zone_of(name: str) -> tzinfo:
    """Raises ValueError for an unknown name. UTC needs no database, which some container images do not contain."""
    if name == UTC_NAME:
        return UTC
    from zoneinfo import ZoneInfo  # only if it is needed

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a path, a directory, no such file
        raise ValueError("must be a time zone of this machine, like UTC or Europe/Berlin") from None

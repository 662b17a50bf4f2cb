"""The response headers for a model that its provider will shut down, or has deprecated."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import msgspec

from proxy.asgi import Header
from proxy.dialects.entry import Entry

RETIREMENT = frozenset((b"deprecation", b"sunset"))
"""The names of the headers."""
_NAMES = (b'"shutdown_at"', b'"deprecated_at"')
_MAX_TIME = 253_402_300_799
"""The last second of the year 9999."""
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


def retirement_headers(entry: Entry) -> Sequence[Header]:
    """Return `Deprecation` (RFC 9745) and `Sunset` (RFC 8594) for the known dates of a model; none for most models.

    A model with only a shutdown date is deprecated from then on at the latest.
    """
    extra = entry.extra
    return _headers(extra) if _NAMES[0] in extra or _NAMES[1] in extra else ()


@lru_cache(1000)
def _headers(extra: bytes) -> Sequence[Header]:
    fields = _DECODE(extra)
    shutdown, deprecated = _time(fields.get("shutdown_at")), _time(fields.get("deprecated_at"))
    headers: list[Header] = []
    if (since := min(filter(None, (shutdown, deprecated)), default=0)) > 0:
        headers.append((b"deprecation", b"@%d" % since))
    if shutdown:
        headers.append((b"sunset", formatdate(shutdown, usegmt=True).encode()))
    return headers


def _time(value: object) -> int:
    """Unix seconds, 0 for anything else."""
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MAX_TIME
    return int(value) if is_time else 0  # type: ignore[call-overload]  # a number

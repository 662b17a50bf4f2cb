"""Content negotiation: `Accept-Encoding` and `If-None-Match`."""

from __future__ import annotations

from functools import lru_cache

_MAX_ACCEPT = 512
_MAX_IF_NONE_MATCH = 8192


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Return whether an `Accept-Encoding` header allows gzip (RFC 9110, 12.5.3); False for headers above 512 bytes."""
    return len(accept_encoding) <= _MAX_ACCEPT and _allows_gzip(accept_encoding)


# The cache is bounded, because clients control its keys.
@lru_cache(maxsize=1024)
def _allows_gzip(accept_encoding: bytes) -> bool:
    weights: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        coding, _, parameters = part.partition(";")
        name, _, weight = parameters.strip().partition("=")
        try:
            weights[coding.strip()] = float(weight) if name == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return max(weights.get("gzip", weights.get("*", 0.0)), weights.get("x-gzip", 0.0)) > 0


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether an `If-None-Match` header matches this ETag (weak comparison, RFC 9110, 13.1.2)."""
    if not 0 < len(if_none_match) <= _MAX_IF_NONE_MATCH:
        return False
    if if_none_match == etag:
        return True  # the common case
    given = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in given or given == [b"*"]

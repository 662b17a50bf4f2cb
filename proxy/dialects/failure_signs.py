"""Fields that report that a part of a list is missing, because a source of it failed."""

from __future__ import annotations

import re

from proxy.decoding import decode_or_none

_FAILURE_WORDS = frozenset(
    ["partial", "partialsuccess", "partialfailure", "partialcontent", "incomplete", "degraded", "truncated", "error",
     "failed", "failure"]
)  # fmt: skip
_FINE_WORDS = frozenset(
    ["", "ok", "okay", "success", "succeeded", "successful", "healthy", "active", "available", "online", "up", "ready",
     "complete", "completed", "done", "enabled", "connected", "operational", "running", "live", "valid", "normal",
     "fresh", "cached", "cache", "hit", "miss", "skipped", "disabled", "inactive", "notconfigured", "unconfigured",
     "unsupported", "notsupported", "ignored", "excluded", "empty", "none", "idle", "unknown", "good", "passed", "pass",
     "true", "yes", "configured", "present", "synced", "uptodate", "listed", "loaded", "unloaded", "stopped", "standby",
     "stable", "beta", "alpha", "preview", "experimental", "deprecated", "legacy", "retired"]
)  # fmt: skip
PARTS = frozenset(["providers", "sources", "upstreams", "backends", "channels", "accounts", "keys", "regions"])
"""Objects or arrays next to the list that may contain the statuses of its parts."""
STATUSES = ("status", "statuses", "states")
_STATUS_FIELDS = frozenset(["status", "state", "result", "outcome", "health", "code", "statuscode", "success", "ok",
                            "healthy", "error", "errors"])  # fmt: skip
"""Fields of the status of one part."""
_BROKEN = r"fail|error|timed?.?out|unavailable|unreachable|\bdown\b|denied|offline|unhealthy|refused"
_BROKEN_WORDS = frozenset(
    ["error", "failed", "failure", "timeout", "timedout", "unavailable", "unreachable", "down", "denied", "offline",
     "unhealthy", "refused"]
)  # fmt: skip
_NOTHING = frozenset(["", "none", "null", "no", "false", "0", "ok"])
PROBLEM = re.compile(
    r"((upstream|provider|source|backend|channel|fetch|list|load|partial)s?)?errors?|fail(ed|ures?).*|unreachable|"
    r"(unreachable|unavailable|missing|timedout)(providers|sources|upstreams|backends|channels|accounts|keys|regions)"
)
WARNINGS = frozenset(["warning", "warnings"])
_OF_MISSING = re.compile(
    r"fail|error|time[ds]?[ -]?out|unavailable|unreachable|refused|denied|partial|incomplete|truncat|missing|skip|omit"
    r"|exclud|unable|can(?:no|')t|(?:not|n't) (?:be )?(?:respon|reach|load|list|fetch|retriev|query|include|access)",
    re.IGNORECASE,
)
"""Found in a warning about models that are missing. Others are about models that are listed, such as deprecations."""
_MAX_LEVELS = 8  # of nested statuses


def normalized(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) if len(name) <= 40 else ""


def reports_failure(name: str, value: object) -> bool:
    """Whether a field with this normalized name reports that a part of the list is missing."""
    if PROBLEM.fullmatch(name) or name in ("modelsmissing", "modelsincomplete"):
        return not _is_nothing(value)
    if name in WARNINGS:
        return _OF_MISSING.search(str(value)) is not None
    if isinstance(value, str):
        return name in ("status", "state") and normalized(value) in _FAILURE_WORDS
    if not isinstance(value, dict | list):
        return False
    if name in PARTS:
        words = value.values() if isinstance(value, dict) else ()
        has_failed = any(isinstance(word, str) and normalized(word) in _BROKEN_WORDS for word in words)
        return has_failed or any(map(_is_broken, value.values() if isinstance(value, dict) else value))
    return name.endswith(STATUSES) and not name.startswith("model") and _is_failed(value, _MAX_LEVELS)


def is_failed_part(entry: bytes) -> bool:
    """Whether an entry without an id reports the error of a part of the list."""
    payload = decode_or_none(entry) if b'"error' in entry else None
    if not isinstance(payload, dict) or payload.get("id"):
        return False
    return not (_is_nothing(payload.get("error")) and _is_nothing(payload.get("errors")))


def _is_failed(value: object, levels: int) -> bool:
    """Whether a status, or one of several, is that of a failure."""
    if not value and isinstance(value, list | dict):
        return False  # fast, because there can be very many of these
    if isinstance(value, list):
        return levels > 0 and any(_is_failed(inner, levels - 1) for inner in value)
    if isinstance(value, dict):
        fields = {normalized(name): inner for name, inner in value.items()}
        if _STATUS_FIELDS.isdisjoint(fields):  # statuses by name
            return levels > 0 and any(_is_failed(inner, levels - 1) for inner in value.values())
        return any(_is_failed_field(name, inner) for name, inner in fields.items())
    if isinstance(value, str):
        return normalized(value) not in _FINE_WORDS and not re.match(r"2[0-9][0-9]\b", value)
    return value is False or (type(value) is int and 300 <= value < 600)


def _is_failed_field(name: str, value: object) -> bool:
    """Whether a field in the status of one part reports that it failed."""
    if PROBLEM.fullmatch(name):
        return not _is_nothing(value)
    if name in ("code", "statuscode"):
        return type(value) is int and _is_failed(value, 0)  # texts have no common values for success
    return name in _STATUS_FIELDS and isinstance(value, str | int) and _is_failed(value, 0)


def _is_broken(value: object) -> bool:
    """Whether the description of a part reports that it failed. Its other fields can be anything."""
    if not isinstance(value, dict):
        return False
    fields = {normalized(name): inner for name, inner in value.items()}
    words = [inner for name in ("status", "state", "health") if isinstance(inner := fields.get(name), str)]
    has_failed = any(re.search(_BROKEN, word, re.IGNORECASE) for word in words)
    is_false = any(fields.get(name) is False for name in ("success", "ok", "healthy", "reachable"))
    return has_failed or is_false or not _is_nothing(fields.get("error")) or not _is_nothing(fields.get("errors"))


def _is_nothing(value: object, levels: int = _MAX_LEVELS) -> bool:
    """Whether the description of a problem is empty. A fraction is a rate, not a problem."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_nothing(each, levels - 1) for each in inner)
    return value.strip().lower() in _NOTHING if isinstance(value, str) else not value or isinstance(value, float)

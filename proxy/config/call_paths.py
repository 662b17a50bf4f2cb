"""Settings over the paths of calls: `server.extra_paths` and `server.default_models`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.calls import CALLS, VERSION

_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
_STORED = "all callers share the objects that a provider stores for its account"
_OF_THE_PROXY = "the proxy serves these paths itself"
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "assistants", "batch", "batches", "containers", "conversations", "evals", "files", "fine_tunes",
            "fine_tuning", "responses", "skills", "threads", "uploads", "vector_stores",
        ),
        _STORED,
    ),
    "realtime": "calls over WebSocket are not supported",
    **dict.fromkeys(
        (
            "admin", "health", "healthz", "livez", "metrics", "models", "openai", "readyz", "status", "workspaces",
        ),
        _OF_THE_PROXY,
    ),
}  # fmt: skip
"""Segment of a path that is not allowed -> the reason."""
_NAMES = frozenset(call.name for call in CALLS.values())


def extra_path(path: str) -> str:
    """A further path of calls. Raises ValueError for one whose calls could reach stored objects, and for known ones."""
    if not _PATH.fullmatch(path) or path == VERSION:
        raise ValueError("must be a path of letters, digits, `.`, `_`, `~` and `-`, like /v1/translate")
    if path in CALLS or VERSION + path in CALLS:
        raise ValueError("is a path of the proxy already; remove it")
    names = [segment.lower().replace("-", "_") for segment in path.split("/")]
    refused = next((name for name in names if name in _REFUSED), "")
    if refused:
        raise ValueError(f"must not contain `{refused}`: {_REFUSED[refused]}")
    if "completions" in names[:-1]:
        raise ValueError(f"must not be below `completions`: {_STORED}")
    return path


def call_name(path: str) -> str:
    """The path of a call without `/v1/`, such as `images/generations`."""
    name = path.removeprefix("/").removeprefix("v1/")
    if name not in _NAMES:
        raise ValueError("must be the path of a call without /v1/, like moderations or images/generations")
    return name

"""Settings over the paths of calls: `server.extra_paths` and `server.default_models`."""

from __future__ import annotations

import re

from proxy.calls import CALLS, NATIVE_CALLS, VERSION, not_served

_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
_OF_THE_PROXY = "the proxy serves these paths itself"
_RESERVED = frozenset(
    {"admin", "health", "healthz", "livez", "metrics", "models", "openai", "readyz", "status", "workspaces"}
)
"""Segments of paths that the proxy serves, or will serve, itself."""
_NAMES = frozenset(call.name for call in CALLS.values())


def extra_path(path: str) -> str:
    """A further path of calls. Raises ValueError for one whose calls could reach stored objects, and for known ones."""
    if not _PATH.fullmatch(path) or path == VERSION:
        raise ValueError("must be a path of letters, digits, `.`, `_`, `~` and `-`, like /v1/translate")
    if path in CALLS or path in NATIVE_CALLS or VERSION + path in CALLS:
        raise ValueError("is already a path of the proxy; remove it")
    if refusal := not_served(path):
        where = "be below" if refusal.segment == "completions" else "contain"
        raise ValueError(f"must not {where} `{refusal.segment}`: {refusal.reason}")
    if reserved := next((name for name in path.lower().split("/") if name in _RESERVED), ""):
        raise ValueError(f"must not contain `{reserved}`: {_OF_THE_PROXY}")
    return path


def call_name(path: str) -> str:
    """The path of a call without `/v1/`, such as `images/generations`."""
    name = path.removeprefix("/").removeprefix("v1/")
    if name not in _NAMES:
        raise ValueError("must be the path of a call without /v1/, like moderations or images/generations")
    return name

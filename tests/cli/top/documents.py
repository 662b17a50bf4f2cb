"""Documents as `/status.json` returns them, with what `top` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.cli.top.status import Status
from proxy.cli.top.view import View

URL = "http://127.0.0.1:8000"
NOW = "2026-11-29T10:15:30Z"
FIRST_MINUTE = "2026-11-29T09:16:00Z"
"""Half of the current minute has passed."""


def minutes(*last: float | None, other: float | None = 0) -> Sequence[float | None]:
    """60 values, which end with these."""
    return [*[other] * (60 - len(last)), *last]


def provider(name: str, **fields: Any) -> Mapping[str, Any]:
    """A provider that works and has been called: 10 calls in the minute before, 15 in this one."""
    by_minute = {
        "calls": minutes(10, 15),
        "errors": minutes(),
        "first_byte_p50_seconds": minutes(0.25, 9.0, other=None),
        "first_byte_p95_seconds": minutes(1.5, 9.0, other=None),
    }
    state = {"state": "ok", "calls": "ok", "models": 1200, "age_seconds": 130.0, "in_flight": 2, "max_in_flight": 8}
    last_hour = {"calls": 25, "errors": 0, "by_minute": {**by_minute, **fields.pop("by_minute", {})}}
    return {"name": name, **state, "last_error": None, "last_hour": last_hour, **fields}


def key(name: str, **by_minute: Any) -> Mapping[str, Any]:
    """A key with 20 calls and 3000 tokens in the minute before."""
    series = {
        "calls": minutes(20, 0),
        "errors": minutes(),
        "input_tokens": minutes(2000, 0),
        "output_tokens": minutes(1000, 0),
        "first_byte_mean_seconds": minutes(0.5, None, other=None),
    }
    return {"name": name, "last_hour": {"calls": 1500, "errors": 7, "by_minute": {**series, **by_minute}}}


def call(caller: str = "alice", **fields: Any) -> Mapping[str, Any]:
    return {
        "request_id": "337e-8", "route": "/v1/chat/completions", "key": caller, "model": "gpt-4o",
        "provider": "lab", "stream": True, "attempts": 1, "seconds": 75.2, **fields,
    }  # fmt: skip


def document(*providers: Mapping[str, Any], **fields: Any) -> Mapping[str, Any]:
    return {
        "object": "status",
        "version": "1.2.3",
        "time": NOW,
        "first_minute": FIRST_MINUTE,
        "status": "ok",
        "providers": providers or [provider("lab")],
        "keys": [],
        **fields,
    }


def status(*providers: Mapping[str, Any], **fields: Any) -> Status:
    return msgspec.convert(document(*providers, **fields), Status)


def view(*providers: Mapping[str, Any], **fields: Any) -> View:
    return View(URL, status(*providers, **fields))

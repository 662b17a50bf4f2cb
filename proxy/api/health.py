"""`/livez`, `/readyz` and `/health`: for load balancers, probes and administrators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from proxy.access import Caller
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import RawResponse
from proxy.config.settings import Skipped
from proxy.errors import UpstreamError
from proxy.states import Calls, Status
from proxy.store import Report, Store
from proxy.wire.encoder import encode

_MAX_CIRCUITS = 100
"""Circuit breakers of models shown per provider."""
_NO_STORE = (b"cache-control", b"no-store")


class Health:
    """The state of the process and of its providers. Only admin keys see single providers."""

    def __init__(self, store: Store, skipped: tuple[Skipped, ...], calls: Callable[[str], Calls]) -> None:
        """`calls` returns the state of a provider's calls, by the provider's name."""
        self._store = store
        self._calls = calls
        self._skipped = skipped
        self.draining = False
        """Set during shutdown: `/readyz` fails, but requests are still served."""

    def routes(self) -> list[Route]:
        return [
            Route("/livez", READ, self.live, is_probe=True),
            Route("/readyz", READ, self.ready, is_probe=True),
            Route("/health", READ, self.health, is_probe=True),
        ]

    def live(self, head: RequestHead, caller: Caller) -> RawResponse:
        """Return 200 while the event loop runs; nothing else is checked."""
        return _response(head, {"status": "alive"})

    def ready(self, head: RequestHead, caller: Caller) -> RawResponse:
        """Return 200 once every provider was fetched or its `initial_wait` is over, and 503 during shutdown."""
        if self.draining:
            return _response(head, {"status": "draining"}, 503)
        return (
            _response(head, {"status": "ready"})
            if self._store.warmed_up
            else _response(head, {"status": "starting"}, 503)
        )

    def health(self, head: RequestHead, caller: Caller) -> RawResponse:
        """Return `ok`, `degraded` (see `_works`), or `down` with 503 (so does GET /v1/models)."""
        reports = self._store.reports()
        status = self._status(reports)
        payload: dict[str, Any] = {"status": status}
        if caller.admin:
            payload["providers"] = [self._provider(report) for report in reports]
            payload["skipped"] = [
                {"name": skipped.name, "state": skipped.state, "reason": skipped.reason} for skipped in self._skipped
            ]
        return _response(head, payload, 503 if status == "down" else 200)

    def _status(self, reports: list[Report]) -> Status:
        # During the first refreshes requests for the list wait instead of failing.
        if self._store.warmed_up and not self._store.has_any_list:
            return "down"
        is_skipped = any(skipped.state == "skipped" for skipped in self._skipped)
        return "degraded" if is_skipped or not all(map(self._works, reports)) else "ok"

    def _works(self, report: Report) -> bool:
        """Whether the provider's list is current, and all circuit breakers of its calls are closed."""
        calls = self._calls(report.name)
        is_open = calls.state in ("open", "half_open") or calls.open_circuits
        return report.state in ("ok", "declared") and not is_open

    def _provider(self, report: Report) -> dict[str, Any]:
        calls = self._calls(report.name)
        return {
            "name": report.name,
            "kind": report.kind,
            "state": report.state,
            "calls": calls.state,
            "in_flight": calls.in_flight,
            "queued": calls.queued,
            "open_circuits": [circuit._asdict() for circuit in calls.open_circuits[:_MAX_CIRCUITS]],
            "models": report.models,
            "last_success": None if report.fetched_at is None else _date(report.fetched_at),
            "age_seconds": None if report.age is None else round(report.age, 1),
            "last_error": report.error and _error(report.error),
            "next_attempt_in_seconds": None if report.next_attempt_in is None else round(report.next_attempt_in, 1),
            "breaker": report.breaker,
            "consecutive_failures": report.failures,
            "dropped_entries": dict(report.result.dropped) if report.result else {},
        }


def _error(error: UpstreamError) -> dict[str, str]:
    url = {"url": error.url} if error.url else {}
    return {"kind": error.kind, "reason": error.reason, **url}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _response(head: RequestHead, payload: dict[str, Any], status: int = 200) -> RawResponse:
    return json_response(head, encode(payload), [_NO_STORE], status)

"""`/livez`, `/readyz` and `/health`: for load balancers, probes and administrators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from proxy.access import Caller
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.api.workers import Condition, Workers, merged, merged_calls, merged_directories, packed_calls
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.catalog.bundled import bundled
from proxy.config import Config
from proxy.errors import UpstreamError
from proxy.states import Calls, Status
from proxy.store import Report, Store
from proxy.telemetry import Reloads
from proxy.wire.encoder import encode

_MAX_CIRCUITS = 100
"""Circuit breakers of models shown per provider."""
_NO_STORE = (b"cache-control", b"no-store")


class Health:
    """The state of the process and of its providers. Only admin keys see single providers."""

    def __init__(
        self,
        config: Config,
        store: Store,
        calls: Callable[[str], Calls],
        reloads: Reloads,
        further: Callable[[], Mapping[str, Any]] = dict,
        workers: Workers | None = None,
        look: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """`calls` returns the state of a provider's calls, by the provider's name; `further` the states of what other
        sections configure, by section; `workers`: None if this process is the only one that serves the port; `look`
        gets the further states of all processes."""
        self._further = further
        self._look = look
        self._workers = workers
        self._generation = config.generation
        self._has_bundled_facts = config.facts == "bundled"
        self._reloads = reloads
        self._store = store
        self._providers = [provider.name for provider in config.providers]
        self._calls = calls
        self._skipped = config.skipped
        self._ready = config.server.ready
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
        """Return 200 once the lists that `server.ready` requires are there, and 503 before and during shutdown.

        One of several processes is enough: they share lists, and one that is replaced does not end the service.

        Before, every provider must have been fetched once, or its `initial_wait` must be over: until then requests for
        the list wait.
        """
        if self._is_ready_elsewhere():
            return _response(head, {"status": "ready"})
        if self.draining:
            return _response(head, {"status": "draining"}, 503)
        if not self._store.warmed_up:
            return _response(head, {"status": "starting"}, 503)
        missing = self._missing_lists()
        if missing is None:
            return _response(head, {"status": "ready"})
        payload: dict[str, Any] = {"status": "waiting"}
        if caller.admin:
            payload["missing"] = missing
        return _response(head, payload, 503)

    @property
    def is_ready(self) -> bool:
        """Whether `/readyz` returns 200."""
        return self._is_ready() or self._is_ready_elsewhere()

    def _is_ready(self) -> bool:
        return not self.draining and self._store.warmed_up and self._missing_lists() is None

    def _is_ready_elsewhere(self) -> bool:
        """Whether another process that serves the port is ready."""
        return self._workers is not None and any(other.is_ready for other in self._workers.others)

    @property
    def condition(self) -> Condition:
        """The condition of this process, for the others."""
        calls = {name: calls._replace(in_flight=0, queued=0) for name, calls in self.calls_of_this().items()}
        return Condition(self._is_ready(), calls, _directory_in(self._further()))

    def _missing_lists(self) -> list[str] | None:
        """Return the providers without a list because of which the proxy is not ready, None if it is ready.

        A provider that is disabled is not required. One that is skipped is, if `server.ready` names it.
        """
        skipped = [skipped.name for skipped in self._skipped if skipped.state == "skipped"]
        missing = [report.name for report in self._store.reports() if report.state == "failing"]
        if self._ready == "any":
            return None if self._store.has_any_list else missing + skipped
        if self._ready != "all":
            missing = [name for name in self._ready if name in {*missing, *skipped}]
        return missing or None

    def health(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return `ok`, `degraded`, or `down` with 503 without any list (so does GET /v1/models).

        It is `degraded`, too, if no provider accepts calls: the list is still served, and all replicas would be taken
        out of service at once.
        """
        if caller.admin and self._workers:
            return partial(self._health_of_all, head, caller, self._workers)
        if self._workers is None:
            return self._health(head, caller, self._calls)
        calls = merged(self.calls_of_this(), *(other.calls for other in self._workers.others))
        return self._health(head, caller, calls.__getitem__)

    async def _health_of_all(
        self, head: RequestHead, caller: Caller, workers: Workers, receive: Receive, send: Send
    ) -> RawResponse:
        looking = asyncio.create_task(self.look())
        answers = await workers.values("calls", self.packed_calls())
        await looking
        own = self._calls
        calls = merged_calls(answers.parts)
        return self._health(head, caller, lambda name: calls.get(name) or own(name), answers.generations)

    async def look(self) -> None:
        """Get the further states of all processes."""
        if self._look:
            await self._look()

    async def calls_of_all(self) -> Mapping[str, Calls]:
        """Provider -> its calls in all processes that serve the port."""
        if self._workers is None:
            return self.calls_of_this()
        answers = await self._workers.values("calls", self.packed_calls())
        return {**self.calls_of_this(), **merged_calls(answers.parts)}

    def packed_calls(self) -> bytes:
        """The calls of this process, for another one that serves the port."""
        return packed_calls(self.calls_of_this())

    def calls_of_this(self) -> Mapping[str, Calls]:
        """Provider -> its calls in this process."""
        return {name: self._calls(name) for name in self._providers}

    def _health(
        self,
        head: RequestHead,
        caller: Caller,
        calls_of: Callable[[str], Calls],
        generations: Mapping[int, str] | None = None,
    ) -> RawResponse:
        payload = self.details(calls_of, generations) if caller.admin else self._status(calls_of)
        return _response(head, payload, 503 if payload["status"] == "down" else 200)

    def _status(self, calls_of: Callable[[str], Calls]) -> dict[str, Any]:
        reports = self._store.reports()
        lists, calls = self._status_of_lists(reports), self._status_of_calls(reports, calls_of)
        status: Status = lists if lists == "down" or calls == "ok" else "degraded"
        return {"status": status}

    def details(self, calls_of: Callable[[str], Calls], generations: Mapping[int, str] | None = None) -> dict[str, Any]:
        """All states, for administrators. `calls_of` and `generations`: of all processes that serve the port."""
        reports = self._store.reports()
        payload: dict[str, Any] = {
            **self._status(calls_of),
            "lists": self._status_of_lists(reports),
            "calls": self._status_of_calls(reports, calls_of),
            "configuration": self._configuration(),
        }
        if self._has_bundled_facts:
            payload["facts"] = _facts(self._store.clock.time())
        payload.update(self._further_of_all())
        if generations is not None:
            payload["workers"] = [
                {"worker": number, "generation": generations[number]} for number in sorted(generations)
            ]
        payload["providers"] = [self._provider(report, calls_of(report.name)) for report in reports]
        payload["skipped"] = [
            {"name": skipped.name, "state": skipped.state, "reason": skipped.reason} for skipped in self._skipped
        ]
        return payload

    def _further_of_all(self) -> Mapping[str, Any]:
        further = self._further()
        own, others = _directory_in(further), self._workers.others if self._workers else ()
        if own is None or not others:
            return further
        states = [own, *(other.directory for other in others if other.directory)]
        return {**further, "store": {**further["store"], "directory": merged_directories(states)}}

    def _status_of_lists(self, reports: list[Report]) -> Status:
        # During the first refreshes requests for the list wait instead of failing.
        if self._store.warmed_up and not self._store.has_any_list:
            return "down"
        is_skipped = any(skipped.state == "skipped" for skipped in self._skipped)
        is_current = all(report.state in ("ok", "declared") for report in reports)
        return "ok" if is_current and not is_skipped else "degraded"

    @staticmethod
    def _status_of_calls(reports: list[Report], calls_of: Callable[[str], Calls]) -> Status:
        """The status of the providers that can be called; `ok` without any."""
        all_calls = [calls_of(report.name) for report in reports]
        callable_ = [calls for calls in all_calls if calls.state != "not_callable"]
        if callable_ and all(calls.rejects_all for calls in callable_):
            return "down"
        return "ok" if all(calls.works for calls in callable_) else "degraded"

    def _configuration(self) -> dict[str, Any]:
        reloads = self._reloads
        return {
            "generation": self._generation,
            "loaded_at": _date(reloads.last_success),
            "last_failure": None if reloads.last_failure is None else _date(reloads.last_failure),
            "problems": [*reloads.problems],
            "restart_needed": [*reloads.restart_needed],
        }

    @staticmethod
    def _provider(report: Report, calls: Calls) -> dict[str, Any]:
        return {
            "name": report.name,
            "kind": report.kind,
            "state": report.state,
            "calls": calls.state,
            "account_rejected": calls.account_rejected,
            "in_flight": calls.in_flight,
            "queued": calls.queued,
            "open_circuits": [circuit._asdict() for circuit in calls.open_circuits[:_MAX_CIRCUITS]],
            "models": report.models,
            "last_success": None if report.fetched_at is None else _date(report.fetched_at),
            "age_seconds": None if report.age is None else round(report.age, 1),
            "origin": report.origin,
            "last_error": report.error and _error(report.error),
            "next_attempt_in_seconds": None if report.next_attempt_in is None else round(report.next_attempt_in, 1),
            "breaker": report.breaker,
            "consecutive_failures": report.failures,
            "dropped_entries": dict(report.result.dropped) if report.result else {},
        }


def _directory_in(further: Mapping[str, Any]) -> Mapping[str, str | int] | None:
    directory: Mapping[str, str | int] | None = further.get("store", {}).get("directory")
    return directory


def _error(error: UpstreamError) -> dict[str, str]:
    url = {"url": error.url} if error.url else {}
    return {"kind": error.kind, "reason": error.reason, **url}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _facts(now: float) -> dict[str, Any]:
    """The source of bundled facts, and the age of its data."""
    data = bundled()
    day = data.date(now)
    return {"source": "genai-prices", "version": data.version, "date": day.isoformat() if day else None}


def _response(head: RequestHead, payload: dict[str, Any], status: int = 200) -> RawResponse:
    return json_response(head, encode(payload), [_NO_STORE], status)

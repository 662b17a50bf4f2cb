"""Passes events to observers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from proxy.errors import describe_bug
from proxy.telemetry.events import (
    CLIENT_CLOSED_REQUEST,
    CallGroup,
    CallRecord,
    CircuitChange,
    EndedRequest,
    ListReport,
    ModelsChange,
    Observer,
    Outcome,
    Request,
    grouped,
)
from proxy.telemetry.tokens import Tokens

MAX_COLLECTED = 256
"""Maximum number of requests, and of calls, that are collected before observers get them."""
LONG_NAME = 1024
"""Characters of a requested model. A call with more is not kept: clients can choose names of any length."""

_log = logging.getLogger("models_proxy")


class Telemetry:
    """The events of one process. It survives reloads of the configuration.

    Where something happens, its method is called. A bug in an observer is logged once and changes nothing else.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self.monotonic = monotonic
        self._requests: list[EndedRequest] = []
        self._calls: list[CallRecord] = []
        """The collected requests and calls."""
        self._requests_ended: list[Callable[[Sequence[EndedRequest]], None]] = []
        self._calls_ended: list[Callable[[Sequence[CallGroup]], None]] = []
        self._request_ended: list[Callable[[Request, float], None]] = []
        self._call_ended: list[Callable[[CallRecord], None]] = []
        self._attempt_ended: list[Callable[[CallRecord, str, Outcome, float | None, Tokens], None]] = []
        self._queue_waited: list[Callable[[str, float], None]] = []
        self._circuit_changed: list[Callable[[CircuitChange], None]] = []
        self._provider_reported: list[Callable[[ListReport], None]] = []
        self._models_changed: list[Callable[[ModelsChange], None]] = []
        self._broken: set[Callable[..., None]] = set()
        self.counts_models = True
        """Whether changes of lists are events here; otherwise another process with the same lists reports them."""

    def add(self, observer: Observer) -> None:
        """Pass all further events to an observer, after those before it."""
        self.flush()
        observer.flush = self.flush
        self._each("requests_ended", observer, self._requests_ended)
        self._each("calls_ended", observer, self._calls_ended)
        self._each("request_ended", observer, self._request_ended)
        self._each("call_ended", observer, self._call_ended)
        self._each("attempt_ended", observer, self._attempt_ended)
        self._each("queue_waited", observer, self._queue_waited)
        self._each("circuit_changed", observer, self._circuit_changed)
        self._each("provider_reported", observer, self._provider_reported)
        self._each("models_changed", observer, self._models_changed)

    @staticmethod
    def _each(event: str, observer: Observer, methods: list[Any]) -> None:
        if getattr(type(observer), event) is not getattr(Observer, event):
            methods.append(getattr(observer, event))

    def request_ended(self, request: Request) -> None:
        """A request has ended: with `status`, or without a response."""
        seconds = self.monotonic() - request.began
        call = request.call
        if call is not None:
            call.status = request.status = request.status or call.status or CLIENT_CLOSED_REQUEST
            call.seconds = seconds
        elif not request.status:
            request.status = CLIENT_CLOSED_REQUEST
        collected = self._requests
        collected.append(((request.route, request.method, request.status, request.key or ""), seconds))
        if len(collected) >= MAX_COLLECTED:
            self.flush()
        for notify in self._request_ended:
            try:
                notify(request, seconds)
            except Exception as error:
                self._failed(notify, error)
        if call is not None:
            self._call_has_ended(call)

    def _call_has_ended(self, call: CallRecord) -> None:
        for notify in self._call_ended:
            try:
                notify(call)
            except Exception as error:
                self._failed(notify, error)
        self._calls.append(call)
        if len(self._calls) >= MAX_COLLECTED or len(call.model) > LONG_NAME:
            self.flush()

    def flush(self) -> None:
        """Pass what was collected to the observers."""
        if requests := self._requests:
            self._requests = []
            self._notify(self._requests_ended, requests)
        if calls := self._calls:
            self._calls = []
            self._notify(self._calls_ended, grouped(calls))

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        call.attempt_ended(outcome, tokens)
        for notify in self._attempt_ended:
            try:
                notify(call, provider, outcome, first_byte, tokens)
            except Exception as error:
                self._failed(notify, error)

    def queue_waited(self, call: CallRecord, provider: str, seconds: float) -> None:
        call.queue_seconds += seconds
        self._notify(self._queue_waited, provider, seconds)

    def circuit_changed(self, change: CircuitChange) -> None:
        self._notify(self._circuit_changed, change)

    def provider_reported(self, report: ListReport) -> None:
        self._notify(self._provider_reported, report)

    def models_changed(self, change: ModelsChange) -> None:
        if self.counts_models:
            self._notify(self._models_changed, change)

    def _notify(self, methods: list[Any], *event: object) -> None:
        for notify in methods:
            try:
                notify(*event)
            except Exception as error:
                self._failed(notify, error)

    def _failed(self, notify: Callable[..., None], error: Exception) -> None:
        if notify not in self._broken:
            self._broken.add(notify)
            _log.error("internal error in an observer of events: %s", describe_bug(error))

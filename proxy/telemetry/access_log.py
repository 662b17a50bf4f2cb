"""Which calls and other requests get a line of their own, and which changes of models are logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from proxy.telemetry.events import CLIENT_CLOSED_REQUEST, CallRecord, ModelsChange, Observer, Request
from proxy.telemetry.line_fields import EndedCall, EndedRequest
from proxy.telemetry.message_fields import ModelsFields, attributes

Access = Literal["off", "calls", "all"]
Level = Literal["info", "warning", "error"]

MAX_REFUSALS = 10
"""Refused requests with one status that are logged in each `REFUSAL_SECONDS`: any client can cause them at will."""
REFUSAL_SECONDS = 10.0
_MAX_IDS = 10
"""Models that a line names."""
_MAX_FORWARDED_FOR = 512
"""Bytes of `X-Forwarded-For` that are kept: the last addresses, which trusted proxies have added."""

_log = logging.getLogger("models_proxy")


class AccessLog(Observer):
    """Queues a line for each call, for refused requests up to a limit, and with `all` for every other request."""

    def __init__(
        self,
        write: Callable[[EndedCall | EndedRequest], None],
        time: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`write` must not block; `time`: Unix seconds; `later` calls a function after some seconds."""
        self.access: Access = "calls"
        self.is_quiet = False
        """Whether the level of the log hides lines of successful requests."""
        self._write = write
        self._time = time
        self._later = later
        self._refused: dict[int, int] = {}
        """Status -> refused requests in the current period."""

    def call_ended(self, call: CallRecord) -> None:
        if self.access == "off":
            if call.reason:
                _log_failure(call)
        elif not self.is_quiet or call.reason:
            if len(call.forwarded_for) > _MAX_FORWARDED_FOR:
                call.forwarded_for = call.forwarded_for[-_MAX_FORWARDED_FOR:]
            self._write(EndedCall(self._time(), call))

    def request_ended(self, request: Request, seconds: float) -> None:
        status = request.status
        if status < 400 and self.access != "all":
            return  # most requests
        if request.call is not None or self.access == "off" or self.is_quiet:
            return
        is_known = request.key is not None and self.access == "all"
        if is_known or (status >= 400 and status != CLIENT_CLOSED_REQUEST and self._may_log(status)):
            self._write(
                EndedRequest(
                    self._time(),
                    request.request_id,
                    request.key or "",
                    request.peer,
                    request.forwarded_for[-_MAX_FORWARDED_FOR:],
                    request.method,
                    request.route,
                    status,
                    request.error,
                    seconds,
                )
            )

    def models_changed(self, change: ModelsChange) -> None:
        parts = [
            f"{len(ids)} {'model' if len(ids) == 1 else 'models'} {verb} ({_shortened(ids)})"
            for verb, ids in (("added", change.added), ("removed", change.removed))
            if ids
        ]
        fields = ModelsFields(change.provider, len(change.added), len(change.removed))
        _log.info("provider %s: %s", change.provider, ", ".join(parts), extra=attributes(fields))

    def _may_log(self, status: int) -> bool:
        """Count a refused request. The rest of a flood is reported at the end of its period."""
        if not self._refused:
            self._later(REFUSAL_SECONDS, self._end_period)
        count = self._refused[status] = self._refused.get(status, 0) + 1
        return count <= MAX_REFUSALS

    def _end_period(self) -> None:
        refused, self._refused = self._refused, {}
        for status, count in refused.items():
            if count > MAX_REFUSALS:
                text = "%d more requests with status %d in the last %d s were not logged"
                _log.info(text, count - MAX_REFUSALS, status, REFUSAL_SECONDS)


def _log_failure(call: CallRecord) -> None:
    """Log why the last attempt of a call failed, without a line for the call itself."""
    _log.warning("call %s: provider %s: %s", call.request_id, call.provider, failure_text(call))


def failure_text(call: CallRecord) -> str:
    """Why the last attempt of a call failed, and what failed."""
    key = f"key {call.key}" if call.key else "no key"
    upstream = f", upstream request id {call.upstream_request_id}" if call.upstream_request_id else ""
    return f"{call.reason}; model {call.model[:256]!r}, {key}{upstream}"


def _shortened(ids: Sequence[str]) -> str:
    more = f", and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
    return ", ".join(public_id[:200] for public_id in ids[:_MAX_IDS]) + more

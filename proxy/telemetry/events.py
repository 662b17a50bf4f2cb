"""What happens in the process, as values, and the interface of those who observe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from proxy.calls import Api
from proxy.errors import ApiError, UpstreamError
from proxy.states import BreakerState, ListState
from proxy.telemetry.tokens import Tokens

Outcome = Literal[
    "ok", "rejected", "rate_limited", "failed", "timeout", "interrupted", "client_disconnected", "shut_down"
]
"""How one attempt at a provider ended: response sent · request rejected (4xx) · rate limit exceeded (429) · no
connection, or a server error · timed out · connection closed mid-response · client disconnected ·
the server was stopped."""

CallOutcome = Literal[
    "ok", "rejected", "rate_limited", "failed", "timeout", "stream_broken", "client_disconnected", "shut_down"
]
"""How a call ended for its client: as `Outcome`, also if no provider was tried; `stream_broken`: the response ended
early, after a part of it was sent."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
"""Methods that are named in logs and metrics: a client can send any text as one."""

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client disconnected before a response was sent, as in nginx."""

_BROKEN = {"interrupted": "provider_failed", "timeout": "timeout"}
"""Outcome of an attempt whose response was being sent -> error code of the client."""


class CallRecord(Struct):
    """One call of a client. It is created when the call begins, filled while it proceeds, and complete at its end."""

    request_id: str
    method: str
    route: str
    """The template of the path, such as `/v1/chat/completions`."""
    api: Api
    key: str
    """The identity of the caller, "" without one."""
    peer: str
    """The address of the connection, "" if unknown: that of the client, or of a reverse proxy."""
    forwarded_for: bytes
    """The header `X-Forwarded-For`, b"" without one."""
    began: float
    """Monotonic seconds at which the head of the request was complete."""
    model: str = ""
    """As requested; "" if the request could not be read. Any text, of any length."""
    is_known: bool = False
    """Whether the caller may call the model: it exists, and is not a text such as a misplaced key."""
    is_stream: bool = False
    """Whether the client requested a stream."""
    status: int = 0
    """The status that was sent; `CLIENT_CLOSED_REQUEST` if the client disconnected before."""
    outcome: CallOutcome = "ok"
    error: str = ""
    """The code of the error that the client got, "" for none."""
    reason: str = ""
    """Why the last attempt failed, for the log; "" if there is nothing to log. Can contain texts of the provider."""
    provider: str = ""
    """That of the last attempt; "" without one: then `model` may not exist, or the caller may not call it."""
    upstream_request_id: str = ""
    """The provider's id of the last attempt, "" if it sent none."""
    attempts: int = 0
    """Requests to providers."""
    attempt_began: float = 0.0
    """Monotonic seconds of the last attempt."""
    own_model: str = ""
    """The provider's id of the model in the last attempt."""
    failovers: int = 0
    """How often another provider was tried."""
    queue_seconds: float = 0.0
    """How long the call waited for a slot at a provider (`max_in_flight`)."""
    first_byte: float | None = None
    """Seconds from `began` to the first bytes of a provider's response, without keep-alive comments; None without."""
    seconds: float = 0.0
    """From `began` to the end of the response."""
    input_tokens: int = 0
    output_tokens: int = 0
    """As the provider reported them; 0 if it did not."""
    bytes_in: int = 0
    """Of the request's body, as it was received."""
    bytes_out: int = 0
    """Of the response's body."""

    def attempt_ended(self, outcome: Outcome, tokens: Tokens) -> None:
        """Record the end of the last attempt. If nothing was sent, `failed` or a further attempt follows."""
        if code := _BROKEN.get(outcome):
            self.outcome, self.error = "stream_broken", code
        else:
            self.outcome, self.error = outcome, ""  # type: ignore[assignment]  # `interrupted` is in `_BROKEN`
        self.input_tokens, self.output_tokens = tokens.input, tokens.output

    def failed_over(self) -> None:
        """Record that another provider is tried."""
        self.failovers += 1
        self.outcome, self.error, self.reason = "ok", "", ""

    def disconnected(self) -> None:
        """Record that the client disconnected before it had the whole response, or an error."""
        if not self.error:
            self.outcome = "client_disconnected"

    def failed(self, error: ApiError, *, is_broken: bool = False) -> None:
        """Record the error that the client gets. `is_broken`: as an event, after a part of the response was sent."""
        self.error = error.code
        self.provider = error.provider or self.provider
        if error.code == "shutting_down":
            self.outcome = "shut_down"
        elif is_broken:
            self.outcome = "stream_broken"
        elif error.status in (408, 504):
            self.outcome = "timeout"
        elif error.status == 429:
            self.outcome = "rate_limited"
        else:
            self.outcome = "rejected" if error.status < 500 else "failed"


@dataclass(slots=True)
class CallGroup:
    """Ended calls with the same labels: a few sums for many calls."""

    key: str
    model: str
    provider: str
    outcome: CallOutcome
    is_known: bool
    """These are the fields of each `CallRecord`."""
    calls: int = 0
    failovers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    """Of the calls that have one."""


def grouped(calls: Iterable[CallRecord]) -> Sequence[CallGroup]:
    """Group ended calls by their labels."""
    groups: dict[tuple[str, str, str, CallOutcome, bool], CallGroup] = {}
    for call in calls:
        labels = (call.key, call.model, call.provider, call.outcome, call.is_known)
        group = groups.get(labels)
        if group is None:
            group = groups[labels] = CallGroup(*labels)
        group.calls += 1
        group.failovers += call.failovers
        group.input_tokens += call.input_tokens
        group.output_tokens += call.output_tokens
        group.seconds.append(call.seconds)
        if call.first_byte is not None:
            group.first_bytes.append(call.first_byte)
    return [*groups.values()]


class Request(Protocol):
    """A request that has ended. Every one has such an end, also one that was refused."""

    method: str
    """"" if the request was malformed."""
    route: str
    """The template of the path, such as `/v1/models/{id}`; "" for an unknown path."""
    key: str | None
    """The identity of the caller, "" without one; None if the caller was not identified."""
    status: int
    """The status that was sent; `CLIENT_CLOSED_REQUEST` if the client disconnected before."""
    began: float
    """Monotonic seconds."""
    error: str
    """The code of an error response, "" for none."""
    call: CallRecord | None
    """None unless the request is a call of an identified caller."""

    @property
    def request_id(self) -> bytes: ...

    @property
    def peer(self) -> str:
        """The address of the connection, "" if unknown."""
        ...

    @property
    def forwarded_for(self) -> bytes:
        """The header `X-Forwarded-For`, b"" without one."""
        ...


class RefusedRequest(Struct):
    """A request that the protocol answered itself: malformed, too large, or too slow."""

    status: int
    error: str
    request_id: bytes
    peer: str
    began: float
    method: str = ""
    route: str = ""
    key: str | None = None
    forwarded_for: bytes = b""
    call: CallRecord | None = None


class CircuitChange(NamedTuple):
    """A circuit breaker of calls has changed its state."""

    provider: str
    model: str | None
    """The provider's id; None: the breaker of the whole provider."""
    key: str | None
    """The name of the caller's key whose calls it rejects, "" for calls without a key; None: those of all."""
    before: BreakerState
    after: BreakerState


class ListReport(Protocol):
    """The status of a provider's list after a refresh: `proxy.store.Report`."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> ListState: ...

    @property
    def models(self) -> int: ...

    @property
    def failures(self) -> int:
        """Consecutive failed refreshes."""
        ...

    @property
    def error(self) -> UpstreamError | None: ...

    @property
    def fetch_seconds(self) -> float | None:
        """How long the refresh took; None before the first one has ended."""
        ...


class ModelsChange(NamedTuple):
    """The models of a provider have changed after its first list."""

    provider: str
    added: Sequence[str]
    """Public ids, in the provider's order."""
    removed: Sequence[str]


EndedRequest = tuple[tuple[str, str, int, str], float]
"""Route, method, status and identity of the caller ("" for none), as in `Request`; and the seconds of the request."""


class Observer:
    """Receives events on the event loop, synchronously. Methods must be fast, must not block, and should not raise.

    A subclass overrides those that it needs; the others cost nothing.
    """

    flush: Callable[[], None] = staticmethod(lambda: None)
    """Passes the requests and calls that were collected to `requests_ended` and `calls_ended`; set by `Telemetry`."""

    def requests_ended(self, requests: Sequence[EndedRequest]) -> None:
        """Many ended requests: a full batch, or all since the last `flush`.

        For observers that only count: together, this needs fewer cache misses than after each response.
        """

    def calls_ended(self, groups: Sequence[CallGroup]) -> None:
        """Many ended calls, after `requests_ended` of their requests."""

    def request_ended(self, request: Request, seconds: float) -> None:
        """Every request, also a refused one. `seconds`: from its head to the end of its response."""

    def call_ended(self, call: CallRecord) -> None:
        """After `request_ended` of the same request."""

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        """`first_byte`: seconds from the attempt to the head of the response, None without one."""

    def queue_waited(self, provider: str, seconds: float) -> None:
        """A call waited for a slot at a provider, with or without success."""

    def circuit_changed(self, change: CircuitChange) -> None: ...

    def provider_reported(self, report: ListReport) -> None:
        """After each refresh of a provider's list."""

    def models_changed(self, change: ModelsChange) -> None: ...

"""The fields of the lines about calls and requests."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from proxy.calls import Api
from proxy.telemetry.events import METHODS, CallRecord

_FAILURES = frozenset({"failed", "timeout", "stream_broken"})
_OTHER = "other"
_MAX_TEXT = 256
"""Characters of a text that a client or a provider has chosen."""
AddressOf = Callable[[str, bytes], str]
"""Returns the address of a client from that of its connection and its `X-Forwarded-For`."""


class EndedCall(Struct):
    """A call that is to be logged."""

    ended_at: float
    """Unix seconds."""
    call: CallRecord


class EndedRequest(Struct):
    """A request that is to be logged, and is no call."""

    ended_at: float
    """Unix seconds."""
    request_id: bytes
    key: str
    peer: str
    forwarded_for: bytes
    method: str
    route: str
    status: int
    error: str
    seconds: float


class CallLine(Struct):
    """The line of a call. Durations are in seconds, sizes in bytes. `docs/logs.md` describes the fields."""

    time: str
    level: str
    event: str
    request_id: str
    upstream_request_id: str
    key: str
    client: str
    method: str
    route: str
    api: Api
    model: str
    stream: bool
    provider: str
    status: int
    outcome: str
    error: str
    reason: str
    attempts: int
    failovers: int
    queue_seconds: float
    first_byte_seconds: float | None
    seconds: float
    input_tokens: int
    output_tokens: int
    bytes_in: int
    bytes_out: int


class RequestLine(Struct):
    """The line of a request that is no call."""

    time: str
    level: str
    event: str
    request_id: str
    key: str
    client: str
    method: str
    route: str
    status: int
    error: str
    seconds: float


def call_line(call: CallRecord, time: str, address_of: AddressOf, shown: Callable[[str], str]) -> CallLine:
    """`shown`: what is logged of a model that does not exist."""
    model = call.model[:_MAX_TEXT]
    return CallLine(
        time,
        "warning" if call.outcome in _FAILURES else "info",
        "call",
        call.request_id,
        call.upstream_request_id,
        call.key,
        address_of(call.peer, call.forwarded_for),
        call.method,
        call.route,
        call.api,
        model if call.is_known else shown(model),
        call.is_stream,
        call.provider,
        call.status,
        call.outcome,
        call.error,
        call.reason,
        call.attempts,
        call.failovers,
        _rounded(call.queue_seconds),
        None if call.first_byte is None else _rounded(call.first_byte),
        _rounded(call.seconds),
        call.input_tokens,
        call.output_tokens,
        call.bytes_in,
        call.bytes_out,
    )


def request_line(ended: EndedRequest, time: str, address_of: AddressOf) -> RequestLine:
    return RequestLine(
        time,
        "info",
        "request",
        ended.request_id.decode(),
        ended.key,
        address_of(ended.peer, ended.forwarded_for),
        ended.method if ended.method in METHODS else ended.method and _OTHER,
        ended.route,
        ended.status,
        ended.error,
        _rounded(ended.seconds),
    )


def _rounded(seconds: float) -> float:
    """To microseconds. Faster than `round`, which took a quarter of the time of a line."""
    return int(seconds * 1e6 + 0.5) / 1e6

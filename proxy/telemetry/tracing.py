"""Traces: a span of each request, of each attempt at a provider, and of each fetch of a model list.

An observer of events, so that no other code contains tracing. Spans are created when a request has ended, from the
times that were recorded. They contain no text of a request or a response, and no key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from secrets import token_bytes
from typing import NamedTuple

from proxy.calls import VERSION
from proxy.telemetry.events import METHODS, CallRecord, EndedRequest, ListReport, Observer, Outcome, Request
from proxy.telemetry.otlp import CLIENT, SERVER, attribute, attributes, span
from proxy.telemetry.tokens import Tokens

_LEFT_OUT = frozenset(("/livez", "/readyz", "/health", "/metrics"))
"""Routes of probes and scrapes, which have no spans."""
_FIELDS = rb"-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"
_TRACEPARENT = re.compile(rb"(?:00%b|(?!00|ff)[0-9a-f]{2}%b(?:-.*)?)" % (_FIELDS, _FIELDS))
"""Version 00 ends with the flags; later versions can have more fields."""
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_NANO = 1_000_000_000
OPERATIONS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/v1/fim/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}
"""Route -> the name of the operation in the semantic conventions. Of others it is the last part of the route."""
PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
}
"""Kind of a provider -> its name in the semantic conventions. Of others it is that of the configuration."""


class _Attempt(NamedTuple):
    provider: str
    model: str
    began: float
    ended: float
    outcome: Outcome
    first_byte: float | None
    tokens: Tokens


class _Context(NamedTuple):
    """Where a trace continues."""

    trace: bytes
    span: bytes
    is_sampled: bool


_Fields = tuple[str, str, int, str | None, str, bytes]
"""Method, route, status, key, error and id of a request, as in `Request`."""
_Ended = tuple[_Context, bytes, _Fields, CallRecord | None, float, float, Sequence[_Attempt]]
"""Context, id of the span, fields, call, begin and seconds of a request, and its attempts."""


class Tracing(Observer):
    """Creates spans in the format of OTLP."""

    def __init__(
        self,
        sample: float,
        kind_of: Callable[[str], str],
        send: Callable[[bytes], None],
        monotonic: Callable[[], float],
        time_ns: Callable[[], int],
    ) -> None:
        """`sample`: the share of the traces that begin here; `kind_of`: of a provider with a name; `send` gets each
        span; `monotonic`: the clock of events; `time_ns`: Unix nanoseconds."""
        self._bound = int(sample * (1 << 64))
        self._kind_of = kind_of
        self._send = send
        self._monotonic = monotonic
        self._time_ns = time_ns
        self._attempts: dict[int, list[_Attempt]] = {}
        """Identity of the record of a call in progress -> its attempts that have ended."""
        self._ended: list[_Ended] = []
        """Requests whose spans are not encoded yet."""

    # -- events --------------------------------------------------------------------------------------------------------

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        ended = self._monotonic()
        attempt = _Attempt(provider, call.own_model, call.attempt_began, ended, outcome, first_byte, tokens)
        self._attempts.setdefault(id(call), []).append(attempt)

    def request_ended(self, request: Request, seconds: float) -> None:
        attempts = self._attempts.pop(id(request.call), ())
        if request.route in _LEFT_OUT:
            return
        context = _context_of(request)
        ids = token_bytes(24)
        if context is None:
            if int.from_bytes(ids[8:16]) >= self._bound:
                return
            context = _Context(ids[:16], b"", True)
        elif not context.is_sampled:
            return
        fields = (request.method, request.route, request.status, request.key, request.error, request.request_id)
        self._ended.append((context, ids[16:], fields, request.call, request.began, seconds, attempts))

    def requests_ended(self, requests: Sequence[EndedRequest]) -> None:
        """Encode the spans of all of them: together, they take a third of the time."""
        ended, self._ended = self._ended, []
        to_unix = self._time_ns() - int(self._monotonic() * _NANO)
        for each in ended:
            self._send_request(each, to_unix)

    def provider_reported(self, report: ListReport) -> None:
        trace = token_bytes(16)
        if int.from_bytes(trace[8:]) >= self._bound:
            return
        now = self._time_ns()
        described = attributes(
            ("models_proxy.provider", report.name),
            ("models_proxy.list.state", report.state),
            ("models_proxy.list.models", report.models),
            *((("error.type", report.error.kind),) if report.error else ()),
        )
        times = now - int((report.fetch_seconds or 0.0) * _NANO), now
        is_error = report.error is not None
        name = f"fetch models {report.name}"
        self._send(span(trace, token_bytes(8), b"", name, CLIENT, times, described, is_error=is_error))

    # -- spans ---------------------------------------------------------------------------------------------------------

    def _send_request(self, ended: _Ended, to_unix: int) -> None:
        context, own, fields, call, began, seconds, attempts = ended
        method, route, status, *_ = fields
        method = method if method in METHODS else "_OTHER"
        start = to_unix + int(began * _NANO)
        self._send(
            span(
                context.trace,
                own,
                context.span,
                f"{method} {route}" if route else method,
                SERVER,
                (start, start + int(seconds * _NANO)),
                _described(fields, method, call),
                is_error=status >= 500 or (call is not None and call.outcome == "stream_broken"),
            )
        )
        for number, attempt in enumerate(attempts, 1):
            # As random as the id of the request, but different from it.
            attempt_id = ((int.from_bytes(own) + number) % (1 << 64)).to_bytes(8)
            self._send_attempt(attempt, attempt_id, route, context.trace, own, to_unix)

    def _send_attempt(
        self, attempt: _Attempt, own: bytes, route: str, trace: bytes, parent: bytes, to_unix: int
    ) -> None:
        provider, model, began, ended, outcome, first_byte, tokens = attempt
        operation = OPERATIONS.get(route) or route.removeprefix(VERSION + "/").strip("/")
        is_error = outcome not in ("ok", "client_disconnected")
        described = attributes(
            ("gen_ai.operation.name", operation),
            ("gen_ai.provider.name", PROVIDERS.get(self._kind_of(provider), provider)),
            ("gen_ai.request.model", model),
            ("models_proxy.provider", provider),
            ("models_proxy.outcome", outcome),
            *((("error.type", outcome),) if is_error else ()),
        )
        if first_byte is not None:
            described += attribute("models_proxy.first_byte_seconds", first_byte)
        if tokens.input:
            described += attributes(("gen_ai.usage.input_tokens", tokens.input))
        if tokens.output:
            described += attributes(("gen_ai.usage.output_tokens", tokens.output))
        times = to_unix + int(began * _NANO), to_unix + int(ended * _NANO)
        name = f"{operation} {model}"
        self._send(span(trace, own, parent, name, CLIENT, times, described, is_error=is_error))


def _context_of(request: Request) -> _Context | None:
    """Return the client's trace context, if the client was identified and has sent a valid one (W3C Trace Context)."""
    if request.key is None:
        return None
    given = [value for name, value in getattr(request, "headers", ()) if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        return None
    trace, parent, flags = (bytes.fromhex(part.decode()) for part in match.groups() if part)
    return None if trace == _NO_TRACE or parent == _NO_SPAN else _Context(trace, parent, bool(flags[0] & 1))


def _described(fields: _Fields, method: str, call: CallRecord | None) -> bytes:
    _, route, status, key, error, request_id = fields
    described = attributes(
        ("http.request.method", method),
        ("http.response.status_code", status),
        *((("http.route", route),) if route else ()),
        *((("models_proxy.key", key),) if key else ()),
        *((("error.type", error),) if error else ()),
    )
    if call:
        described += attributes(
            ("models_proxy.attempts", call.attempts),
            ("models_proxy.outcome", call.outcome),
            *((("models_proxy.model", call.model),) if call.is_known else ()),
        )
    return described + attribute("models_proxy.request_id", request_id.decode())

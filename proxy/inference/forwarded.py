"""A call whose response has started, and what a provider's response means for its circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proxy.asgi import Header
from proxy.catalog.retirement import RETIREMENT, retirement_headers
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, ProviderAuthFailed, ProviderOutOfCredit, UpstreamError
from proxy.inference.call import Call
from proxy.inference.circuit import Circuit
from proxy.inference.error_content import ErrorContent, only_error, read_error
from proxy.inference.error_redaction import Redaction
from proxy.inference.provider_errors import classify, id_headers
from proxy.inference.response import headers as response_headers
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.routing import Candidate
from proxy.inference.verdict import ErrorResponse, Verdict
from proxy.telemetry import Outcome, Telemetry, Tokens
from proxy.upstream.calls import Endpoint
from proxy.upstream.response import UpstreamResponse

_FAILED_RESPONSES: Mapping[Outcome, str] = {
    "interrupted": "broken or unusable response",
    "timeout": "timed out mid-response",
}
"""How a response that has started can fail, for the log. These failures count for the circuit breaker."""


class ForwardedCall:
    """A call with a 2xx response that has started. `finish` must be called when it ends."""

    __slots__ = ("_call", "_candidate", "_circuit", "_clock", "_endpoint", "_is_last", "_seconds", "_telemetry",
                 "own_id", "provider", "response", "verdict")  # fmt: skip

    def __init__(
        self,
        response: UpstreamResponse,
        endpoint: Endpoint,
        call: Call,
        candidate: Candidate,
        circuit: Circuit,
        telemetry: Telemetry,
        clock: Clock,
        seconds: float,
        is_last: bool,
    ) -> None:
        """`seconds`: until the response started; `is_last`: whether no other provider can be tried."""
        self.response = response
        self.provider = endpoint.provider
        self.own_id = candidate.own_id(call.model)
        """The id that is replaced in the response, None for every id; see `Candidate`."""
        self._call = call
        self._candidate = candidate
        self._circuit = circuit
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._clock = clock
        self._seconds = seconds
        self._is_last = is_last
        self.verdict: Verdict | None = None
        """If the response turned out to be a refusal."""

    def headers(self, *, has_limits: bool, names_provider: bool) -> list[Header]:
        """Return the headers that are relayed, and those that are added. `has_limits`: as in `relayed_headers`."""
        raw_headers, model = self.response.raw_headers, self._call.model
        relayed = response_headers.relayed_headers(raw_headers, own_id=self.own_id, model=model, has_limits=has_limits)
        headers = [*relayed, *self.further_headers, *self.id_headers]
        if names_provider:
            headers.append((b"x-served-by", self.provider.name.encode()))
        return headers

    @property
    def id_headers(self) -> Sequence[Header]:
        """The header with the provider's id of the request, if there is one."""
        upstream_id = self._call.record.upstream_request_id
        return id_headers(upstream_id) if upstream_id else ()

    @property
    def error_texts(self) -> ErrorTexts | None:
        """What redacts errors within the response, if it must not show the provider's ids."""
        if not self._candidate.hides_ids:
            return None
        response, ids = self.response, self._candidate.ids
        return ErrorTexts(Redaction(response.secrets, response.credentials, ids, hides_forms=True))

    def attribute(self, error: ApiError) -> None:
        """Add to an error that a part of the response caused which provider sent it."""
        error.provider = self.provider.name
        error.headers = error.headers or self.id_headers

    def error_in(self, body: bytes) -> ApiError | None:
        """Return the error if a complete JSON response with status 2xx is nothing but an error."""
        content = only_error(body)
        return None if content is None else self._refused(content, body)

    def error_in_event(self, data: bytes) -> ApiError:
        """Return the error that the first event of a stream is. `data`: of the event."""
        return self._refused(read_error(data), data)

    def error_if_empty(self) -> ApiError | None:
        """Return the error for a stream that ended soon without output; None if no other provider can be tried then."""
        if self._is_last or "empty_stream" not in self.provider.failover_on or not self.provider.failover:
            return None
        failure = UpstreamError("empty_stream", "ended the stream without output")
        self.verdict = classify(failure, self.provider.failover_on)
        return self.verdict.error

    def _refused(self, content: ErrorContent, body: bytes) -> ApiError:
        status = content.status or 502
        failure = error_response(self.response, self.provider, self._call, self._candidate, self._clock, status, body)
        failure = msgspec.structs.replace(failure, is_status_known=content.status is not None, is_in_success=True)
        self.verdict = classify(failure, self.provider.failover_on)
        return self.verdict.error

    @property
    def further_headers(self) -> Sequence[Header]:
        """The headers that the provider's `forward_headers` selects, and the dates at which the model is retired."""
        return _further_headers(self.response, self.provider, self._candidate)

    def finish(self, outcome: Outcome, tokens: Tokens) -> None:
        """Release the circuit, count the call, and log a failure. The rest of an incomplete response is discarded."""
        if outcome != "ok":
            self.response.close()
        circuit, record = self._circuit, self._call.record
        key, model = self._call.key, self._candidate.offer.entry.id
        circuit.release(key)
        if verdict := self.verdict:
            outcome, reason = verdict.outcome, verdict.reason
            record_verdict(circuit, key, model, verdict)
            self._endpoint.keys.limited(self.response.api_key, model, verdict.cool_down, key)
        elif reason := _FAILED_RESPONSES.get(outcome, ""):
            circuit.failed(key, model)
        else:
            circuit.succeeded(model)
        if reason:
            record.reason = reason
        tokens = tokens if self._call.has_new_tokens else Tokens()
        self._telemetry.attempt_ended(record, self.provider.name, outcome, self._seconds, tokens)


def error_response(
    response: UpstreamResponse,
    provider: Provider,
    call: Call,
    candidate: Candidate,
    clock: Clock,
    status: int,
    body: bytes,
) -> ErrorResponse:
    """Return a provider's response as an error. `status` and `body`: of the error, which a 2xx response can contain."""
    return ErrorResponse(
        status,
        body,
        response.raw_headers,
        _further_headers(response, provider, candidate),
        response.retry_after(clock.time()),
        response.request_id,
        response.secrets,
        response.credentials,
        candidate.ids,
        call.model,
        hides_ids=candidate.hides_ids,
    )


def _further_headers(response: UpstreamResponse, provider: Provider, candidate: Candidate) -> Sequence[Header]:
    """Also of an error: the provider may have shut the model down already."""
    further = _selected_headers(response, provider)
    dates = retirement_headers(candidate.offer.entry)
    return (*(header for header in further if header[0] not in RETIREMENT), *dates) if dates else further


def _selected_headers(response: UpstreamResponse, provider: Provider) -> Sequence[Header]:
    if provider.forwards is None:
        return ()
    secrets = (*response.secrets, *response.credentials)
    return [*response_headers.further_headers(response.raw_headers, provider.forwards, secrets)]


def record_verdict(circuit: Circuit, key: str, model: str, verdict: Verdict) -> None:
    """Record in a circuit what a response means for further calls. `key`: of the caller."""
    if verdict.trips:
        circuit.failed(key, model, is_unreachable=verdict.is_unreachable)
        return
    circuit.succeeded(model)
    if isinstance(verdict.error, ProviderAuthFailed | ProviderOutOfCredit):
        circuit.reject_account()

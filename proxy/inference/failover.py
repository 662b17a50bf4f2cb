"""Forward one call: failover, timeouts, circuit breakers. The caller of this module reads the response's body."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from proxy.asgi import Header
from proxy.clock import Clock
from proxy.config import Provider
from proxy.cooperative import run_yielding
from proxy.errors import ApiError, ProviderAuthFailed, ProviderOutOfCredit, UpstreamError
from proxy.inference.circuit import Circuit
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.error_content import MAX_BYTES, ErrorContent, only_error, read_error
from proxy.inference.error_redaction import Redaction
from proxy.inference.permitted import permitted
from proxy.inference.provider_errors import (
    RELAYED_STATUSES,
    ErrorResponse,
    Verdict,
    classify,
    id_headers,
    most_useful,
    not_called,
    unusable,
)
from proxy.inference.request.body import Body
from proxy.inference.request.headers import further_headers
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.params import ParamOverrides
from proxy.inference.response import headers as response_headers
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.response.ids import PATHS_WITH_IDS
from proxy.inference.routing import Candidate
from proxy.telemetry import CallRecord, Outcome, Telemetry, Tokens
from proxy.telemetry.access_log import failure_text
from proxy.upstream.calls import Endpoint, Logins
from proxy.upstream.response import UpstreamResponse

_MIN_ATTEMPT = 0.2  # seconds; with less time left no attempt is made
_ERROR_BODY_SECONDS = 5.0  # then the error is classified by its status, and what has arrived of its body
_LOGGED_BODY_SECONDS = 1.0  # for a body that is logged only: failover waits for it
_MIN_UNIQUE = 8  # characters; shorter texts are contained in others by chance

_FAILED_RESPONSES: Mapping[Outcome, str] = {
    "interrupted": "broken or unusable response",
    "timeout": "timed out mid-response",
}
"""How a response that has started can fail, for the log. These failures count for the circuit breaker."""

_log = logging.getLogger("models_proxy")


class Call(Struct, frozen=True):
    """A validated call."""

    path: str
    """As in `CallPath`: `/v1/...`, or a path that is not below the provider's base URL."""
    body: Body
    headers: Mapping[str, str]
    """The caller's headers that are forwarded."""
    candidates: Sequence[Candidate]
    """In the operator's order; at least one."""
    request_id: str
    key: str
    """The name of the caller's key."""
    record: CallRecord
    """Filled while the call proceeds."""
    raw_headers: Sequence[Header] = ()
    """All headers of the caller, from which `forward_headers` selects."""
    query: str = ""
    """The query parameters that are forwarded, percent-encoded."""

    @property
    def model(self) -> str:
        return self.body.model

    @property
    def has_new_tokens(self) -> bool:
        """Whether the tokens that the response reports were not counted before."""
        return True

    def own_text(self) -> Callable[[str], bool]:
        """Return a function: whether the caller may have written an id, or what a provider derives it from."""
        values = [value.decode("latin-1") for _, value in self.raw_headers]
        values += chain.from_iterable(parse_qsl(self.query, keep_blank_values=True))
        joined = "\n".join(values)
        unique = [value for value in values if len(value) >= _MIN_UNIQUE]

        def is_own(object_id: str) -> bool:
            end = object_id.rpartition("_")[2]
            text = end if len(end) >= _MIN_UNIQUE else object_id
            return text in joined or any(value in object_id for value in unique) or self.body.may_contain(text)

        return is_own

    @property
    def path_of_ids(self) -> str:
        """The call whose response contains ids as the response to this one does; "" for none."""
        return self.path if self.path in PATHS_WITH_IDS else ""

    def send(
        self, endpoint: Endpoint, candidate: Candidate, changes: ParamOverrides | None
    ) -> Awaitable[UpstreamResponse]:
        """Send the call with the provider's ids and changes of parameters. Raises BadRequest."""
        body = self.body.with_ids(candidate.ids)
        if changes and isinstance(self.body, JsonBody):
            return self._send_changed(body, endpoint, candidate, changes)
        return self._send_body(body, endpoint, candidate)

    async def _send_changed(
        self, body: bytes, endpoint: Endpoint, candidate: Candidate, changes: ParamOverrides
    ) -> UpstreamResponse:
        changed = await run_yielding(changes.applied(body, candidate.offer.entry.id))
        return await self._send_body(changed, endpoint, candidate)

    def _send_body(self, body: bytes, endpoint: Endpoint, candidate: Candidate) -> Awaitable[UpstreamResponse]:
        return endpoint.send(
            self.path,
            body,
            headers=self.headers_for(endpoint.provider),
            content_type=self.body.content_type.decode(),
            request_id=self.request_id,
            query=self.query,
            model=candidate.offer.entry.id,
            caller=self.key,
        )

    def headers_for(self, provider: Provider) -> Mapping[str, str]:
        """Return the caller's headers that are forwarded to a provider, by lower-case names."""
        if provider.forwards is None:
            return self.headers
        return {**further_headers(self.raw_headers, provider.forwards), **self.headers}


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
        failure = _error_response(self.response, self.provider, self._call, self._candidate, self._clock, status, body)
        failure = msgspec.structs.replace(failure, is_status_known=content.status is not None, is_in_success=True)
        self.verdict = classify(failure, self.provider.failover_on)
        return self.verdict.error

    @property
    def further_headers(self) -> Sequence[Header]:
        """The headers that the provider's `forward_headers` selects."""
        return _further_headers(self.response, self.provider)

    def finish(self, outcome: Outcome, tokens: Tokens) -> None:
        """Release the circuit, count the call, and log a failure. The rest of an incomplete response is discarded."""
        if outcome != "ok":
            self.response.close()
        circuit, record = self._circuit, self._call.record
        key, model = self._call.key, self._candidate.offer.entry.id
        circuit.release(key)
        if verdict := self.verdict:
            outcome, reason = verdict.outcome, verdict.reason
            _record(circuit, key, model, verdict)
            self._endpoint.keys.limited(self.response.api_key, model, verdict.cool_down, key)
        elif reason := _FAILED_RESPONSES.get(outcome, ""):
            circuit.failed(key, model)
        else:
            circuit.succeeded(model)
        if reason:
            record.reason = reason
        tokens = tokens if self._call.has_new_tokens else Tokens()
        self._telemetry.attempt_ended(record, self.provider.name, outcome, self._seconds, tokens)


class Forwarder:
    """Forwards calls. Has an endpoint and a circuit per provider that can be called."""

    def __init__(
        self,
        providers: Iterable[Provider],
        clock: Clock,
        telemetry: Telemetry,
        logins: Logins,
        new_offers: Mapping[str, Collection[str]],
        uniform: Callable[[float, float], float] = random.uniform,
        before: Forwarder | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        """`new_offers`: provider -> its own ids that its first list did not contain; it can change.

        `is_shared`: whether several keys can call.

        `before`: that of an earlier configuration. Nothing of it changes until `take_over`.
        """
        self._clock = clock
        self._telemetry = telemetry
        self._new_offers = new_offers
        self._is_shared = is_shared
        targets = [(provider, target) for provider in providers if (target := provider.target)]
        earlier = before.endpoints if before else {}
        self.endpoints: Mapping[str, Endpoint] = {
            p.name: Endpoint(p, target, logins, clock, earlier.get(p.name)) for p, target in targets
        }
        self._param_overrides = {p.name: changes for p, _ in targets if (changes := ParamOverrides(p.overrides))}
        self._failover_to = {p.name: p.failover_to for p, _ in targets}
        self._limits_owner = "same_owner" in self._failover_to.values()
        known = {**before._former_circuits, **before.circuits} if before else {}
        self.circuits: Mapping[str, Circuit] = {
            p.name: known.get(p.name)
            or Circuit(p, clock, self.endpoints[p.name].keys, uniform, telemetry.circuit_changed, is_shared=is_shared)
            for p, _ in targets
        }
        self._former_circuits: Mapping[str, Circuit] = {
            name: known[name] for name in known.keys() - self.circuits.keys()
        }
        """Those of removed providers, with calls in progress: such a provider may be added again."""

    def take_over(self) -> None:
        """Apply the configuration to the circuits and connections of the earlier one."""
        for name, endpoint in self.endpoints.items():
            endpoint.take_over()
            self.circuits[name].configure(endpoint.provider, endpoint.keys, is_shared=self._is_shared)
        self._former_circuits = {name: circuit for name, circuit in self._former_circuits.items() if circuit.load}

    async def close(self) -> None:
        for endpoint in self.endpoints.values():
            await endpoint.close()

    async def forward(self, call: Call, scope: CallScope, relay: Callable[[ForwardedCall], Awaitable[None]]) -> None:
        """Relay the first usable response, in the operator's order.

        `relay` sends a 2xx response to the client and finishes it. The next provider is tried only if this one cannot
        have done the work: its circuit rejects the call, or the failure is in `failover_on`. Providers with a
        free slot come first. Raises ApiError and ClientDisconnected.
        """
        refusals: list[Verdict] = []
        began = scope.now
        permitted = self._ordered(call.candidates, call.key)
        for candidate in permitted:
            provider = self.endpoints[candidate.offer.provider].provider
            seconds = provider.first_byte_timeout
            if refusals:
                # All attempts together have the longest `first_byte_timeout` of the candidates.
                seconds = min(seconds, began + self._longest_timeout(call) - scope.now)
                if seconds < _MIN_ATTEMPT:
                    break
                _log_failover(call.record, refusals[-1], provider)
                call.record.failed_over()
            refusal = await self._attempt(call, candidate, scope, seconds, relay, is_last=candidate is permitted[-1])
            if refusal is None:
                return
            if not (refusal.fail_over and provider.failover):
                raise refusal.error
            refusals.append(refusal)
        raise most_useful([refusal.error for refusal in refusals])

    def _ordered(self, candidates: Sequence[Candidate], key: str) -> Sequence[Candidate]:
        """Return the candidates to try, in this order.

        Those at their concurrency limit are last: a call waits only if no other provider has a free slot. A provider
        with `failover: false` keeps its calls, and its position.
        """
        if len(candidates) == 1:  # true for most calls
            return candidates
        if self._new_offers or self._limits_owner:
            candidates = permitted(candidates, self._failover_to, self._new_offers)
        return sorted(candidates, key=partial(self._must_wait, key))

    def _must_wait(self, key: str, candidate: Candidate) -> bool:
        name = candidate.offer.provider
        return self.endpoints[name].provider.failover and not self.circuits[name].has_slot(key)

    def _longest_timeout(self, call: Call) -> float:
        return max(self.endpoints[c.offer.provider].provider.first_byte_timeout for c in call.candidates)

    async def _attempt(
        self,
        call: Call,
        candidate: Candidate,
        scope: CallScope,
        seconds: float,
        relay: Callable[[ForwardedCall], Awaitable[None]],
        *,
        is_last: bool,
    ) -> Verdict | None:
        """Try one provider. Returns None if its response was relayed, otherwise why it was not.

        Raises ClientDisconnected, and ApiError if the response failed after a part of it was processed.
        """
        name, model = candidate.offer.provider, candidate.offer.entry.id
        circuit = self.circuits[name]
        if circuit.has_slot(call.key):
            error = circuit.acquire(call.key, model)
        else:
            waited_from = scope.now
            try:
                error = await circuit.wait(call.key, model, scope, seconds - _MIN_ATTEMPT)
            finally:
                self._telemetry.queue_waited(call.record, name, scope.now - waited_from)
            seconds -= scope.now - waited_from
        if error is not None:
            return not_called(error, name)
        result = await self._start(call, candidate, scope, seconds, is_last=is_last)
        if isinstance(result, Verdict):
            return result
        try:
            await relay(result)
        except ApiError:
            if result.verdict is None:
                raise
        return result.verdict

    async def _start(
        self, call: Call, candidate: Candidate, scope: CallScope, seconds: float, *, is_last: bool
    ) -> ForwardedCall | Verdict:
        """Send the call to a provider whose circuit was acquired. It is released unless a response has started.

        Raises ClientDisconnected.
        """
        endpoint, circuit = self.endpoints[candidate.offer.provider], self.circuits[candidate.offer.provider]
        record, name = call.record, endpoint.provider.name
        record.attempts += 1
        record.provider, record.upstream_request_id, record.reason = name, "", ""
        began = scope.now
        try:
            result = await self._exchange(endpoint, call, candidate, scope, seconds)
            if not isinstance(result, UpstreamResponse):
                verdict = classify(result, endpoint.provider.failover_on)
        except BaseException as error:
            circuit.release(call.key)
            if isinstance(error, ClientDisconnected):
                self._telemetry.attempt_ended(record, name, "client_disconnected", None, Tokens())
            raise
        if isinstance(result, UpstreamResponse):
            record.upstream_request_id = result.request_id
            circuit.response_started(call.key, candidate.offer.entry.id)
            return ForwardedCall(
                result,
                endpoint,
                call,
                candidate,
                circuit,
                self._telemetry,
                self._clock,
                seconds=scope.now - began,
                is_last=is_last,
            )
        record.upstream_request_id = result.request_id if isinstance(result, ErrorResponse) else ""
        if verdict.reason:
            record.reason = verdict.reason
        circuit.release(call.key)
        _record(circuit, call.key, candidate.offer.entry.id, verdict)
        endpoint.keys.limited("", candidate.offer.entry.id, verdict.cool_down, call.key)
        self._telemetry.attempt_ended(record, name, verdict.outcome, None, Tokens())
        verdict.error.provider = name
        return verdict

    async def _exchange(
        self, endpoint: Endpoint, call: Call, candidate: Candidate, scope: CallScope, seconds: float
    ) -> UpstreamResponse | ErrorResponse | UpstreamError:
        """Send the call. Returns a response that can be relayed, or the failure. Raises ClientDisconnected."""
        changes = self._param_overrides.get(endpoint.provider.name)
        try:
            response = await scope.wait(call.send(endpoint, candidate, changes), seconds)
        except UpstreamError as error:
            return error
        except DeadlineExceeded:
            return UpstreamError("timeout", "timed out before sending a response")
        if not 200 <= response.status < 300:
            body = await _error_body(response, scope, endpoint.provider.idle_timeout)
            return _error_response(response, endpoint.provider, call, candidate, self._clock, response.status, body)
        if failure := unusable(response.coding):
            response.close()
            return failure
        return response


def _error_response(
    response: UpstreamResponse,
    provider: Provider,
    call: Call,
    candidate: Candidate,
    clock: Clock,
    status: int,
    body: bytes,
) -> ErrorResponse:
    return ErrorResponse(
        status,
        body,
        response.raw_headers,
        _further_headers(response, provider),
        response.retry_after(clock.time()),
        response.request_id,
        response.secrets,
        response.credentials,
        candidate.ids,
        call.model,
        hides_ids=candidate.hides_ids,
    )


def _further_headers(response: UpstreamResponse, provider: Provider) -> Sequence[Header]:
    if provider.forwards is None:
        return ()
    secrets = (*response.secrets, *response.credentials)
    return [*response_headers.further_headers(response.raw_headers, provider.forwards, secrets)]


def _log_failover(record: CallRecord, refusal: Verdict, following: Provider) -> None:
    """Log a failover, with the reason of a failure; that of the last attempt is in the line of the call."""
    failure = f": {failure_text(record)}" if refusal.reason else ""
    text = f"failover from {refusal.error.provider} to {following.name}: {refusal.cause}{failure}"
    _log.log(logging.WARNING if failure else logging.INFO, "call %s: %s", record.request_id, text)


def _record(circuit: Circuit, key: str, model: str, verdict: Verdict) -> None:
    if verdict.trips:
        circuit.failed(key, model, is_unreachable=verdict.is_unreachable)
        return
    circuit.succeeded(model)
    if isinstance(verdict.error, ProviderAuthFailed | ProviderOutOfCredit):
        circuit.reject_account()


async def _error_body(response: UpstreamResponse, scope: CallScope, seconds: float) -> bytes:
    """Return the body of an error, or what arrives of it in time, and close it. Raises ClientDisconnected."""
    longest = _ERROR_BODY_SECONDS if response.status in RELAYED_STATUSES else _LOGGED_BODY_SECONDS
    body = bytearray()
    try:
        await scope.wait(response.read_raw(body, MAX_BYTES), min(seconds, longest))
    except (DeadlineExceeded, UpstreamError):
        pass
    finally:
        response.close()
    return bytes(body[:MAX_BYTES])

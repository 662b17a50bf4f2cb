"""Forward one call: failover, timeouts, circuit breakers. The caller of this module reads the response's body."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, UpstreamError
from proxy.inference.call import Call
from proxy.inference.circuit import Circuit
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.error_content import MAX_BYTES
from proxy.inference.forwarded import ForwardedCall, error_response, record_verdict
from proxy.inference.permitted import permitted
from proxy.inference.provider_errors import RELAYED_STATUSES, classify, most_useful, not_called, unusable
from proxy.inference.reconnects import Reconnects
from proxy.inference.request.params import ParamOverrides
from proxy.inference.routing import Candidate
from proxy.inference.verdict import ErrorResponse, Verdict
from proxy.telemetry import CallRecord, Telemetry, Tokens
from proxy.telemetry.access_log import failure_text
from proxy.upstream.calls import Endpoint, Logins
from proxy.upstream.response import UpstreamResponse

_MIN_ATTEMPT = 0.2  # seconds; with less time left no attempt is made
_ERROR_BODY_SECONDS = 5.0  # then the error is classified by its status, and what has arrived of its body
_LOGGED_BODY_SECONDS = 1.0  # for a body that is logged only: failover waits for it

_log = logging.getLogger("models_proxy")


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
        self._reconnects = Reconnects(self.endpoints, self.circuits, clock)

    def take_over(self) -> None:
        """Apply the configuration to the circuits and connections of the earlier one."""
        for name, endpoint in self.endpoints.items():
            endpoint.take_over()
            self.circuits[name].configure(endpoint.provider, endpoint.keys, is_shared=self._is_shared)
        self._former_circuits = {name: circuit for name, circuit in self._former_circuits.items() if circuit.load}

    async def close(self) -> None:
        await self._reconnects.close()
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
            self._reconnects.begin(name)
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
        record.attempt_began, record.own_model = self._telemetry.monotonic(), candidate.offer.entry.id
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
        record_verdict(circuit, call.key, candidate.offer.entry.id, verdict)
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
            return error_response(response, endpoint.provider, call, candidate, self._clock, response.status, body)
        if failure := unusable(response.coding):
            response.close()
            return failure
        return response


def _log_failover(record: CallRecord, refusal: Verdict, following: Provider) -> None:
    """Log a failover, with the reason of a failure; that of the last attempt is in the line of the call."""
    failure = f": {failure_text(record)}" if refusal.reason else ""
    text = f"failover from {refusal.error.provider} to {following.name}: {refusal.cause}{failure}"
    _log.log(logging.WARNING if failure else logging.INFO, "call %s: %s", record.request_id, text)


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

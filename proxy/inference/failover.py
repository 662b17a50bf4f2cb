"""Forward one call to a provider: failover, time limits, circuits. Reading the response's body is up to the caller."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from proxy.catalog import Offer
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, ProviderFailed, ProviderRefusesUs, ProviderTooSlow, UpstreamError
from proxy.inference.circuit import Circuit
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.provider_errors import ABOUT_THE_REQUEST, BREAKS, MAX_BYTES, map_status, relay_error
from proxy.inference.request.body import Body
from proxy.telemetry import Tokens, Usage
from proxy.telemetry.usage import Labels, Outcome
from proxy.upstream.calls import Endpoint, Logins, UpstreamResponse

_MIN_ATTEMPT = 0.2  # seconds; with less left no attempt is made
_ERROR_BODY_SECONDS = 5.0  # the status is enough to act on

_log = logging.getLogger("models_proxy")


class Candidate(Struct, frozen=True):
    """One way to answer a call: an offer of the model, and what its provider calls the models that are named."""

    offer: Offer
    ids: Mapping[str, str]
    """Public id -> the id to call."""


class Call(Struct, frozen=True):
    """A call that may be passed on."""

    path: str
    """Below the place where a provider's models are called."""
    body: Body
    headers: Mapping[str, str]
    """Of the caller's, those that may go up."""
    candidates: Sequence[Candidate]
    """In the operator's order; at least one."""
    request_id: str
    key: str
    """The name of the caller's key."""

    @property
    def model(self) -> str:
        return self.body.model


class ForwardedCall:
    """A call that a provider accepted: its response (2xx), and the accounting when it ends. It must be finished."""

    __slots__ = ("_circuit", "_labels", "_seconds", "_usage", "own_id", "provider", "response")

    def __init__(
        self,
        response: UpstreamResponse,
        provider: Provider,
        own_id: str,
        circuit: Circuit,
        usage: Usage,
        labels: Labels,
        seconds: float,
    ) -> None:
        """`own_id`: the provider's name of the model; `seconds`: until the response began."""
        self.response = response
        self.provider = provider
        self.own_id = own_id
        self._circuit = circuit
        self._usage = usage
        self._labels = labels
        self._seconds = seconds

    def finish(self, outcome: Outcome, tokens: Tokens) -> None:
        """Release the circuit and count the call. The rest of an unfinished response is dropped."""
        if outcome != "ok":
            self.response.close()
        self._circuit.release()
        if outcome in ("broken", "timeout"):
            self._circuit.failed()
        else:
            self._circuit.succeeded()
        self._usage.count(self._labels, outcome, self._seconds, tokens)


class Forwarder:
    """Forwards calls. Holds an endpoint and a circuit for each provider whose models can be called."""

    def __init__(
        self,
        providers: Iterable[Provider],
        clock: Clock,
        usage: Usage,
        logins: Logins,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._usage = usage
        targets = [(provider, target) for provider in providers if (target := provider.target)]
        self.endpoints: Mapping[str, Endpoint] = {p.name: Endpoint(p, target, logins) for p, target in targets}
        self.circuits: Mapping[str, Circuit] = {p.name: Circuit(p, clock, uniform) for p, _ in targets}

    async def close(self) -> None:
        for endpoint in self.endpoints.values():
            await endpoint.close()

    async def forward(self, call: Call, scope: CallScope) -> ForwardedCall:
        """The first response that begins, in the operator's order. Raises ApiError and ClientDisconnected.

        The next provider is tried only if the failed one cannot have done the work: no connection was made, or its
        status says so (`failover_on`).
        """
        refusals: list[ApiError] = []
        began = scope.now
        for candidate in call.candidates:
            endpoint = self.endpoints[candidate.offer.provider]
            circuit = self.circuits[candidate.offer.provider]
            seconds = endpoint.provider.first_byte_timeout
            if refusals:
                # All attempts share the longest timeout: the first provider's may be short (`timeout` fails over).
                longest = max(self.endpoints[c.offer.provider].provider.first_byte_timeout for c in call.candidates)
                seconds = min(seconds, began + longest - scope.now)
                if seconds < _MIN_ATTEMPT:
                    break
            rejected = circuit.acquire(candidate.offer.entry.id)
            if rejected:
                if not endpoint.provider.failover:
                    raise rejected
                refusals.append(rejected)
                continue
            try:
                return await self._attempt(endpoint, circuit, call, candidate, scope, seconds)
            except _Refused as refused:
                if not (refused.may_pass_on and endpoint.provider.failover):
                    raise refused.error from None
                refusals.append(refused.error)
        raise _soonest(refusals)

    async def _attempt(
        self,
        endpoint: Endpoint,
        circuit: Circuit,
        call: Call,
        candidate: Candidate,
        scope: CallScope,
        seconds: float,
    ) -> ForwardedCall:
        """One provider. Raises _Refused and ClientDisconnected; the circuit is released then."""
        began = scope.now
        provider = endpoint.provider
        labels = Labels(call.key, provider.name, call.model)
        try:
            sending = endpoint.send(
                call.path,
                call.body.with_ids(candidate.ids),
                headers=call.headers,
                content_type=call.body.content_type.decode(),
                request_id=call.request_id,
            )
            response = await scope.wait(sending, seconds)
            unusable = _why_unusable(response)
            if unusable is None:
                if circuit.breaker != "closed":
                    circuit.succeeded()  # other calls need not wait for the end of a response that may take an hour
                own_id = candidate.ids[call.model]
                return ForwardedCall(response, provider, own_id, circuit, self._usage, labels, scope.now - began)
            try:
                refused = await self._refusal(provider, circuit, candidate, response, scope, unusable)
            finally:
                response.close()
        except DeadlineExceeded:
            late = ProviderTooSlow("The provider of this model did not begin to answer in time.")
            refused = _Refused(late, "timeout" in provider.failover_on, "timeout", breaks=True)
        except UpstreamError as error:
            refused = _no_answer(error)
        except BaseException as error:
            circuit.release()
            if isinstance(error, ClientDisconnected):
                self._usage.count(labels, "left")
            raise
        circuit.release()
        if refused.breaks:
            circuit.failed()
        else:
            circuit.succeeded()
        self._usage.count(labels, refused.outcome)
        if refused.reason:
            _log.warning("call %s: %s: %s", call.request_id, provider.name, refused.reason)
        raise refused

    async def _refusal(
        self,
        provider: Provider,
        circuit: Circuit,
        candidate: Candidate,
        response: UpstreamResponse,
        scope: CallScope,
        unusable: str,
    ) -> _Refused:
        """What a response means that cannot be relayed. Raises ClientDisconnected."""
        status = response.status
        if unusable:
            other = ProviderFailed("The provider of this model answered with something else.")
            return _Refused(other, False, "failed", breaks=True, reason=unusable)
        waits = response.retry_after(self._clock.time())
        may_pass_on = status in provider.failover_on
        error: ApiError
        if status == 429 or status in ABOUT_THE_REQUEST:
            body = await _error_body(response, scope, provider.idle_timeout)
            error = relay_error(status, response.headers, body, waits, response.secrets, response.credentials)
        else:
            error = map_status(status, waits)
        if status == 429:
            circuit.cool_down(candidate.offer.entry.id, waits or 0.0)
        outcome = _OUTCOMES.get(status, "failed")
        reason = f"status {status}" if outcome == "failed" else ""
        return _Refused(error, may_pass_on, outcome, breaks=status in BREAKS, reason=reason)


def _no_answer(error: UpstreamError) -> _Refused:
    if error.kind == "login":
        no_login: ApiError = ProviderRefusesUs("The provider of this model refused our login.")
        if error.retryable:
            no_login = ProviderFailed("The provider of this model could not be logged in to.")
        return _Refused(no_login, True, "failed", breaks=True, reason=error.reason)
    if error.kind == "no_connection":
        away = ProviderFailed("The provider of this model cannot be reached.")
        return _Refused(away, True, "failed", breaks=True, reason=error.reason)
    broken = ProviderFailed("The provider of this model broke off before it answered.")
    return _Refused(broken, False, "failed", breaks=True, reason=error.reason)


class _Refused(Exception):
    """One provider has not answered: what the caller is told if no other one does."""

    def __init__(self, error: ApiError, may_pass_on: bool, outcome: Outcome, *, breaks: bool, reason: str = "") -> None:
        super().__init__()
        self.error = error
        self.may_pass_on = may_pass_on
        self.outcome = outcome
        self.breaks = breaks
        """Whether it tells of the provider, and not of what was asked."""
        self.reason = reason
        """For the log; a refusal of what was asked is not worth a line."""


_OUTCOMES: Mapping[int, Outcome] = {400: "refused", 413: "refused", 422: "refused", 429: "limited"}


def _soonest(refusals: Sequence[ApiError]) -> ApiError:
    """Of several refusals the one that is over first; without such times the last."""
    timed = [error for error in refusals if error.retry_after is not None]
    return min(timed, key=lambda error: error.retry_after or 0.0) if timed else refusals[-1]


def _why_unusable(response: UpstreamResponse) -> str | None:
    """None for a response to relay; "" for an error status."""
    if not 200 <= response.status < 300:
        return ""
    if response.coding not in ("", "gzip", "x-gzip"):
        return "answered in a content-encoding that was not asked for"
    if response.content_type.lower().startswith("text/html"):
        return "answered with a web page"
    return None


async def _error_body(response: UpstreamResponse, scope: CallScope, seconds: float) -> bytes:
    """b"" if it does not arrive, or not in time: the status is enough. Raises ClientDisconnected."""
    try:
        return await scope.wait(response.read_up_to(MAX_BYTES), min(seconds, _ERROR_BODY_SECONDS))
    except (DeadlineExceeded, UpstreamError):
        return b""

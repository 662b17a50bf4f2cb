"""Pass one call on to a provider: failover, time limits, what refusals mean. The answer's body is the caller's.

aiohttp, one session for each provider: httpx 0.28 loses a connection slot for good when a request is cut off while
it connects, and takes more than ten times the CPU for a call.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import aiohttp
from msgspec import Struct
from multidict import CIMultiDict
from yarl import URL

from proxy import __version__
from proxy.catalog import Offer
from proxy.clock import Clock
from proxy.config import Provider, Target
from proxy.errors import ApiError, ProviderFailed, ProviderRefusesUs, ProviderTooSlow, UpstreamError
from proxy.inference.circuit import Circuit
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.provider_errors import ABOUT_THE_REQUEST, BREAKS, MAX_BYTES, map_status, relay_error
from proxy.inference.request.body import Body
from proxy.telemetry import Tokens, Usage
from proxy.telemetry.usage import Labels, Outcome
from proxy.upstream.connection import Connections
from proxy.upstream.credentials import in_headers, in_query, of_its_kind, secrets_of
from proxy.upstream.errors import retry_after
from proxy.upstream.transport import Gunzip

_MIN_ATTEMPT = 0.2  # seconds; with less left no attempt is begun
_PATIENCE_FOR_WORDS = 5.0  # seconds; the status of a refusal is enough to act on
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_BROKEN = (aiohttp.ClientError, OSError, ValueError)

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


class Sign(Protocol):
    """Logins that providers have instead of keys."""

    async def sign(self, provider: Provider) -> Mapping[str, str]:
        """The header of a token that is still good. Raises UpstreamError."""
        ...

    def distrust(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """The provider has refused the token of this header."""
        ...


class UpstreamResponse:
    """An answer that has begun (2xx). Whoever has it must `close` it."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        provider: Provider,
        own_id: str,
        closed: Callable[[Outcome, Tokens], None],
    ) -> None:
        """`closed` is told how it ended, and what it said that it used."""
        self.provider = provider
        self.status = response.status
        self.headers = response.headers
        self.raw_headers = response.raw_headers
        self.own_id = own_id
        """What the provider calls the model."""
        self.content_type = response.headers.get("Content-Type", "")
        self._response = response
        self._content = response.content
        self._closed = closed
        packed = "Content-Encoding" in response.headers and _coding(response.headers)
        self._gunzip = Gunzip() if packed else None

    @property
    def length(self) -> int | None:
        """Bytes, if the provider says so."""
        return None if self._gunzip else self._response.content_length

    @property
    def ends_by_closing(self) -> bool:
        """Whether nothing but the end of the connection tells that it is whole."""
        transfer = self.headers.get("Transfer-Encoding", "")
        return self._response.content_length is None and "chunked" not in transfer.lower()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come, as far as can be told without waiting."""
        return self._gunzip is None and self._content.at_eof()

    def at_hand(self) -> bytes:
        """What has come already. Raises ProviderFailed."""
        if self._gunzip:
            return b""
        try:
            return self._content.read_nowait(-1)
        except _BROKEN as error:
            raise ProviderFailed("The provider of this model broke off within its answer.") from error

    async def read(self) -> bytes:
        """What has come, b"" at the end. Raises ProviderFailed."""
        try:
            return await (self._content.readany() if self._gunzip is None else self._unpacked(self._gunzip))
        except (*_BROKEN, UpstreamError) as error:
            raise ProviderFailed("The provider of this model broke off within its answer.") from error

    async def _unpacked(self, gunzip: Gunzip) -> bytes:
        """gzip although nothing was asked for but plain bytes."""
        while packed := await self._content.readany():
            if plain := b"".join(gunzip.chunks(packed)):
                return plain
        if not gunzip.complete:
            raise ValueError("cut off")
        return b""

    def close(self, outcome: Outcome, tokens: Tokens) -> None:
        """It is over; what has not been read is not wanted any more."""
        if outcome != "ok":
            self._response.close()
        self._closed(outcome, tokens)


class Endpoint:
    """To one provider: its session, and what goes with every call."""

    def __init__(self, provider: Provider, target: Target, circuit: Circuit) -> None:
        self.provider = provider
        self.circuit = circuit
        self._target = target
        self._query = in_query(target.auth, provider.api_key)
        self._urls: dict[str, URL] = {}
        operators = {name: value.get_secret_value() for name, value in provider.headers.items()}
        self._ours: CIMultiDict[str] = CIMultiDict(
            {
                "User-Agent": f"models-proxy/{__version__}",
                "Accept-Encoding": "identity",
                **in_headers(target.auth, provider.api_key),
            }
        )
        self._ours.update(operators)
        self.connections = Connections(provider)
        if target.base_url.startswith("http://"):
            # There is no CONNECT, so whoever stands in between reads this request.
            self._ours.update(self.connections.egress_login)
        self._whole = CIMultiDict(of_its_kind(provider))
        self._whole.update(self._ours)

    def url(self, path: str) -> URL:
        if path not in self._urls:
            url = URL(self._target.base_url + path, encoded=True)
            self._urls[path] = url.with_query(self._query) if self._query else url
        return self._urls[path]

    def headers(self, callers: Mapping[str, str]) -> CIMultiDict[str]:
        """What a kind wants by itself, then the caller's, then ours, which nobody replaces."""
        headers = self._whole.copy()
        if callers:
            headers.update(callers)
            headers.update(self._ours)
        return headers

    def send(self, path: str, body: bytes, headers: CIMultiDict[str]) -> Awaitable[aiohttp.ClientResponse]:
        return self.connections.post(self.url(path), headers, body)


class Forwarder:
    """Passes calls on. Holds, for each provider, a session and whether it takes calls at the moment."""

    def __init__(
        self,
        providers: Iterable[Provider],
        clock: Clock,
        usage: Usage,
        logins: Sign,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._usage = usage
        self._logins = logins
        self._ways = {
            provider.name: Endpoint(provider, target, Circuit(provider, clock, uniform))
            for provider in providers
            if (target := provider.target)
        }

    async def close(self) -> None:
        for way in self._ways.values():
            await way.connections.close()

    async def answer(self, call: Call, scope: CallScope) -> UpstreamResponse:
        """The first provider's answer that has begun, in the operator's order. Raises ApiError and ClientLeft.

        Another one is tried only while nothing has come back, and only where the failed one cannot have done the
        work: without a connection, or after a refusal that says so (`failover_on`).
        """
        refusals: list[ApiError] = []
        began = scope.now
        for candidate in call.candidates:
            way = self._ways[candidate.offer.provider]
            seconds = way.provider.first_byte_timeout
            if refusals:
                # The most patient provider's time is everybody's: an impatient one may be passed by (`timeout`).
                longest = max(self._ways[c.offer.provider].provider.first_byte_timeout for c in call.candidates)
                seconds = min(seconds, began + longest - scope.now)
                if seconds < _MIN_ATTEMPT:
                    break
            closed = way.circuit.acquire(candidate.offer.entry.id)
            if closed:
                if not way.provider.failover:
                    raise closed
                refusals.append(closed)
                continue
            try:
                return await self._attempt(way, call, candidate, scope, seconds)
            except _Refused as refused:
                if not (refused.may_pass_on and way.provider.failover):
                    raise refused.error from None
                refusals.append(refused.error)
        raise _soonest(refusals)

    async def _attempt(
        self, way: Endpoint, call: Call, candidate: Candidate, scope: CallScope, seconds: float
    ) -> UpstreamResponse:
        """One provider. Raises _Refused and ClientLeft; then everything is given back."""
        began = scope.now
        labels = Labels(call.key, way.provider.name, call.model)
        try:
            response = await scope.wait(self._send(way, call, candidate), seconds)
            unusable = _why_unusable(response)
            if unusable is None:
                return self._begun(way, call, candidate, response, labels, scope.now - began)
            try:
                refused = await self._refusal(way, candidate, response, scope, unusable)
            finally:
                response.close()
        except DeadlineExceeded:
            late = ProviderTooSlow("The provider of this model did not begin to answer in time.")
            refused = _Refused(late, "timeout" in way.provider.failover_on, "timeout", breaks=True)
        except UpstreamError as error:
            no_login: ApiError = ProviderRefusesUs("The provider of this model refused our login.")
            if error.retryable:
                no_login = ProviderFailed("The provider of this model could not be logged in to.")
            refused = _Refused(no_login, True, "failed", breaks=True, reason=error.reason)
        except _NO_CONNECTION as error:
            away = ProviderFailed("The provider of this model cannot be reached.")
            refused = _Refused(away, True, "failed", breaks=True, reason=f"no connection ({type(error).__name__})")
        except _BROKEN as error:
            broken = ProviderFailed("The provider of this model broke off before it answered.")
            refused = _Refused(broken, False, "failed", breaks=True, reason=f"no answer ({type(error).__name__})")
        except BaseException as error:
            way.circuit.release()
            if isinstance(error, ClientDisconnected):
                self._usage.count(labels, "left")
            raise
        way.circuit.release()
        if refused.breaks:
            way.circuit.failed()
        else:
            way.circuit.succeeded()
        self._usage.count(labels, refused.outcome)
        if refused.reason:
            _log.warning("call %s: %s: %s", call.request_id, way.provider.name, refused.reason)
        raise refused

    def _send(self, way: Endpoint, call: Call, candidate: Candidate) -> Awaitable[aiohttp.ClientResponse]:
        headers = way.headers(call.headers)
        headers["X-Request-Id"] = call.request_id
        headers["Content-Type"] = call.body.content_type.decode()
        body = call.body.with_ids(candidate.ids)
        if way.provider.oauth or way.provider.iam:
            return self._signed(way, call.path, body, headers)
        return way.send(call.path, body, headers)

    async def _signed(self, way: Endpoint, path: str, body: bytes, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        signed = await self._logins.sign(way.provider)
        headers.update(signed)
        response = await way.send(path, body, headers)
        if response.status != 401:
            return response
        # The token ended before its time. Whoever is refused has done no work.
        response.close()
        self._logins.distrust(way.provider, signed)
        headers.update(await self._logins.sign(way.provider))
        return await way.send(path, body, headers)

    def _begun(
        self,
        way: Endpoint,
        call: Call,
        candidate: Candidate,
        response: aiohttp.ClientResponse,
        labels: Labels,
        took: float,
    ) -> UpstreamResponse:
        if way.circuit.breaker != "closed":
            way.circuit.succeeded()  # others need not wait for the end of an answer that may last an hour

        def closed(outcome: Outcome, tokens: Tokens) -> None:
            way.circuit.release()
            if outcome in ("broken", "timeout"):
                way.circuit.failed()
            else:
                way.circuit.succeeded()
            self._usage.count(labels, outcome, took, tokens)

        return UpstreamResponse(response, way.provider, candidate.ids[call.model], closed)

    async def _refusal(
        self, way: Endpoint, candidate: Candidate, response: aiohttp.ClientResponse, scope: CallScope, unusable: str
    ) -> _Refused:
        """What an answer means that is none for the caller. Raises ClientLeft."""
        status = response.status
        if unusable:
            other = ProviderFailed("The provider of this model answered with something else.")
            return _Refused(other, False, "failed", breaks=True, reason=unusable)
        waits = retry_after(response.headers.getall("Retry-After", ()), self._clock.time())
        may_pass_on = status in way.provider.failover_on
        error: ApiError
        if status == 429 or status in ABOUT_THE_REQUEST:
            body = await _body_of_refusal(response, scope, way.provider.idle_timeout)
            credentials = tuple(_credentials(way.provider, response))
            error = relay_error(status, response.headers, body, waits, secrets_of(way.provider), credentials)
        else:
            error = map_status(status, waits)
        if status == 429:
            way.circuit.cool_down(candidate.offer.entry.id, waits or 0.0)
        outcome = _OUTCOMES.get(status, "failed")
        reason = f"status {status}" if outcome == "failed" else ""
        return _Refused(error, may_pass_on, outcome, breaks=status in BREAKS, reason=reason)


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


def _why_unusable(response: aiohttp.ClientResponse) -> str | None:
    """None for an answer to pass on; "" for a refusal, whose status says it all."""
    if not 200 <= response.status < 300:
        return ""
    if "Content-Encoding" in response.headers and _coding(response.headers) not in ("", "gzip", "x-gzip"):
        return "answered in a content-encoding that was not asked for"
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        return "answered with a web page"
    return None


def _coding(headers: Mapping[str, str]) -> str:
    """The content-encoding of an answer, "" for none."""
    coding = headers.get("Content-Encoding", "").strip().lower()
    return "" if coding == "identity" else coding


async def _body_of_refusal(response: aiohttp.ClientResponse, scope: CallScope, seconds: float) -> bytes:
    """b"" where it does not come, or not in time: what is refused is refused all the same. Raises ClientLeft."""
    try:
        return await scope.wait(_beginning(response.content), min(seconds, _PATIENCE_FOR_WORDS))
    except (DeadlineExceeded, *_BROKEN):
        return b""


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while len(body) <= MAX_BYTES and (chunk := await content.readany()):
        body += chunk
    return body


def _credentials(provider: Provider, response: aiohttp.ClientResponse) -> Iterator[str]:
    """What went up to say who we are. The token of a login stands nowhere else."""
    if provider.api_key:
        yield provider.api_key.get_secret_value()
    for name in ("Authorization", "X-Auth-Token"):
        if sent := response.request_info.headers.get(name):
            yield sent.rpartition(" ")[2]

"""Send calls to providers over aiohttp. Failures of aiohttp and of the network become `UpstreamError`.

Calls use aiohttp, one session per provider, because httpx 0.28 leaks a connection slot when a request is canceled
while connecting, and needs more than ten times the CPU per call.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol
from urllib.parse import unquote_plus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy import __version__
from proxy.calls import GEMINI_VERSION
from proxy.clock import Clock
from proxy.config import Provider, Target
from proxy.errors import UpstreamError
from proxy.upstream.connection import Connections
from proxy.upstream.credentials import auth_headers, auth_query, kind_headers, sent_secrets
from proxy.upstream.exchange import Incoming
from proxy.upstream.key_pool import KeyPool, Refusal, refusal_of, send_with_keys
from proxy.upstream.logins import send_signed
from proxy.upstream.masking import Mask, mask_of
from proxy.upstream.response import FAILURES, UpstreamResponse

_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of sockets that say nothing about the provider: callers with many connections can cause them."""
_MAX_URLS = 100  # per API key
_LIST_HEADERS = ("openai-beta", "anthropic-beta", "tracestate", "baggage")
"""Headers whose values are lists, to which the operator and the caller can both contribute."""


class Logins(Protocol):
    """Credentials of providers that change: API keys, and logins that grant tokens instead."""

    def keys_of(self, provider: Provider) -> KeyPool:
        """The API keys of a provider."""
        ...

    async def sign(self, provider: Provider) -> Mapping[str, str]:
        """The header with a valid token. Raises UpstreamError."""
        ...

    def discard_token(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """Discard the token in this header: the provider rejected it."""
        ...


class _Requests:
    """The URLs and headers of the requests with one API key."""

    def __init__(self, provider: Provider, target: Target, key: str, egress_headers: Mapping[str, str]) -> None:
        """`key`: "" for none."""
        self._target = target
        self._query = auth_query(target.auth, key)
        self._secrets = tuple(sent_secrets(provider, target.auth, key))
        self._mask = mask_of(self._secrets)
        self._urls: dict[str, URL] = {}
        operator_headers = {name: value.get_secret_value() for name, value in provider.headers.items()}
        self._own_headers: CIMultiDict[str] = CIMultiDict(
            {
                "Accept-Encoding": "identity",
                **auth_headers(target.auth, key),
            }
        )
        self._own_headers.update(operator_headers)
        if target.base_url.startswith("http://"):
            # Plain HTTP uses no CONNECT, so the request itself must authenticate at the egress proxy.
            self._own_headers.update(egress_headers)
        self._defaults = CIMultiDict(
            {"Accept": "*/*", "User-Agent": f"models-proxy/{__version__}", **kind_headers(provider)}
        )
        self._defaults.update(self._own_headers)
        self._gemini = _Requests(provider, target.gemini, key, egress_headers) if target.gemini else None
        self._own_lists = {name: self._own_headers[name] for name in _LIST_HEADERS if name in self._own_headers}

    def mask(self, signed: Mapping[str, str]) -> Mask | None:
        """The mask of what is sent, with the header of a login or without one."""
        if not signed:
            return self._mask
        return mask_of((*self._secrets, *(value.rpartition(" ")[2] for value in signed.values())))

    def of(self, path: str) -> _Requests:
        """Return the requests for the path of a call: the Gemini API can have another base URL."""
        return self._gemini if self._gemini and path.startswith(GEMINI_VERSION) else self

    def url(self, path: str) -> URL:
        if path not in self._urls:
            if len(self._urls) >= _MAX_URLS:  # paths can contain the id of a model
                self._urls.clear()
            url = URL(self._target.url(path), encoded=True)
            self._urls[path] = url.with_query(self._query) if self._query else url
        return self._urls[path]

    def url_with(self, path: str, query: Sequence[tuple[str, str]]) -> URL:
        return URL(self._target.url(path), encoded=True).with_query([*self._query.items(), *query])

    def headers(self, caller_headers: Mapping[str, str]) -> CIMultiDict[str]:
        """Defaults of the provider's kind, then the caller's headers, then the proxy's own, which take precedence.

        `caller_headers` have lower-case names.
        """
        headers = self._defaults.copy()
        if caller_headers:
            headers.update(caller_headers)
            headers.update(self._own_headers)
            for name in self._own_lists.keys() & caller_headers.keys():
                headers[name] = _united(self._own_lists[name], caller_headers[name])
        return headers


class Endpoint:
    """One provider's connections, API keys, URLs and headers."""

    def __init__(
        self, provider: Provider, target: Target, logins: Logins, clock: Clock, before: Endpoint | None = None
    ) -> None:
        """`before`: that of an earlier configuration, whose connections are reused if they lead to the same host."""
        self.provider = provider
        self._target = target
        self._logins = logins
        self._clock = clock
        self._has_login = bool(provider.oauth or provider.iam)
        self._is_shared = before is not None and before.connections.fit(provider)
        self.connections: Connections = (
            before.connections if before and self._is_shared else Connections(provider, clock)
        )
        self.keys = logins.keys_of(provider)
        self._requests: dict[str, _Requests] = {}
        """By API key. Contains a key that was replaced in its file until the next such change."""
        self._first = self._requests_with(self.keys.first())

    def send(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        content_type: str,
        request_id: str,
        model: str,
        caller: str,
        query: str = "",
    ) -> Awaitable[UpstreamResponse]:
        """POST to the path of a call at the target. Raises UpstreamError.

        `headers` and `query` (percent-encoded) are the caller's. `model` (the provider's id) and `caller` (the name of
        the caller's key): for which an API key is selected.

        Kinds: `no_connection` and `login` (nothing was sent), `no_response` (the provider may have processed the call).
        """

        def post(requests: _Requests, signed: Mapping[str, str]) -> Awaitable[UpstreamResponse]:
            requests = requests.of(path)
            all_headers = requests.headers(headers)
            all_headers["X-Request-Id"] = request_id
            all_headers["Content-Type"] = content_type
            if signed:
                all_headers.update(signed)
            url = _with_query(requests.url(path), query) if query else requests.url(path)
            return self._response_to(self.connections.send("POST", url, all_headers, body), requests.mask(signed))

        return self._with_credential(post, model, caller, request_id)

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        *,
        headers: Mapping[str, str],
        request_id: str,
        model: str,
        caller: str,
    ) -> Awaitable[UpstreamResponse]:
        """Send a request without a body to a path below `/v1`. Otherwise like `send`."""

        def send(requests: _Requests, signed: Mapping[str, str]) -> Awaitable[UpstreamResponse]:
            all_headers = requests.headers(headers)
            all_headers["X-Request-Id"] = request_id
            all_headers.update(signed)
            sending = self.connections.send(method, requests.url_with(path, query), all_headers)
            return self._response_to(sending, requests.mask(signed))

        return self._with_credential(send, model, caller, request_id)

    async def can_connect(self) -> bool:
        """Whether a new connection can be opened; it is kept for the next call.

        False with a login, which is more than a connection: only a call shows whether it works.
        """
        if self._has_login:
            return False
        try:
            await self.connections.open(self._first.url(""))
        except FAILURES:
            return False
        return True

    def take_over(self) -> None:
        """Use the connections of the earlier endpoint from now on, if they fit."""
        if self._is_shared:
            self.connections.share()

    async def close(self) -> None:
        await self.connections.close()

    def _with_credential(
        self,
        send: Callable[[_Requests, Mapping[str, str]], Awaitable[UpstreamResponse]],
        model: str,
        caller: str,
        request_id: str,
    ) -> Awaitable[UpstreamResponse]:
        """Send a request with an API key, or with the header of a login."""
        if not self.keys.is_fixed:
            return self._with_a_key(send, model, caller, request_id)
        if not self._has_login:
            return send(self._first, {})
        discard = partial(self._logins.discard_token, self.provider)
        return send_signed(self._sign, discard, partial(send, self._first), _rejected)

    async def _with_a_key(
        self,
        send: Callable[[_Requests, Mapping[str, str]], Awaitable[UpstreamResponse]],
        model: str,
        caller: str,
        request_id: str,
    ) -> UpstreamResponse:
        async def send_with(key: str) -> UpstreamResponse:
            response = await send(self._requests_with(key), {})
            response.api_key = key
            return response

        label = f"call {request_id}: provider {self.provider.name}"
        response = await send_with_keys(
            self.keys, send_with, self._refusal_of, _close, model=model, label=label, caller=caller
        )
        if (seconds := self.keys.told_wait(model, caller)) is not None:
            response.replace_retry_after(seconds)
        return response

    def _refusal_of(self, response: UpstreamResponse) -> Refusal | None:
        return refusal_of(response.status, lambda: response.retry_after(self._clock.time()))

    def _requests_with(self, key: str) -> _Requests:
        if key not in self._requests:
            if len(self._requests) > len(self.provider.all_api_keys):
                self._requests.clear()
            egress_headers = self.connections.egress_headers
            self._requests[key] = _Requests(self.provider, self._target, key, egress_headers)
        return self._requests[key]

    async def _sign(self) -> Mapping[str, str]:
        try:
            return await self._logins.sign(self.provider)
        except UpstreamError as error:
            raise UpstreamError("login", error.reason, retryable=error.retryable) from error

    async def _response_to(self, sending: Awaitable[Incoming], mask: Mask | None) -> UpstreamResponse:
        try:
            return UpstreamResponse(await sending, self.provider, mask)
        except _NO_CONNECTION as error:
            raise _no_connection(error) from error
        except FAILURES as error:
            raise UpstreamError("no_response", f"no response ({type(error).__name__})") from error


def _with_query(url: URL, query: str) -> URL:
    """Add the caller's query parameters (percent-encoded), except those that the URL has already."""
    own = {name.lower() for name in url.query}
    added = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]).lower() not in own]
    return URL(str(url) + ("&" if own else "?") + "&".join(added), encoded=True) if added else url


def _united(*lists: str) -> str:
    """The members of comma-separated lists, without duplicates."""
    return ", ".join(dict.fromkeys(member for each in lists for part in each.split(",") if (member := part.strip())))


def _no_connection(error: Exception) -> UpstreamError:
    cause = getattr(error, "os_error", None)
    if cause is not None and cause.errno in _OWN_LIMITS:
        return UpstreamError("no_descriptor", f"not connected ({errno.errorcode[cause.errno]} on the proxy's host)")
    return UpstreamError("no_connection", f"connection failed ({type(error).__name__})")


async def _close(response: UpstreamResponse) -> None:
    response.close()


async def _rejected(response: UpstreamResponse) -> bool:
    if response.status == 401:
        response.close()
    return response.status == 401

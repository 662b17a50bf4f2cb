"""Fetch the model list of one provider: all pages, within limits. Every failure becomes an UpstreamError.

Each fetch uses its own transport, because httpx 0.28 leaks a connection slot when a request is canceled while
connecting (encode/httpcore#1093), and because no socket may outlive its fetch. With a shared SSLContext creating a
transport takes 0.03 ms. `httpx.AsyncClient` would add a quarter to the cost of a list for redirects, cookies and
environment proxies, which must not be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import httpx

from proxy.catalog import FetchResult
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.attempt import PageRequests
from proxy.upstream.aws import signer_of
from proxy.upstream.errors import timed_out
from proxy.upstream.key_pool import KeyPool
from proxy.upstream.list_pages import ParsedPage
from proxy.upstream.list_request import ListRequest
from proxy.upstream.list_url import shown
from proxy.upstream.logins import login_of, signed_header
from proxy.upstream.redaction import redact
from proxy.upstream.tls import context_of
from proxy.upstream.transport import DecodedBodies, TrackedSockets, egress_proxy

_IDLE_FRACTION = 0.9  # of an attempt's time: the idle timeout of httpx fires first, because its error is more specific


class ListFetcher:
    """`Fetch` over HTTP. Keeps TLS contexts, API keys, logins and the pages of the last response of each provider."""

    def __init__(self, providers: Sequence[Provider], clock: Clock, before: ListFetcher | None = None) -> None:
        """`before`: that of an earlier configuration. Cool-downs of keys, and tokens of the same logins, outlive it."""
        self._clock = clock
        # Parse one response at a time: parsing twenty at once would block the event loop for twenty batches per turn.
        self._reading = asyncio.Lock()
        self._last_pages: dict[str, Mapping[int, ParsedPage]] = {}
        """Pages of each provider's last response by fingerprint: an identical page is not parsed again."""
        self._tls = {p.name: context_of(p) for p in providers}
        self._signers = {p.name: signer for p in providers if (signer := signer_of(p))}
        self._providers = {p.name: p for p in providers}
        pools = before._keys if before else {}
        self._keys: Mapping[str, KeyPool] = {p.name: KeyPool(p, clock, pools.get(p.name)) for p in providers}
        self._logins = {p.name: login for p in providers if (login := login_of(p, clock.time))}
        for name, login in self._logins.items():
            if before and name in before._logins and _same_login(before._providers[name], self._providers[name]):
                login.inherit(before._logins[name])

    async def __call__(self, provider: Provider, retries: int) -> FetchResult:
        """Fetch all pages of all lists of one provider, within its `timeout`. Raises UpstreamError."""
        try:
            return await self._fetch(provider, retries)
        except UpstreamError as error:
            failure = error
        # The traceback of a stored error would keep the response in memory, and a printed chain would show texts of
        # library exceptions, one of which quotes the invalid header value.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    def keys_of(self, provider: Provider) -> KeyPool:
        """The API keys of a provider, which its calls share."""
        return self._keys[provider.name]

    async def sign(self, provider: Provider) -> Mapping[str, str]:
        """The header with a valid token of the provider's login, for calls. Raises UpstreamError."""
        login = self._logins[provider.name]
        try:
            async with asyncio.timeout(provider.timeout), self._transport(provider) as transport:
                return await signed_header(login, transport.handle_async_request, provider)
        except TimeoutError as error:
            raise timed_out(provider.timeout, "login") from error

    def discard_token(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """Discard the rejected token of this header: the next call logs in again."""
        self._logins[provider.name].discard(signed)

    async def _fetch(self, provider: Provider, retries: int) -> FetchResult:
        requests = PageRequests(
            provider,
            retries,
            self._clock,
            self._keys[provider.name],
            self._logins.get(provider.name),
            self._signers.get(provider.name),
        )
        last_pages = self._last_pages.get(provider.name, {})
        request = ListRequest(provider, requests, self._reading, last_pages, self._clock.monotonic)
        try:
            async with asyncio.timeout(provider.timeout), self._transport(provider) as transport:
                result = await request.fetch(transport.handle_async_request)
                self._last_pages[provider.name] = request.pages
                return result
        except UpstreamError as error:
            # The reason may quote the provider's text, which may contain what was sent.
            reason = redact(error.reason, requests.secrets())
            redacted = UpstreamError(error.kind, reason, retryable=error.retryable, retry_after=error.retry_after)
            redacted.attempts = requests.attempts
            redacted.url = error.url or shown(provider, requests.url)
            raise redacted from error
        except TimeoutError as error:
            timeout = timed_out(provider.timeout, "model list")
            if request.is_guessing:
                return request.incomplete(timeout)
            timeout.attempts, timeout.url = requests.attempts, shown(provider, requests.url)
            raise timeout from error

    def _transport(self, provider: Provider) -> httpx.AsyncBaseTransport:
        tls = self._tls[provider.name]
        inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=egress_proxy(provider, tls))
        return DecodedBodies(TrackedSockets(inner, provider.timeout / 3 * _IDLE_FRACTION), provider.max_body)


def _same_login(before: Provider, after: Provider) -> bool:
    return (before.iam, before.oauth) == (after.iam, after.oauth)

"""Request one page of a provider's list over HTTP, with retries within the deadline of the whole fetch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain
from urllib.parse import urlsplit

import httpx
import tenacity

from proxy import __version__
from proxy.clock import Clock
from proxy.config import Provider
from proxy.dialects import SIGN_HEADERS, Query
from proxy.errors import UpstreamError
from proxy.upstream.aws import Signer
from proxy.upstream.credentials import auth_headers, auth_query, kind_headers, secrets_of
from proxy.upstream.errors import from_exception, from_status, is_blocked, retry_after, timed_out
from proxy.upstream.key_pool import LISTS, KeyPool, Refusal, refusal_of, send_with_keys
from proxy.upstream.logins import Login, Send, send_signed, signed_header
from proxy.upstream.redirects import Requested, path_with_or_without_slash

_MAX_ERROR_BODY = 64 * 1024  # bytes that are searched for an error message
_VERSION = re.compile("v[0-9]").match
_MIN_ATTEMPT = 0.2  # seconds; no attempt starts with less time left
_MAX_SKEW = 86_400.0  # seconds; a `Date` that differs more from our clock is wrong


@dataclass(frozen=True)
class RawPage:
    """The response with one page of a list."""

    body: bytes
    signs: Mapping[str, str]
    """The headers that may indicate that the list is not complete, in lower case."""
    answered_at: float
    """Unix seconds: the `Date` header, or else our clock."""


class PageRequests:
    """Requests the pages of one fetch. They share its deadline and its retries."""

    def __init__(
        self,
        provider: Provider,
        retries: int,
        clock: Clock,
        keys: KeyPool,
        login: Login | None,
        signer: Signer | None,
    ) -> None:
        self.attempts = 1
        """1 plus the number of retries."""
        self.url = provider.base_url
        """That of the last page, without query."""
        self.redirected_to = ""
        """The path to which a redirect was followed, "" without one."""
        self._provider = provider
        self._retries = retries
        self._clock = clock
        self._login = login
        self._signer = signer
        self._deadline = clock.monotonic() + provider.timeout
        self._keys = keys

    async def get(self, send: Send, url: str, query: Query) -> RawPage:
        """Return one page, with retries. Raises UpstreamError."""
        self.url = url
        jitter = tenacity.wait_random_exponential(multiplier=0.1, max=2)

        def wait(state: tenacity.RetryCallState) -> float:
            return max(jitter(state), _retry_after(state))

        def stop(state: tenacity.RetryCallState) -> bool:
            next_start = self._clock.monotonic() + state.upcoming_sleep
            return self.attempts > self._retries or next_start + _MIN_ATTEMPT > self._deadline

        def count_attempt(state: tenacity.RetryCallState) -> None:
            self.attempts += 1

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_retryable),
            wait=wait,
            stop=stop,
            before_sleep=count_attempt,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(self._attempt, send, url, query)

    def secrets(self) -> list[str]:
        """All secrets sent to the provider. Messages must not contain them, even if the provider repeats them."""
        sent = [source.secrets for source in (self._login, self._signer) if source]
        return [*secrets_of(self._provider), *chain.from_iterable(sent)]

    async def _attempt(self, send: Send, url: str, query: Query) -> RawPage:
        """One HTTP request. Times out after a third of `timeout`, also while a response arrives slowly."""
        limit = self._provider.timeout / 3
        try:
            async with asyncio.timeout(limit), aclosing(await self._exchange(send, url, query)) as response:
                if response.is_success and not is_blocked(response):
                    body = await response.aread()
                    return RawPage(body, _signs(response), _answered_at(response, self._clock.time()))
                raise await self._error(response, url)
        except UpstreamError:
            raise
        except TimeoutError as error:
            raise timed_out(limit, "response") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise from_exception(error, limit, via_proxy=self._provider.proxy is not None) from error

    async def _error(self, response: httpx.Response, url: str) -> UpstreamError:
        body = await _error_body(response)
        requested = Requested(
            url,
            url.removeprefix(self._provider.base_url),
            credential=self._credential,
            missing=_if_missing(self._provider),
        )
        return from_status(response, body, self.secrets(), self._clock.time(), requested)

    @property
    def _credential(self) -> str:
        """The setting with the credential."""
        if self._signer:
            return self._signer.setting
        if self._login:
            return self._login.setting
        return "api_keys" if len(self._provider.all_api_keys) > 1 else "api_key"

    async def _exchange(self, send: Send, url: str, query: Query) -> httpx.Response:
        """The response to a request. With a login, a request with a rejected token is repeated once."""
        login = self._login
        if login is None:

            async def send_with_key(key: str) -> httpx.Response:
                return await self._send(send, self._request(url, query, key))

            label = f"model list: provider {self._provider.name}"
            return await send_with_keys(self._keys, send_with_key, self._refusal_of, _close, model=LISTS, label=label)
        request = self._request(url, query, "")

        async def send_with(signed: Mapping[str, str]) -> httpx.Response:
            request.headers.update(signed)
            return await self._send(send, request)

        sign = partial(signed_header, login, send, self._provider)
        return await send_signed(sign, login.discard, send_with, _rejected)

    def _request(self, url: str, query: Query, key: str) -> httpx.Request:
        """`key`: "" for none."""
        params = {**query, **auth_query(self._provider.dialect.auth, key)}
        return httpx.Request("GET", url, params=params, headers=_headers(self._provider, key))

    def _refusal_of(self, response: httpx.Response) -> Refusal | None:
        waits = response.headers.get_list("retry-after")
        return refusal_of(response.status_code, lambda: retry_after(waits, self._clock.time()))

    async def _send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """The response to a request, or to the same request with or without a slash at the end of its path."""
        response = await self._send_once(send, request)
        location = response.headers.get("location")
        if location is None:
            return response
        path = path_with_or_without_slash(response.status_code, location, str(request.url.copy_with(query=None)))
        if path is None:
            return response
        await response.aclose()
        self.redirected_to = path
        return await self._send_once(send, httpx.Request("GET", _with_path(request.url, path), headers=request.headers))

    async def _send_once(self, send: Send, request: httpx.Request) -> httpx.Response:
        if self._signer:
            request.headers.update(await self._signer.headers_of(request))
        return await send(request)


def _signs(response: httpx.Response) -> Mapping[str, str]:
    signs = {name: value for name, value in response.headers.items() if name in SIGN_HEADERS}
    return {**signs, "x-partial-content": "true"} if response.status_code == 206 else signs


def _answered_at(response: httpx.Response, now: float) -> float:
    """Unix seconds of the response by the clock of the provider, which also writes creation times."""
    try:
        date = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return now
    return date if abs(date - now) <= _MAX_SKEW else now


async def _close(response: httpx.Response) -> None:
    await response.aclose()


async def _rejected(response: httpx.Response) -> bool:
    if response.status_code == 401:
        await response.aclose()
    return response.status_code == 401


async def _error_body(response: httpx.Response) -> bytes:
    """The beginning of the body of an error response, b"" if it cannot be read: the status is sufficient."""
    try:
        body = await response.aread()
    except (UpstreamError, httpx.HTTPError):
        return b""
    if len(body) > _MAX_ERROR_BODY and body.startswith((b"{", b"[")):
        return b""  # the beginning of JSON is not JSON
    return body[:_MAX_ERROR_BODY]


def _with_path(url: httpx.URL, path: str) -> httpx.URL:
    query = f"?{url.query.decode()}" if url.query else ""
    return url.copy_with(raw_path=f"{path}{query}".encode())


def _if_missing(provider: Provider) -> str:
    """What to do if there is nothing at the URL of the list."""
    row = provider.dialect
    where = "base_url and list.path" if row.kind == "custom" else "base_url"
    if row.kind in ("openai", "custom"):
        static = "if the provider has no list, use `kind: static` with `models` and `call`"
        return f"check {where}{_version_hint(provider)}; {static}"
    return f"check kind and {where}{_version_hint(provider)}"


def _version_hint(provider: Provider) -> str:
    """A likely mistake in `base_url`, "" if there is none."""
    usual = provider.dialect.base_path
    version = next(filter(_VERSION, urlsplit(provider.base_url).path.split("/")), "")
    if usual and not version:
        return f" (often `{usual}` is missing)"
    return f" (usually without `/{version}`)" if version and not usual and provider.kind != "custom" else ""


def _headers(provider: Provider, key: str) -> httpx.Headers:
    headers = httpx.Headers(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"models-proxy/{__version__}",
        }
    )
    headers.update(kind_headers(provider))
    headers.update(auth_headers(provider.dialect.auth, key))
    # Configured headers override these, regardless of case.
    headers.update({name: value.get_secret_value() for name, value in provider.headers.items()})
    return headers


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, UpstreamError) and error.retryable


def _retry_after(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after or 0.0 if isinstance(error, UpstreamError) else 0.0

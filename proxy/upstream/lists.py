"""Ask one provider: HTTP, pages, attempts, limits. Everything foreign is bounded; every failure has one sentence.

A transport lives as long as one question. httpx 0.28 loses a connection slot when a request is cut off while it
connects (encode/httpcore#1093); here the slot goes with the transport, and no socket outlives a question either. With
one shared SSLContext a transport costs 0.03 ms. A client around it would add a quarter to what a list costs, for
redirects, cookies and environment proxies that are not wanted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from urllib.parse import quote

import httpx
import tenacity

from proxy import __version__
from proxy.catalog import FetchResult
from proxy.clock import Clock
from proxy.config import Provider
from proxy.cooperative import batched
from proxy.dialects import (
    InvalidEntry,
    Page,
    Query,
    Received,
    filled_in,
    next_query,
    open_page,
    read_entry,
    why_none_is_readable,
)
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.upstream.credentials import in_headers, in_query, of_its_kind, secrets_of
from proxy.upstream.errors import from_exception, from_status, timed_out
from proxy.upstream.logins import Login, Send, login_of
from proxy.upstream.redaction import redact
from proxy.upstream.tls import context
from proxy.upstream.transport import OwnSockets, PlainBodies

_MAX_REFUSAL = 64 * 1024  # bytes; to look for a message in more costs more than the message is worth
_MIN_LEAK = 8  # characters; what is shorter stands in texts by chance
_MIN_ATTEMPT = 0.2  # seconds; with less left no attempt is begun
_SILENCE = 0.9  # of an attempt: where nothing moves at all httpx gives up first, and knows what it waited for
# At DEBUG they write whole response headers (the token of a login stands in one), at INFO whole URLs.
_VERBOSE = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_MAY_BE_ELSEWHERE = frozenset({"garbled", "status"})  # LM Studio answers an unknown path with 200 and an error


class ListFetcher:
    """The Fetch over HTTP. Holds what is made once: TLS contexts, and logins that renew themselves."""

    def __init__(self, providers: Sequence[Provider], clock: Clock) -> None:
        self._clock = clock
        # One answer is read at a time: twenty that come in the same moment would take each step in the same turn.
        self._reading = asyncio.Lock()
        self._read: dict[str, Mapping[bytes, _Page]] = {}
        """The pages of each provider's last answer: what comes again as it was is not read again."""
        for name in _VERBOSE:
            logging.getLogger(name).disabled = True
        self._tls = {p.name: context(p.ca_file) for p in providers}
        self._logins = {p.name: login for p in providers if (login := login_of(p, clock.time))}

    async def __call__(self, provider: Provider, retries: int) -> FetchResult:
        """All pages of all lists of one provider, within its `timeout`."""
        try:
            return await self._ask(provider, retries)
        except UpstreamError as error:
            failure = error
        # Whoever keeps a failure would keep the answer with it, in the frames that it came through; and whoever
        # prints it, the texts of foreign exceptions, one of which quotes the header that it could not send.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    async def sign(self, provider: Provider) -> Mapping[str, str]:
        """The header of a login's token that is still good, for calls. Raises UpstreamError."""
        login = self._logins[provider.name]
        try:
            async with asyncio.timeout(provider.timeout), self._transport(provider) as transport:
                return await login.header_to_send(transport.handle_async_request)
        except TimeoutError as error:
            raise timed_out(provider.timeout, "the login") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise from_exception(error, provider.timeout) from error

    def distrust(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """The token of this header was refused: the next call logs in again."""
        self._logins[provider.name].forget(signed)

    async def _ask(self, provider: Provider, retries: int) -> FetchResult:
        login, read_before = self._logins.get(provider.name), self._read.get(provider.name, {})
        question = _ListRequest(provider, retries, self._clock, login, self._reading, read_before)
        try:
            async with asyncio.timeout(provider.timeout), self._transport(provider) as transport:
                answer = await question.ask(transport.handle_async_request)
                self._read[provider.name] = question.read
                return answer
        except UpstreamError as error:
            # It may quote what the provider said, and that what we sent.
            reason = redact(error.reason, question.secrets())
            redacted = UpstreamError(error.kind, reason, retryable=error.retryable, retry_after=error.retry_after)
            redacted.attempts = question.attempts
            raise redacted from error
        except TimeoutError as error:
            late = timed_out(provider.timeout, "all pages")
            late.attempts = question.attempts
            raise late from error

    def _transport(self, provider: Provider) -> httpx.AsyncBaseTransport:
        tls = self._tls[provider.name]
        inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=_egress(provider, tls))
        return PlainBodies(OwnSockets(inner, provider.timeout / 3 * _SILENCE), provider.max_body)


@dataclass(frozen=True)
class _Page:
    """One answer, read."""

    entries: tuple[Entry, ...]
    marks: array[int]
    """Of each entry the hash of what its reading depended on, 0 where none was made."""
    dropped: Mapping[str, int]
    here: int
    """Entries on it, readable or not."""
    following: Query | None
    """The query of the next page."""


def _fingerprint(url: str, query: Query, received: int, body: bytes) -> bytes:
    """What a page's reading depends on. Most pages of most refreshes are the same bytes as the time before."""
    mark = hashlib.sha256(f"{url} {sorted(query.items())} {received} ".encode())
    mark.update(body)
    return mark.digest()


class _ListRequest:
    """One question to one provider, while it is under way."""

    def __init__(
        self,
        provider: Provider,
        retries: int,
        clock: Clock,
        login: Login | None,
        reading: asyncio.Lock,
        read_before: Mapping[bytes, _Page],
    ) -> None:
        """`read_before`: the pages of the last answer, by their marks."""
        self.attempts = 1
        self.read: dict[bytes, _Page] = {}
        self._reading = reading
        self._read_before = read_before
        self._provider = provider
        self._retries = retries
        self._clock = clock
        self._login = login
        self._ends = clock.monotonic() + provider.timeout
        self._headers = _headers(provider)
        self._in_query = in_query(provider.dialect.auth, provider.api_key)
        self._entries: list[Entry] = []
        self._dropped: Counter[str] = Counter()
        self._pages = 0

    async def ask(self, send: Send) -> FetchResult:
        dialect = self._provider.dialect
        for values in _lists(self._provider):
            try:
                await self._list(send, dialect.path, values)
            except UpstreamError as error:
                if not dialect.or_path or error.kind not in _MAY_BE_ELSEWHERE or error.retryable:
                    raise
                await self._list(send, dialect.or_path, values)
        return FetchResult(tuple(self._entries), self._pages, self.attempts, dict(self._dropped))

    async def _list(self, send: Send, path: str, values: Mapping[str, str]) -> None:
        """One list, page by page, until nothing more is to come or a limit says that it is no list."""
        dialect = self._provider.dialect
        url = self._provider.base_url + filled_in(path, {name: quote(value, safe="") for name, value in values.items()})
        query: Query | None = {name: filled_in(value, values) for name, value in dialect.params.items()}
        asked_before: list[Query] = []
        ids: set[str] = set()
        received = 0
        while query is not None:
            if query in asked_before:
                raise UpstreamError("paging", f"page {self._pages} points back to a page that was there before")
            if self._pages >= self._provider.max_pages:
                raise UpstreamError("paging", f"more than {self._provider.max_pages} pages (max_pages)")
            asked_before.append(query)
            body = await self._get(send, url, query)
            mark = _fingerprint(url, query, received, body)
            async with self._reading:
                page = self._read_before.get(mark) or await self._page(body, query, received, values)
            self.read[mark] = page
            self._pages += 1
            received += page.here
            if len(self._entries) + len(page.entries) > self._provider.max_models:
                raise self._too_many()
            self._entries += page.entries
            self._dropped.update(page.dropped)
            known = len(ids)
            ids.update(entry.id for entry in page.entries)
            if page.entries and len(ids) == known:
                raise UpstreamError("paging", f"page {self._pages} only repeats models that were there before")
            query = page.following

    async def _page(self, body: bytes, query: Query, received: int, values: Mapping[str, str]) -> _Page:
        """One answer, read with a breath in between."""
        dialect = self._provider.dialect
        page = open_page(dialect, body)
        here = len(page.items)
        if here > self._provider.max_models:
            raise self._too_many()
        entries, marks, dropped = await self._read(page, values, self._leaks(body))
        last_id = entries[-1].id if entries else ""
        following = next_query(dialect, query, page, Received(received + here, here, last_id))
        return _Page(tuple(entries), marks, dropped, here, following)

    def _too_many(self) -> UpstreamError:
        return UpstreamError("too_large", f"more than {self._provider.max_models:,} models (max_models)")

    def _leaks(self, body: bytes) -> list[bytes]:
        """What we sent and that comes back in a list: no caller may be shown it."""
        long_ones = [secret.encode() for secret in self.secrets() if len(secret) >= _MIN_LEAK]
        return [secret for secret in long_ones if secret in body]

    async def _read(
        self, page: Page, values: Mapping[str, str], leaks: Sequence[bytes]
    ) -> tuple[list[Entry], array[int], Mapping[str, int]]:
        """The entries, their marks, and how many were dropped for which reason.

        An entry whose bytes stood in the last answer is taken from there, once a list has changed for the first time:
        most never do, and the marks cost. No digest is as cheap as Python's hash, and among so few entries, all of one
        provider, it takes two for the same once in 10^15 changes.
        """
        dialect, named = self._provider.dialect, frozenset(self._provider.extra_fields or ())
        again, known, about = bool(self._read_before), self._known, hash(tuple(values.items()))
        entries: list[Entry] = []
        marks = array("q")
        dropped: Counter[str] = Counter()
        why = ""
        for batch in batched(page.items):
            for raw in batch:
                try:
                    if leaks and any(secret in bytes(raw) for secret in leaks):
                        raise InvalidEntry("repeats our credential")
                    mark = about ^ hash(bytes(raw)) if again else 0
                    entries.append(known.get(mark) or read_entry(dialect, raw, values, page.long_numbers, named))
                    marks.append(mark)
                except InvalidEntry as reason:
                    why = str(reason)
                    dropped[why] += 1
            await asyncio.sleep(0)
        if page.items and not entries:
            raise why_none_is_readable(dialect, page.items[-1], why)
        return entries, marks, dropped

    @cached_property
    def _known(self) -> Mapping[int, Entry]:
        """The entries of the last answer by their marks; no page that came again as it was needs them."""
        pages = self._read_before.values()
        return {mark: entry for page in pages for mark, entry in zip(page.marks, page.entries, strict=True) if mark}

    async def _get(self, send: Send, url: str, query: Query) -> bytes:
        """One page. The one place where something is tried again, within the question's own deadline."""
        jitter = tenacity.wait_random_exponential(multiplier=0.1, max=2)

        def wait(state: tenacity.RetryCallState) -> float:
            return max(jitter(state), _asked_to_wait(state))

        def stop(state: tenacity.RetryCallState) -> bool:
            next_begins = self._clock.monotonic() + state.upcoming_sleep
            return self.attempts > self._retries or next_begins + _MIN_ATTEMPT > self._ends

        def spend(state: tenacity.RetryCallState) -> None:
            self.attempts += 1

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=wait,
            stop=stop,
            before_sleep=spend,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(self._attempt, send, url, query)

    async def _attempt(self, send: Send, url: str, query: Query) -> bytes:
        """One HTTP exchange, ended after a third of the question's time wherever it hangs or drips."""
        limit = self._provider.timeout / 3
        try:
            async with asyncio.timeout(limit), aclosing(await self._answer(send, url, query)) as response:
                if response.is_success:
                    return await response.aread()
                raise from_status(response, await _error_body(response), self.secrets(), self._clock.time())
        except UpstreamError:
            raise
        except TimeoutError as error:
            raise timed_out(limit, "the answer") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise from_exception(error, limit) from error

    async def _answer(self, send: Send, url: str, query: Query) -> httpx.Response:
        """The answer to one request; with a login, to a second one where the first one's token was refused."""
        request = httpx.Request("GET", url, params={**query, **self._in_query}, headers=self._headers)
        if self._login is None:
            return await send(request)
        signed = await self._login.header_to_send(send)
        request.headers.update(signed)
        response = await send(request)
        if response.status_code != 401:
            return response
        await response.aclose()
        self._login.forget(signed)
        request.headers.update(await self._login.header_to_send(send))
        return await send(request)

    def secrets(self) -> list[str]:
        """All that is sent and that no message may show, even where the provider says it."""
        return [*secrets_of(self._provider), *(self._login.secrets if self._login else ())]


async def _error_body(response: httpx.Response) -> bytes:
    """The body of a refusal, nothing where it cannot be read or is no message: the status says enough."""
    try:
        body = await response.aread()
    except (UpstreamError, httpx.HTTPError):
        return b""
    return body if len(body) <= _MAX_REFUSAL else b""


def _lists(provider: Provider) -> Iterator[Mapping[str, str]]:
    """The lists of a provider, by the values that each is about (a Pangu provider has one for each model)."""
    declared = provider.dialect.settings
    many = [name for name in declared if declared[name].many]
    single = {name: str(value) for name, value in provider.settings.items() if name not in many}
    for values in product(*(provider.settings[name] for name in many)):
        yield single | dict(zip((name.removesuffix("s") for name in many), values, strict=True))


def _egress(provider: Provider, tls: ssl.SSLContext) -> httpx.Proxy | None:
    if provider.proxy is None:
        return None
    url = provider.proxy.get_secret_value()
    return httpx.Proxy(url, ssl_context=tls if url.lower().startswith("https:") else None)


def _headers(provider: Provider) -> httpx.Headers:
    headers = httpx.Headers(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"models-proxy/{__version__}",
        }
    )
    headers.update(of_its_kind(provider))
    headers.update(in_headers(provider.dialect.auth, provider.api_key))
    # The operator's own replace ours, in whatever case they are written.
    headers.update({name: value.get_secret_value() for name, value in provider.headers.items()})
    return headers


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, UpstreamError) and error.retryable


def _asked_to_wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after or 0.0 if isinstance(error, UpstreamError) else 0.0

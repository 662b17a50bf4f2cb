"""Fetch the model list of one provider: all pages, within limits. Every failure becomes an UpstreamError.

Each fetch uses its own transport, because httpx 0.28 leaks a connection slot when a request is canceled while
connecting (encode/httpcore#1093), and because no socket may outlive its fetch. With a shared SSLContext creating a
transport takes 0.03 ms. `httpx.AsyncClient` would add a quarter to the cost of a list for redirects, cookies and
environment proxies, which must not be used.
"""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from urllib.parse import quote

import httpx

from proxy.catalog import FetchResult
from proxy.clock import Clock
from proxy.config import Provider
from proxy.cooperative import BATCH_SIZE, run_yielding
from proxy.dialects import (
    Dialect,
    Following,
    InvalidEntry,
    Page,
    Query,
    Received,
    Sign,
    fill_template,
    following_page,
    no_valid_entries,
    opening_page,
    parts_of,
    read_entry,
    restore_collisions,
    signs_in,
    within_limits,
    without_duplicates,
)
from proxy.dialects.entry import Entry
from proxy.dialects.reader import NotAModel
from proxy.errors import UpstreamError
from proxy.upstream.attempt import PageRequests, RawPage
from proxy.upstream.aws import signer_of
from proxy.upstream.credentials import egress_of, secrets_of
from proxy.upstream.errors import timed_out
from proxy.upstream.key_pool import KeyPool
from proxy.upstream.logins import Send, login_of, signed_header
from proxy.upstream.redaction import redact
from proxy.upstream.tls import context_of
from proxy.upstream.transport import DecodedBodies, TrackedSockets

_MAX_STEP = 0.002  # seconds after which other tasks may run, if BATCH_SIZE entries take longer
_LONG = 1024 * 1024  # bytes of a response
_SMALL_ENTRY = 1000  # bytes of an entry that is within all limits and is read in a fraction of a millisecond
_MIN_LEAK = 8  # characters; shorter secrets occur in lists by chance
_IDLE_FRACTION = 0.9  # of an attempt's time: the idle timeout of httpx fires first, because its error is more specific
_TRY_OTHER_PATH = frozenset({"invalid_response", "status"})  # LM Studio returns 200 with an error for an unknown path


class ListFetcher:
    """`Fetch` over HTTP. Keeps TLS contexts, API keys, logins and the pages of the last response of each provider."""

    def __init__(self, providers: Sequence[Provider], clock: Clock, before: ListFetcher | None = None) -> None:
        """`before`: that of an earlier configuration. Cool-downs of keys, and tokens of the same logins, outlive it."""
        self._clock = clock
        # Parse one response at a time: parsing twenty at once would block the event loop for twenty batches per turn.
        self._reading = asyncio.Lock()
        self._last_pages: dict[str, Mapping[int, _Page]] = {}
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

    def forget_token(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """Discard the rejected token of this header: the next call logs in again."""
        self._logins[provider.name].forget(signed)

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
        request = _ListRequest(provider, requests, self._reading, last_pages, self._clock.monotonic)
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
            redacted.url = error.url or _shown(provider, requests.url)
            raise redacted from error
        except TimeoutError as error:
            timeout = timed_out(provider.timeout, "model list")
            if request.is_guessing:
                return request.incomplete(timeout)
            timeout.attempts, timeout.url = requests.attempts, _shown(provider, requests.url)
            raise timeout from error

    def _transport(self, provider: Provider) -> httpx.AsyncBaseTransport:
        tls = self._tls[provider.name]
        inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=_proxy(provider, tls))
        return DecodedBodies(TrackedSockets(inner, provider.timeout / 3 * _IDLE_FRACTION), provider.max_body)


def _same_login(before: Provider, after: Provider) -> bool:
    return (before.iam, before.oauth) == (after.iam, after.oauth)


@dataclass(frozen=True)
class _Page:
    """One parsed page."""

    entries: tuple[Entry, ...]
    hashes: array[int]
    """For each entry a hash of its bytes and placeholder values, 0 if it cannot be reused."""
    dropped: Mapping[str, int]
    shortened: int
    """Number of entries without their largest fields."""
    size: int
    """Number of entries, valid or not."""
    following: Following


def _fingerprint(url: str, query: Query, received: int, page: RawPage) -> int:
    """A hash of everything that parsing a page depends on. Most pages do not change between refreshes.

    Python's `hash` is faster than any digest. It has 64 bits and a secret key, so a collision cannot be provoked.
    """
    return hash((url, *sorted(query.items()), received, *sorted(page.signs.items()), page.body))


@dataclass
class _Progress:
    """The pages of one list that were fetched so far."""

    dialect: Dialect
    values: Mapping[str, str]
    """The placeholder values of the list."""
    sent: list[Query] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    received: int = 0
    """Number of entries, valid or not."""


class _ListRequest:
    """One fetch of all lists of one provider."""

    def __init__(
        self,
        provider: Provider,
        requests: PageRequests,
        reading: asyncio.Lock,
        last_pages: Mapping[int, _Page],
        monotonic: Callable[[], float],
    ) -> None:
        """`last_pages`: the pages of the last response, by fingerprint."""
        self._monotonic = monotonic
        self.pages: dict[int, _Page] = {}
        self._provider = provider
        self._requests = requests
        self._reading = reading
        self._last_pages = last_pages
        self._entries: list[Entry] = []
        self._dropped: Counter[str] = Counter()
        self._duplicates = 0
        self._shortened = 0
        self._page_count = 0
        self._following = Following(None)
        self._partial = ""
        self._answered_at = 0.0

    @property
    def is_guessing(self) -> bool:
        """Whether the page that is being fetched is one that no documented sign announced."""
        return self._following.is_guess

    async def fetch(self, send: Send) -> FetchResult:
        row = self._provider.dialect
        for dialect, values in product((row, *row.also), _lists(self._provider)):
            try:
                await self._list(send, dialect, dialect.path, values)
            except UpstreamError as error:
                if not dialect.or_path or error.kind not in _TRY_OTHER_PATH or error.retryable:
                    raise
                await self._list(send, dialect, dialect.or_path, values)
        return self._result()

    def incomplete(self, error: UpstreamError) -> FetchResult:
        """What was fetched before the page that failed with this error."""
        self._note_failed_page(error)
        return self._result()

    def _result(self) -> FetchResult:
        return FetchResult(
            restore_collisions(self._entries),
            self._page_count,
            self._requests.attempts,
            dict(self._dropped),
            duplicates=self._duplicates,
            shortened=self._shortened,
            partial=redact(self._partial, self._requests.secrets()),
            answered_at=self._answered_at,
            redirected_to=redact(self._requests.redirected_to, self._requests.secrets()),
        )

    async def _list(self, send: Send, dialect: Dialect, path: str, values: Mapping[str, str]) -> None:
        """Fetch one list, page by page, until its last page or a limit. Raises UpstreamError."""
        quoted = {name: quote(value, safe="") for name, value in values.items()}
        url = self._provider.base_url + fill_template(path, quoted)
        self._following = Following({name: fill_template(value, values) for name, value in dialect.params.items()})
        progress = _Progress(dialect, values)
        start = len(self._entries)
        try:
            while self._following.query is not None:
                await self._follow(send, url, self._following.query, progress)
        finally:
            if len(self._entries) - start > len(progress.ids):
                await self._merge_duplicates(start)

    async def _follow(self, send: Send, url: str, query: Query, progress: _Progress) -> None:
        """Fetch one page, and determine what follows it. Raises UpstreamError."""
        if self._page_count >= self._provider.max_pages:
            raise UpstreamError("paging", f"returned more than {self._provider.max_pages} pages (max_pages)")
        try:
            page = await self._page(send, url, query, progress)
        except UpstreamError as error:
            if not self.is_guessing or error.kind == "too_large":
                raise
            # The signs of this page were not documented, so the pages before it are shown.
            self._note_failed_page(error)
            self._following = Following(None)
        else:
            self._following = page.following
            self._note_partial(page.following.partial)

    async def _page(self, send: Send, url: str, query: Query, progress: _Progress) -> _Page:
        """Fetch one page and add its entries. Raises UpstreamError, before it has added any."""
        if query in progress.sent:
            raise UpstreamError("paging", f"pagination loop: page {self._page_count} links to an earlier page")
        progress.sent.append(query)
        raw = await self._requests.get(send, url, query)
        self._answered_at = self._answered_at or raw.answered_at
        await _pause_if_long(raw.body)
        fingerprint = _fingerprint(url, query, progress.received, raw)
        await _pause_if_long(raw.body)
        async with self._reading:
            page = self._last_pages.get(fingerprint) or await self._read_page(raw, query, progress)
        known = len(progress.ids)
        progress.ids.update([entry.id for entry in page.entries])
        if page.entries and len(progress.ids) == known:
            raise UpstreamError("paging", f"pagination loop: page {self._page_count + 1} repeats earlier models")
        if len(self._entries) + len(page.entries) > self._provider.max_models:
            raise self._too_many()
        self.pages[fingerprint] = page
        self._page_count += 1
        progress.received += page.size
        self._entries += page.entries
        self._dropped.update(page.dropped)
        self._shortened += page.shortened
        return page

    def _note_failed_page(self, error: UpstreamError) -> None:
        self._note_partial(f"page {self._page_count + 1} could not be fetched: {error.reason}")

    def _note_partial(self, reason: str) -> None:
        """Keep the first reason why the result may lack models."""
        self._partial = self._partial or reason

    async def _merge_duplicates(self, start: int) -> None:
        """Merge the duplicates among the entries of one list, which begin at `start`."""
        count = len(self._entries)
        work = without_duplicates(restore_collisions(self._entries[start:]))
        self._entries[start:] = await run_yielding(work)
        self._duplicates += count - len(self._entries)

    async def _read_page(self, raw: RawPage, query: Query, progress: _Progress) -> _Page:
        """Parse one page in batches, so that other tasks can run."""
        dialect = progress.dialect
        page = await run_yielding(opening_page(dialect, raw.body, self._provider.max_models))
        size = len(page.items)
        if size > self._provider.max_models:
            raise self._too_many()
        signs, leaks = await _signs_of_private_texts(raw.body), await self._leaked_secrets(raw.body)
        entries, hashes, dropped, shortened = await self._read_entries(page, progress, signs, leaks)
        last_id = entries[-1].written or entries[-1].id if entries else ""
        received = Received(progress.received + size, size, last_id)
        await _pause_if_long(raw.body)
        following = following_page(dialect, query, page, received, raw.signs)
        return _Page(tuple(entries), hashes, dropped, shortened, size, following)

    def _too_many(self) -> UpstreamError:
        return UpstreamError("too_large", f"returned more than {self._provider.max_models:,} models (max_models)")

    async def _leaked_secrets(self, body: bytes) -> list[bytes]:
        """Secrets that were sent and that the response contains: clients must not see them."""
        leaked = []
        for secret in [secret.encode() for secret in self._requests.secrets() if len(secret) >= _MIN_LEAK]:
            if secret in body:
                leaked.append(secret)
            await _pause_if_long(body)
        return leaked

    async def _read_entries(
        self, page: Page, progress: _Progress, signs: Sequence[Sign], leaks: Sequence[bytes]
    ) -> tuple[list[Entry], array[int], Mapping[str, int], int]:
        """The entries, their hashes, the number of dropped entries by reason, and that of shortened ones.

        After the first change of a list, entries with unchanged bytes are taken from the last response. Before it no
        hashes are computed, because most lists never change. Python's `hash` is faster than any digest, and for the
        entries of one provider a collision is expected once in 10^15 changes.
        """
        dialect, values, named = progress.dialect, progress.values, frozenset(self._provider.extra_fields or ())
        has_last, known, values_hash = bool(self._last_pages), self._known, hash(tuple(values.items()))
        entries: list[Entry] = []
        hashes = array("q")
        dropped: Counter[str] = Counter()
        shortened = 0
        reason = ""
        ends_at, remaining = self._monotonic() + _MAX_STEP, BATCH_SIZE
        for raw in page.items:
            data = bytes(raw)
            remaining -= 1
            if remaining < 0 or (len(data) > _SMALL_ENTRY and self._monotonic() >= ends_at):
                await asyncio.sleep(0)
                ends_at, remaining = self._monotonic() + _MAX_STEP, BATCH_SIZE
            try:
                if leaks and any(secret in data for secret in leaks):
                    raise InvalidEntry("contains a configured secret")
                entry_hash = values_hash ^ hash(data) if has_last else 0
                entry = known.get(entry_hash)
                if entry is None:
                    limited = within_limits(dialect, data) if len(data) > _SMALL_ENTRY else data
                    entry = read_entry(dialect, limited, values, page.long_numbers, named, signs)
                    if limited is not data:
                        shortened, entry_hash = shortened + 1, 0  # read and counted again in the next response
                entries.append(entry)
                hashes.append(entry_hash)
            except InvalidEntry as error:
                dropped[str(error)] += 1
                reason = reason if isinstance(error, NotAModel) else str(error)
        if reason and not entries:
            raise no_valid_entries(dialect, page.items[-1], reason)
        return entries, hashes, dropped, shortened

    @cached_property
    def _known(self) -> Mapping[int, Entry]:
        """The entries of the last response by hash. Computed only if a page has changed."""
        pages = self._last_pages.values()
        return {key: entry for page in pages for key, entry in zip(page.hashes, page.entries, strict=True) if key}


async def _pause_if_long(body: bytes) -> None:
    """Let other tasks run between two steps that each take milliseconds for a long response."""
    if len(body) > _LONG:
        await asyncio.sleep(0)


async def _signs_of_private_texts(body: bytes) -> Sequence[Sign]:
    """The signs of private texts in a response, searched part by part, so that other tasks can run."""
    signs: dict[Sign, None] = {}
    for part in parts_of(body):
        signs.update(dict.fromkeys(signs_in(part)))
        await asyncio.sleep(0)
    return tuple(signs)


def list_url(provider: Provider) -> str:
    """The URL of a provider's list without its query, and with `***` for everything that may be a secret.

    `{name}` stays where several values are requested one by one.
    """
    single = {name: value for name, value in provider.settings.items() if isinstance(value, str)}
    many = {name: value for name, value in provider.settings.items() if not isinstance(value, str)}
    only = {name.removesuffix("s"): values[0] for name, values in many.items() if len(values) == 1}
    path = fill_template(
        provider.dialect.path, {name: quote(value, safe="") for name, value in (single | only).items()}
    )
    return _shown(provider, provider.base_url + path)


def _shown(provider: Provider, url: str) -> str:
    """A URL of a provider with `***` for everything that may be a secret."""
    secrets = secrets_of(provider)
    scheme, _, rest = url.partition("://")
    host, *segments = rest.split("/")
    for secret in secrets:
        if len(secret) >= _MIN_LEAK:
            host = host.replace(secret, "***")
    return f"{scheme}://{'/'.join([host, *(redact(segment, secrets) for segment in segments)])}"


def _lists(provider: Provider) -> Iterator[Mapping[str, str]]:
    """The placeholder values of each list of a provider. A Pangu provider has one list for each model."""
    declared = provider.dialect.settings
    many = [name for name in declared if declared[name].many]
    single = {name: str(value) for name, value in provider.settings.items() if name not in many}
    for values in product(*(provider.settings[name] for name in many)):
        yield single | dict(zip((name.removesuffix("s") for name in many), values, strict=True))


def _proxy(provider: Provider, tls: ssl.SSLContext) -> httpx.Proxy | None:
    egress = egress_of(provider)
    if egress is None:
        return None
    return httpx.Proxy(egress.url, auth=egress.login, ssl_context=tls if egress.url.startswith("https:") else None)

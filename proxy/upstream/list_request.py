"""Fetch all lists of one provider, page by page, within limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import quote

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.cooperative import run_yielding
from proxy.dialects import Dialect, Following, Query, fill_template, restore_collisions, without_duplicates
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.upstream.attempt import PageRequests
from proxy.upstream.list_pages import PageReader, ParsedPage, Position, too_many_models
from proxy.upstream.logins import Send
from proxy.upstream.redaction import redact

_TRY_OTHER_PATH = frozenset({"invalid_response", "status"})  # LM Studio returns 200 with an error for an unknown path


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


class ListRequest:
    """One fetch of all lists of one provider."""

    def __init__(
        self,
        provider: Provider,
        requests: PageRequests,
        reading: asyncio.Lock,
        last_pages: Mapping[int, ParsedPage],
        monotonic: Callable[[], float],
    ) -> None:
        """`last_pages`: the pages of the last response, by fingerprint."""
        self.pages: dict[int, ParsedPage] = {}
        self._provider = provider
        self._requests = requests
        self._reader = PageReader(provider, requests.secrets, reading, last_pages, monotonic)
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

    async def _page(self, send: Send, url: str, query: Query, progress: _Progress) -> ParsedPage:
        """Fetch one page and add its entries. Raises UpstreamError, before it has added any."""
        if query in progress.sent:
            raise UpstreamError("paging", f"pagination loop: page {self._page_count} links to an earlier page")
        progress.sent.append(query)
        raw = await self._requests.get(send, url, query)
        self._answered_at = self._answered_at or raw.answered_at
        at = Position(progress.dialect, progress.values, url, query, progress.received)
        page = await self._reader.read(raw, at)
        known = len(progress.ids)
        progress.ids.update([entry.id for entry in page.entries])
        if page.entries and len(progress.ids) == known:
            raise UpstreamError("paging", f"pagination loop: page {self._page_count + 1} repeats earlier models")
        if len(self._entries) + len(page.entries) > self._provider.max_models:
            raise too_many_models(self._provider)
        self.pages[page.fingerprint] = page
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


def _lists(provider: Provider) -> Iterator[Mapping[str, str]]:
    """The placeholder values of each list of a provider. A Pangu provider has one list for each model."""
    declared = provider.dialect.settings
    many = [name for name in declared if declared[name].many]
    single = {name: str(value) for name, value in provider.settings.items() if name not in many}
    for values in product(*(provider.settings[name] for name in many)):
        yield single | dict(zip((name.removesuffix("s") for name in many), values, strict=True))

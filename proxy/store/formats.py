"""The lists of one view in other formats than OpenAI's, and the parts of lists that queries select."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

from proxy.catalog import Model
from proxy.cooperative import Cooperative, run_yielding
from proxy.store.list_body import ListBody, etags_of
from proxy.wire import OPENAI_LISTS
from proxy.wire.lists import Entries, ListFormat, encoded_entries

MAX_PAGES = 64
"""Maximum rendered parts of one list: clients choose their number and lengths."""
_MIN_PAGE_BYTES = 64 * 1024


class _List:
    """All models that are listed in one format, encoded, and the pages that were requested last."""

    def __init__(
        self,
        lists: ListFormat,
        entries: Entries,
        listed: Any,
        own_bytes: int,
        digest: str,
        on_eviction: Callable[[], None],
    ) -> None:
        """`listed`: what `ListFormat.page` reads. `own_bytes`: of both, without bytes that other objects also hold.

        `digest`: of both. `on_eviction` is called when pages were evicted.
        """
        self._lists = lists
        self._entries = entries
        self._listed = listed
        self._own_bytes = own_bytes
        self._digest = digest
        self._on_eviction = on_eviction
        self._pages: dict[Hashable, ListBody] = {}
        """The least recently used one first."""

    @property
    def size(self) -> int:
        return self._own_bytes + sum(map(_size, self._pages.values()))

    def cached(self, query: Hashable) -> ListBody | None:
        page = self._pages.get(query)
        if page is not None and len(self._pages) > 1:
            self._pages[query] = self._pages.pop(query)
        return page

    def page(self, query: Hashable) -> ListBody:
        page = self.cached(query)
        if page is None:
            positions, start, end = self._lists.page(query, self._listed)
            body = b"".join((start, self._entries.joined(positions), end))
            page = self._pages[query] = ListBody(body, etags_of(self._digest_of(query, positions)))
            self._evict()
        return page

    def _digest_of(self, query: Hashable, positions: Sequence[int]) -> str:
        """Return the digest of the inputs of a page: a digest of its body takes longer than joining it."""
        digest = hashlib.sha256(f"{self._digest} {query} ".encode("utf-8", "surrogatepass"))
        digest.update(array("Q", positions).tobytes())
        return digest.hexdigest()

    def _evict(self) -> None:
        limit = max(_MIN_PAGE_BYTES, 2 * self._entries.length)
        size = sum(map(_size, self._pages.values()))
        while len(self._pages) > 1 and (size > limit or len(self._pages) > MAX_PAGES):
            size -= _size(self._pages.pop(next(iter(self._pages))))
            self._on_eviction()


def _size(page: ListBody) -> int:
    """Return the approximate bytes in memory."""
    return page.length + page.compressed_length + 500


class FormatLists:
    """The lists of one view, each encoded at its first request."""

    def __init__(self, models: Sequence[Model], entries: Callable[[], Entries], digest: str) -> None:
        """`entries` returns those of OpenAI's list, whose digest is `digest`."""
        self._models = models
        self._entries = entries
        self._digest = digest
        self.on_growth: Callable[[], None] = lambda: None
        """Called when another list is kept."""
        self.on_eviction: Callable[[], None] = lambda: None
        """Called when a page is no longer kept."""
        self._lists: dict[ListFormat, _List] = {}
        self._encoding: dict[ListFormat, asyncio.Task[None]] = {}

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return sum(each.size for each in self._lists.values())

    def cached(self, lists: ListFormat, query: Hashable) -> ListBody | None:
        """Return a rendered page, None if it must be rendered first."""
        found = self._lists.get(lists)
        return found.cached(query) if found else None

    async def page(self, lists: ListFormat, query: Hashable, providers: Collection[str]) -> ListBody:
        """Return a page; encode its list in steps if necessary, once for all concurrent requests.

        `query`: what `ListFormat.query` returned. `providers`: see `listed`.
        """
        while lists not in self._lists:
            if lists not in self._encoding:
                encoding = self._encode_yielding(lists, providers)
                self._encoding[lists] = asyncio.create_task(encoding, name="encode a list")
            # Shielded: one canceled waiter must not cancel the others.
            await asyncio.shield(self._encoding[lists])
        return self._lists[lists].page(query)

    async def _encode_yielding(self, lists: ListFormat, providers: Collection[str]) -> None:
        try:
            self._lists[lists] = await run_yielding(self._encode(lists, providers))
            self.on_growth()
        finally:
            del self._encoding[lists]

    def _encode(self, lists: ListFormat, providers: Collection[str]) -> Cooperative[_List]:
        models = self._models
        if lists.api:
            models = [model for model in models if is_listed(model, providers)]
            yield
        listed = models if lists.prepare is None else (yield from lists.prepare(models))
        own_bytes = 8 * len(models) + getattr(listed, "size", 0)
        if lists is OPENAI_LISTS:
            return _List(lists, self._entries(), listed, own_bytes, self._digest, self._evicted)
        entries = yield from encoded_entries(models, lists.entry)
        own_bytes += entries.length
        digest = entries.digest + getattr(listed, "digest", "")
        return _List(lists, entries, listed, own_bytes, digest, self._evicted)

    def _evicted(self) -> None:
        self.on_eviction()


def is_listed(model: Model, providers: Collection[str]) -> bool:
    """Whether a format lists a model. `providers`: the providers whose models can be called through its API."""
    return any(offer.provider in providers for offer in model.offers)

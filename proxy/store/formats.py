"""The lists of one view in other formats than OpenAI's, and the parts of lists that queries select."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

from proxy.asgi import Header
from proxy.catalog import Model
from proxy.cooperative import Cooperative, run_yielding
from proxy.store.compression import Compressed
from proxy.wire import JSON, OPENAI_LISTS
from proxy.wire.lists import Entries, ListFormat, encoded_entries

MAX_PAGES = 64
"""Maximum rendered parts of one list: clients choose their number and lengths."""
_MIN_PAGE_BYTES = 64 * 1024


class Page(Compressed):
    """A rendered response to requests for a list, or for a part of it."""

    def __init__(self, body: bytes, digest: str) -> None:
        """`digest`: 32 hexadecimal digits that differ between bodies."""
        super().__init__(lambda: body)
        self.body = body
        self.etags = (f'"{digest}"'.encode(), f'"{digest}-gzip"'.encode())
        """The ETags of the plain and of the compressed body."""
        self._headers: tuple[Sequence[Header], list[Header], list[Header]] | None = None

    @property
    def size(self) -> int:
        """Approximate bytes in memory; before it is compressed, the compressed form is estimated."""
        return len(self.body) + (len(self.body) // 8 if self.gzip is None else len(self.gzip)) + 500

    def headers(self, of_status: Sequence[Header], packed: bool) -> Sequence[Header]:
        """Return the headers of a response, with those of the view's status, which is the same for many requests."""
        if self._headers is None or self._headers[0] is not of_status or (packed and not self._headers[2]):
            plain = self._headers_of(self.body, self.etags[0], of_status)
            gzip = self._headers_of(self.gzip, self.etags[1], of_status) if self.gzip else []
            self._headers = (of_status, plain, [*gzip, (b"content-encoding", b"gzip")] if gzip else [])
        return self._headers[2 if packed else 1]

    @staticmethod
    def _headers_of(body: bytes, etag: bytes, of_status: Sequence[Header]) -> list[Header]:
        return [JSON, (b"content-length", b"%d" % len(body)), (b"etag", etag), *of_status]


class _List:
    """All models that are listed in one format, encoded, and the pages that were requested last."""

    def __init__(self, lists: ListFormat, entries: Entries, listed: Any, own_bytes: int, digest: str) -> None:
        """`listed`: what `ListFormat.page` reads. `own_bytes`: of both, without bytes that other objects also hold.

        `digest`: of both.
        """
        self._lists = lists
        self._entries = entries
        self._listed = listed
        self._own_bytes = own_bytes
        self._digest = digest
        self._pages: dict[Hashable, Page] = {}
        """The least recently used one first."""

    @property
    def size(self) -> int:
        return self._own_bytes + sum(page.size for page in self._pages.values())

    def cached(self, query: Hashable) -> Page | None:
        page = self._pages.get(query)
        if page is not None and len(self._pages) > 1:
            self._pages[query] = self._pages.pop(query)
        return page

    def page(self, query: Hashable) -> Page:
        page = self.cached(query)
        if page is None:
            positions, start, end = self._lists.page(query, self._listed)
            body = b"".join((start, self._entries.joined(positions), end))
            page = self._pages[query] = Page(body, self._digest_of(query, positions))
            self._evict()
        return page

    def _digest_of(self, query: Hashable, positions: Sequence[int]) -> str:
        """Return the digest of the inputs of a page: a digest of its body takes longer than joining it."""
        digest = hashlib.sha256(f"{self._digest} {query} ".encode("utf-8", "surrogatepass"))
        digest.update(array("Q", positions).tobytes())
        return digest.hexdigest()[:32]

    def _evict(self) -> None:
        limit = max(_MIN_PAGE_BYTES, 2 * self._entries.length)
        size = sum(page.size for page in self._pages.values())
        while len(self._pages) > 1 and (size > limit or len(self._pages) > MAX_PAGES):
            size -= self._pages.pop(next(iter(self._pages))).size


class FormatLists:
    """The lists of one view, each encoded at its first request."""

    def __init__(self, models: Sequence[Model], entries: Callable[[], Entries], digest: str) -> None:
        """`entries` returns those of OpenAI's list, whose digest is `digest`."""
        self._models = models
        self._entries = entries
        self._digest = digest
        self.on_growth: Callable[[], None] = lambda: None
        """Called when another list is kept."""
        self._lists: dict[ListFormat, _List] = {}
        self._encoding: dict[ListFormat, asyncio.Task[None]] = {}

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return sum(each.size for each in self._lists.values())

    def cached(self, lists: ListFormat, query: Hashable) -> Page | None:
        """Return a rendered page, None if it must be rendered first."""
        found = self._lists.get(lists)
        return found.cached(query) if found else None

    async def page(self, lists: ListFormat, query: Hashable, providers: Collection[str]) -> Page:
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
            return _List(lists, self._entries(), listed, own_bytes, self._digest)
        entries = yield from encoded_entries(models, lists.entry)
        return _List(lists, entries, listed, own_bytes + entries.length, entries.digest + getattr(listed, "digest", ""))


def is_listed(model: Model, providers: Collection[str]) -> bool:
    """Whether a format lists a model. `providers`: the providers whose models can be called through its API."""
    return any(offer.provider in providers for offer in model.offers)

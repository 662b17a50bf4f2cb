"""Read the pages of a list: an unchanged page, and unchanged entries, are taken from the last response."""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from msgspec import Raw

from proxy.config import Provider
from proxy.cooperative import BATCH_SIZE, batched, run_yielding
from proxy.dialects import (
    Dialect,
    Following,
    InvalidEntry,
    Page,
    Query,
    Received,
    following_page,
    no_valid_entries,
    opening_page,
    read_entry,
    require_own_id,
    signs_in,
    within_limits,
)
from proxy.dialects.entry import Entry
from proxy.dialects.failure_signs import is_failed_part
from proxy.dialects.reader import NotAModel
from proxy.errors import UpstreamError
from proxy.upstream.attempt import RawPage
from proxy.upstream.list_url import MIN_LEAK

_LONG = 1024 * 1024  # bytes of a response
_SMALL_ENTRY = 1000  # bytes of an entry that is within all limits
_BATCH_BYTES = 128 * 1024
_MAX_STEP = 0.002  # seconds after which other tasks may run, if the entries of a batch take longer
_FAILED_PART = "an error, not a model"
_NO_HASHES = [0] * BATCH_SIZE


@dataclass(frozen=True)
class ParsedPage:
    """One parsed page."""

    fingerprint: int
    """A hash of everything that parsing it depends on."""
    entries: tuple[Entry, ...]
    hashes: array[int]
    """For each entry a hash of its bytes and placeholder values, 0 if it cannot be reused. Empty on the first pages."""
    dropped: Mapping[str, int]
    shortened: int
    """Number of entries without their largest fields."""
    size: int
    """Number of entries, valid or not."""
    following: Following


def _fingerprint(at: Position, page: RawPage) -> int:
    """A hash of everything that parsing a page depends on. Most pages do not change between refreshes.

    Python's `hash` is faster than any digest. It has 64 bits and a secret key, so a collision cannot be provoked.
    """
    return hash((at.url, *sorted(at.query.items()), at.received, *sorted(page.signs.items()), page.body))


@dataclass(frozen=True)
class Position:
    """Where a page is in a list."""

    dialect: Dialect
    values: Mapping[str, str]
    """The placeholder values of the list."""
    url: str
    query: Query
    received: int
    """Number of entries before it, valid or not."""


class PageReader:
    """Parses the pages of one response."""

    def __init__(
        self,
        provider: Provider,
        secrets: Callable[[], Iterable[str]],
        reading: asyncio.Lock,
        last_pages: Mapping[int, ParsedPage],
        monotonic: Callable[[], float],
    ) -> None:
        """`secrets`: those that were sent; `reading`: of all providers; `last_pages`: by fingerprint."""
        self._provider = provider
        self._secrets = secrets
        self._reading = reading
        self._last_pages = last_pages
        self._monotonic = monotonic

    async def read(self, raw: RawPage, at: Position) -> ParsedPage:
        """Return a page. Raises UpstreamError."""
        await _pause_if_long(raw.body)
        fingerprint = _fingerprint(at, raw)
        await _pause_if_long(raw.body)
        async with self._reading:
            return self._last_pages.get(fingerprint) or await self._parsed(raw, at, fingerprint)

    async def _parsed(self, raw: RawPage, at: Position, fingerprint: int) -> ParsedPage:
        """Parse one page in batches, so that other tasks can run."""
        page = await run_yielding(opening_page(at.dialect, raw.body, self._provider.max_models))
        size = len(page.items)
        if size > self._provider.max_models:
            raise too_many_models(self._provider)
        leaks = await self._leaked_secrets(raw.body)
        entries, hashes, dropped, shortened = await self._read_entries(page, at, leaks)
        last_id = entries[-1].written or entries[-1].id if entries else ""
        received = Received(at.received + size, size, last_id)
        await _pause_if_long(raw.body)
        following = following_page(at.dialect, at.query, page, received, raw.signs)
        if _FAILED_PART in dropped and not following.partial:
            following = replace(following, partial="an entry is an error")
        return ParsedPage(fingerprint, tuple(entries), hashes, dropped, shortened, size, following)

    async def _leaked_secrets(self, body: bytes) -> list[bytes]:
        """Secrets that were sent and that the response contains: clients must not see them."""
        leaked = []
        for secret in [secret.encode() for secret in self._secrets() if len(secret) >= MIN_LEAK]:
            if secret in body:
                leaked.append(secret)
            await _pause_if_long(body)
        return leaked

    async def _read_entries(
        self, page: Page, at: Position, leaks: Sequence[bytes]
    ) -> tuple[list[Entry], array[int], Mapping[str, int], int]:
        """The entries, their hashes, the number of dropped entries by reason, and that of shortened ones.

        After the first change of a list, entries with unchanged bytes are taken from the last response. Before it no
        hashes are computed, because most lists never change. Python's `hash` is faster than any digest, and for the
        entries of one provider a collision is expected once in 10^15 changes.
        """
        dialect, values, named = at.dialect, at.values, frozenset(self._provider.extra_fields or ())
        has_last, known, values_hash = bool(self._last_pages), self._known, hash(tuple(values.items()))
        entries: list[Entry] = []
        hashes = array("q")
        dropped: Counter[str] = Counter()
        shortened = 0
        reason = ""
        ends_at = 0.0
        for batch in _batches(page.items):
            if len(batch) > 1:
                ends_at = await self._next_step()
            keys = [values_hash ^ hash(data) for data in batch] if has_last else _NO_HASHES
            unread = [data for key, data in zip(keys, batch, strict=False) if key not in known] if has_last else batch
            signs = signs_in(b",".join(unread)) if len(batch) > 1 else None
            for entry_hash, data in zip(keys, batch, strict=False):
                if len(data) > _SMALL_ENTRY and self._monotonic() >= ends_at:
                    ends_at = await self._next_step()
                try:
                    if leaks and any(secret in data for secret in leaks):
                        raise InvalidEntry("contains a configured secret")
                    entry = known.get(entry_hash) if has_last else None
                    if entry is None:
                        limited = within_limits(dialect, data) if len(data) > _SMALL_ENTRY else data
                        found = signs_in(limited) if signs is None else signs
                        entry = read_entry(dialect, limited, values, page.long_numbers, named, found)
                        if page.is_repaired:
                            require_own_id(entry)
                        if limited is not data:
                            shortened, entry_hash = shortened + 1, 0  # read and counted again in the next response
                    entries.append(entry)
                    if has_last:
                        hashes.append(entry_hash)
                except InvalidEntry as error:
                    dropped[_FAILED_PART if is_failed_part(data) else str(error)] += 1
                    reason = reason if isinstance(error, NotAModel) else str(error)
        if reason and not entries:
            raise no_valid_entries(dialect, page.items[-1], reason)
        return entries, hashes, dropped, shortened

    async def _next_step(self) -> float:
        """Let other tasks run. Returns the monotonic time at which they may run again."""
        await asyncio.sleep(0)
        return self._monotonic() + _MAX_STEP

    @cached_property
    def _known(self) -> Mapping[int, Entry]:
        """The entries of the last response by hash. Computed only if a page has changed."""
        pages = self._last_pages.values()
        return {key: entry for page in pages for key, entry in zip(page.hashes, page.entries, strict=False) if key}


def too_many_models(provider: Provider) -> UpstreamError:
    return UpstreamError("too_large", f"returned more than {provider.max_models:,} models (max_models)")


async def _pause_if_long(body: bytes) -> None:
    """Let other tasks run between two steps that each take milliseconds for a long response."""
    if len(body) > _LONG:
        await asyncio.sleep(0)


def _batches(items: Sequence[Raw]) -> Iterator[list[bytes]]:
    """The bytes of the entries, in batches that take about a millisecond to search; long entries one by one."""
    for some in batched(items):
        batch = list(map(bytes, some))
        if sum(map(len, batch)) <= _BATCH_BYTES:
            yield batch
        else:
            yield from ([data] for data in batch)

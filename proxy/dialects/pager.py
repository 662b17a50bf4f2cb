"""Decide which page to request next, from the response and not from the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from proxy.dialects.dialect import Dialect, Paging
from proxy.dialects.page import Page
from proxy.errors import UpstreamError

Query = Mapping[str, str]
MAX_LENGTH = 8192
"""Characters of a next URL, or of a cursor."""


@dataclass(frozen=True)
class Received:
    """Progress of fetching one list."""

    entries: int
    """Number of entries on all pages, valid or not."""
    on_page: int
    """Number of entries on the last page, valid or not."""
    last_id: str
    """The id of the last valid entry of the last page, "" if there is none."""


def next_query(dialect: Dialect, query: Query, page: Page, received: Received) -> Query | None:
    """The query of the next page, None after the last one.

    Raises UpstreamError (`paging`) if there are more pages but the next one cannot be determined.
    """
    for paging in dialect.paging:
        following = _STYLES[paging.style](paging, query, page, received)
        if following is not None:
            return following
    return None


def _next_url(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    """Use only the query of the next URL, so that all pages are requested from the configured host."""
    url = page.value(paging.read)
    if not isinstance(url, str) or not url:
        return None
    _check_length(url, paging)
    try:
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    except ValueError as error:
        raise UpstreamError("paging", f"pagination failed: `{paging.read}` is not a valid URL") from error


def _cursor(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    if paging.more and page.value(paging.more) is not True:
        return None
    cursor = page.value(paging.read)
    if not isinstance(cursor, str) or not cursor:
        if not paging.more:
            return None
        cursor = received.last_id
    if not cursor:
        reason = f"pagination failed: `{paging.more}` is true, but the page has no cursor and no entries"
        raise UpstreamError("paging", reason)
    _check_length(cursor, paging)
    return {**query, paging.send: cursor}


def _check_length(following: str, paging: Paging) -> None:
    """Raise UpstreamError for long texts: parsing half a million parameters blocks the event loop for seconds."""
    if len(following) > MAX_LENGTH:
        reason = f"pagination failed: `{paging.read}` is longer than {MAX_LENGTH:,} characters"
        raise UpstreamError("paging", reason)


def _offset(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    # Only an empty page ends a list: servers may send fewer entries than requested.
    if received.on_page == 0 or _has_all(paging, page, received):
        return None
    return {**query, paging.send: str(received.entries)}


def _page(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    number = int(query.get(paging.send, paging.first))
    pages = page.value(paging.pages) if paging.pages else None
    is_last = type(pages) is int and number - paging.first + 1 >= pages
    if is_last or received.on_page == 0 or _has_all(paging, page, received):
        return None
    return {**query, paging.send: str(number + 1)}


def _has_all(paging: Paging, page: Page, received: Received) -> bool:
    total = page.value(paging.total) if paging.total else None
    return type(total) is int and 0 <= total <= received.entries


_STYLES = {"url": _next_url, "cursor": _cursor, "offset": _offset, "page": _page}

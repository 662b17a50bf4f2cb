"""Which page to request next: decided from what was received, never from what was requested."""

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
    """What was received of one list so far."""

    entries: int
    """Number on all pages together, readable or not."""
    on_page: int
    """Number on the last page."""
    last_id: str
    """The id of the last readable entry of the last page, "" if there is none."""


def next_query(dialect: Dialect, query: Query, page: Page, received: Received) -> Query | None:
    """The query of the next page, None after the last one.

    Raises UpstreamError (`paging`) when a response has more pages but no way to the next one.
    """
    for paging in dialect.paging:
        following = _STYLES[paging.style](paging, query, page, received)
        if following is not None:
            return following
    return None


def _next_url(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    """Only the query is used: an absolute, relative or `http:` URL is requested at the configured list URL as well."""
    url = page.value(paging.read)
    if not isinstance(url, str) or not url:
        return None
    _refuse_if_long(url, paging)
    try:
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    except ValueError as error:
        raise UpstreamError("paging", f"`{paging.read}` holds no URL") from error


def _cursor(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    if paging.more and page.value(paging.more) is not True:
        return None
    cursor = page.value(paging.read)
    if not isinstance(cursor, str) or not cursor:
        if not paging.more:
            return None
        cursor = received.last_id
    if not cursor:
        raise UpstreamError("paging", f"`{paging.more}` is true on a page without an entry to go on from")
    _refuse_if_long(cursor, paging)
    return {**query, paging.send: cursor}


def _refuse_if_long(following: str, paging: Paging) -> None:
    """No URL is that long, and parsing half a million parameters blocks the event loop for seconds."""
    if len(following) > MAX_LENGTH:
        raise UpstreamError("paging", f"`{paging.read}` holds more than {MAX_LENGTH:,} characters")


def _offset(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    # A short page does not end a list (a server may send fewer than requested), an empty one does.
    if received.on_page == 0 or _has_all(paging, page, received):
        return None
    return {**query, paging.send: str(received.entries)}


def _page(paging: Paging, query: Query, page: Page, received: Received) -> Query | None:
    number = int(query.get(paging.send, paging.first))
    pages = page.value(paging.pages) if paging.pages else None
    last = type(pages) is int and number - paging.first + 1 >= pages
    if last or received.on_page == 0 or _has_all(paging, page, received):
        return None
    return {**query, paging.send: str(number + 1)}


def _has_all(paging: Paging, page: Page, received: Received) -> bool:
    total = page.value(paging.total) if paging.total else None
    return type(total) is int and 0 <= total <= received.entries


_STYLES = {"url": _next_url, "cursor": _cursor, "offset": _offset, "page": _page}

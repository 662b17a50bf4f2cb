"""Decide which page to request next, from the response and not from the request.

The pagination of a dialect comes first, then the signs of pagination that any server may send (`signs`). Where these
are not clear enough to follow them, the list is reported as incomplete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from proxy.dialects.dialect import Dialect, Paging
from proxy.dialects.page import Page
from proxy.dialects.signs import Signs, signs_of
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


@dataclass(frozen=True)
class Following:
    """What follows a page."""

    query: Query | None
    """The query of the next page, None after the last one."""
    is_guess: bool = False
    """Whether the query is derived from signs that the dialect does not document."""
    partial: str = ""
    """Why the list may lack models even with all following pages, "" if it does not."""


def following_page(
    dialect: Dialect, query: Query, page: Page, received: Received, headers: Mapping[str, str]
) -> Following:
    """Return what follows a page. `headers`: those of `signs.HEADERS` in the response, in lower case.

    Raises UpstreamError (`paging`) as `next_query`.
    """
    signs = signs_of(page, (*dialect.items, *dialect.or_items), headers)
    guess = _guess(signs, query, received)
    lacks_cursor = _lacks_cursor(dialect, page)
    own = None if guess and lacks_cursor else next_query(dialect, query, page, received)
    failure = signs.failure(is_paged=own is not None or guess is not None)
    partial = f"`{failure.label}` reports missing models" if failure else ""
    if own is not None:
        return Following(own, is_guess=lacks_cursor, partial=partial)
    if guess is not None:
        return Following(guess, is_guess=True, partial=partial)
    return Following(None, partial=partial or _remainder(signs, received))


def _lacks_cursor(dialect: Dialect, page: Page) -> bool:
    """Whether the documented cursor is missing on a page that has successors.

    Another sign is clearer then; without one, the id of the last entry may be the cursor.
    """
    styles = [style for style in dialect.paging if style.more and style.read]
    return any(page.value(style.more) is True and not page.value(style.read) for style in styles)


def _guess(signs: Signs, query: Query, received: Received) -> Query | None:
    """The query of the next page according to signs that any server may send, None without a clear one."""
    more = signs.more
    if more is not None and not more.value:
        return None
    if url := signs.next_url():
        return _query_of(url.value)
    token = signs.next_token() or (more and signs.cursor())
    if token and len(token.value) <= MAX_LENGTH:
        return {**query, token.parameter: token.value}
    page, pages, offset = signs.page(), signs.pages(), signs.offset()
    has_next_page = page is not None and pages is not None and page.value < pages.value
    if received.on_page == 0 or not (more or has_next_page or signs.total(received.entries)):
        return None
    if page is not None:
        return {**query, page.parameter: str(page.value + 1)}
    return {**query, offset.parameter: str(offset.value + received.on_page)} if offset else None


def _remainder(signs: Signs, received: Received) -> str:
    """Why more entries were to be expected after the last page, "" if none were."""
    if signs.more is not None and signs.more.value:
        return f"`{signs.more.label}` is true, but the response contains no usable cursor"
    following = signs.next_url() or signs.next_token()
    if following and signs.more is None:
        return f"`{following.label}` is not usable as a cursor or URL"
    if key := signs.next_key():
        return f"`{key.label}` is not usable as a cursor or URL"
    if total := signs.total(received.entries):
        return f"`{total.label}` is {total.value:,}, but the number of entries is {received.entries:,}"
    pages, is_first = signs.pages(), received.entries == received.on_page
    if pages and pages.value > 1 and is_first and received.on_page and not signs.page() and signs.more is None:
        return f"`{pages.label}` is {pages.value:,}, but the response contains no page number or cursor"
    return ""


def _query_of(url: str) -> Query | None:
    if len(url) > MAX_LENGTH:
        return None
    try:
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    except ValueError:
        return None


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
    is_other = paging.or_send != "" and page.value("object") is None and isinstance(page.value("first_id"), str)
    return {**query, paging.or_send if is_other else paging.send: cursor}


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

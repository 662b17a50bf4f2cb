"""Signs that a response is not the complete list, in any dialect: further pages, and parts that failed. No I/O.

Gateways add pagination and statuses of their own to the dialects that they implement. Names are compared without case
and punctuation: `next_page_token`, `nextPageToken` and `X-Next-Page-Token` are one sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Raw

from proxy.dialects.diagnosis import ANY_DECODER
from proxy.dialects.failure_signs import PARTS, PROBLEM, STATUSES, WARNINGS, normalized, reports_failure
from proxy.dialects.page import Page

_MAX_FIELD = 64 * 1024  # bytes; a longer field is not searched for signs
_MAX_FIELDS = 1000
_MAX_BYTES = 64 * 1024  # of all fields that are searched together
_MAX_DEPTH = 3  # levels below the outermost one: `meta.pagination.links.next` of Laravel

_CONTAINERS = frozenset(
    ["meta", "metadata", "pagination", "paging", "paginator", "pager", "pageinfo", "pagemetadata", "page", "pages",
     "links", "link", "resultinfo", "responsemetadata", "listmetadata", "cursor", "cursors", "pageable", "summary",
     "shards", "nextpage", "next", "navigation", "paginationinfo", "paginationmetadata", "paginginfo",
     "pagingmetadata", "listinfo"]
)  # fmt: skip
"""Objects next to the list that contain signs."""
_NEXT_URLS = ("nexturl", "nextlink", "nexturi", "nexthref", "nextpageurl", "nextpagelink", "nextpageuri",
              "odatanextlink", "next", "nextpage", "nextcursor", "nextpath")  # fmt: skip
_NEXT_TOKENS = ("nextpagetoken", "nextcursor", "nexttoken", "nextpagecursor", "nextcontinuationtoken", "nextmarker",
                "nextkey", "nextbookmark", "nextafter", "nextstartingafter", "nextscrollid", "nextid",
                "continuationtoken", "continuation", "continue", "nextoffset", "nextskip", "nextstart", "nextindex",
                "nextpagenumber", "nextpageno", "nextpage", "next")  # fmt: skip
_NEXT_KEYS = ("nextcursor", "nexttoken", "nextpagetoken", "nextkey", "nextmarker", "lastevaluatedkey",
              "nextevaluatedkey")  # fmt: skip
"""Their objects are keys of databases, which have no common parameter."""
_CURSORS = ("after", "aftercursor", "endcursor", "cursor", "bookmark", "lastid", "lastkey", "startingafter", "marker")
"""Cursors that mean another page only together with a flag."""
_MORE = ("hasmore", "hasnext", "hasnextpage", "hasmorepages", "hasmoreitems", "hasmoreresults", "hasmoredata", "more",
         "moreavailable", "moreresults", "istruncated", "truncated", "nextpageavailable", "next")  # fmt: skip
_LAST = ("last", "islast", "islastpage", "lastpage", "isend", "end", "finished", "isfinished")
_TOTALS = ("total", "totalcount", "totalitems", "totalresults", "totalmodels", "totalsize", "totalelements",
           "totalrecords", "totalentries", "totalhits", "totalrows", "totalnum", "numtotal", "numresults", "numfound",
           "itemcount", "recordcount", "recordstotal", "resultcount", "fullcount", "objectcount", "count",
           "matchedcount", "totalobjects", "totaldocs", "modelcount", "modelscount", "nummodels", "nmodels",
           "totalmodelcount", "odatacount")  # fmt: skip
_REMAINING = ("remaining", "remainingcount", "remainingitemcount", "remainingitems")
_PAGES = ("totalpages", "totalpage", "pagecount", "numpages", "pagetotal", "lastpage", "pages", "numberofpages",
          "maxpage", "pagescount")  # fmt: skip
_OFFSETS = ("offset", "skip", "start", "from", "startindex", "skipcount")
_PAGE_NUMBERS = ("page", "currentpage", "pagenumber", "pageno", "pagenum", "pageindex", "current", "number")
"""The last two only together with a number of pages."""
_PARTIAL = ("partial", "ispartial", "partialresult", "partialresults", "partialresponse", "partialdata",
            "partialcontent", "partialfailure", "incomplete", "isincomplete", "incompleteresult", "incompleteresults",
            "truncated", "istruncated", "degraded", "isdegraded", "timedout", "haserrors", "haserror",
            "hasfailures")  # fmt: skip
_COMPLETE = ("complete", "iscomplete", "completeresults", "allcomplete", "success", "ok")
_OTHER_PARAMETERS = {
    "next": "cursor", "nexttoken": "", "current": "page", "currentpage": "page", "number": "page",
    "aftercursor": "after", "endcursor": "after", "lastid": "after",
}  # fmt: skip
"""Sign -> the parameter to send its value as, "" for the sign's own name; of all others the name without `next`."""

HEADERS = frozenset(
    ["link", "content-range", "x-next-page", "x-next-cursor", "x-next-token", "x-next-page-token", "x-next-page-url",
     "x-has-more", "x-total", "x-total-count", "x-total-items", "x-total-pages", "x-page", "x-current-page", "x-offset",
     "x-partial", "x-partial-results", "x-incomplete", "x-truncated", "x-models-missing", "x-models-incomplete"]
)  # fmt: skip
"""Headers that may contain signs; the last two are those of this proxy."""
_LINK = re.compile(r"<([^<>]{1,8192})>([^<]*)")
_RANGE = re.compile(r"(?!bytes)[^/]*/\s*([0-9]+)")
_BOOLEANS: Mapping[object, bool] = {"true": True, "false": False}
_REL_NEXT = re.compile(r""";\s*rel\s*=\s*"?[^";]*\bnext\b""", re.IGNORECASE)


class Sign(NamedTuple):
    """A field or a header of a response."""

    name: str
    """As it was sent."""
    value: Any
    parameter: str = ""
    """The parameter to send the value of the next page as."""

    @property
    def label(self) -> str:
        """The name for messages, without characters that could be mistaken for their own."""
        return re.sub(r"[^\w.@-]", "", self.name)


@dataclass(frozen=True)
class Signs:
    """The fields and headers of a response that may be signs, by their normalized name."""

    fields: Mapping[str, Sign]

    def next_url(self) -> Sign | None:
        """The URL of the next page, absolute, relative or a query alone."""
        return self._first(_NEXT_URLS, lambda value: isinstance(value, str) and _is_url(value))

    def next_token(self) -> Sign | None:
        """The token, offset or number of the next page."""
        sign = self._first(_NEXT_TOKENS, lambda value: type(value) is int or (isinstance(value, str) and value != ""))
        if sign is None:
            return None
        name = _parameter(sign.name)
        if name == "cursor" and type(sign.value) is int and normalized(sign.name) == "next":
            name = "offset" if self.offset() and not self.page() else "page"
        return Sign(sign.name, str(sign.value), name)

    def next_key(self) -> Sign | None:
        """An object that identifies the next page. It cannot be sent back."""
        return self._first(_NEXT_KEYS, lambda value: isinstance(value, dict) and any(value.values()))

    def cursor(self) -> Sign | None:
        """A cursor that is meant for the next page if there is one."""
        sign = self._first(_CURSORS, lambda value: isinstance(value, str) and value != "")
        return sign and Sign(*sign[:2], _parameter(sign.name))

    @cached_property
    def more(self) -> Sign | None:
        """The flag for more pages, as a boolean."""
        flag = self._first(_MORE, lambda value: type(value) is bool)
        if flag is not None:
            return flag
        last = self._first(_LAST, lambda value: type(value) is bool)
        return last and Sign(last.name, not last.value)

    def total(self, received: int) -> Sign | None:
        """A number of entries in the complete list that is larger than `received`."""
        return self._number(_TOTALS, at_least=received + 1) or self._number(_REMAINING, at_least=1)

    def pages(self) -> Sign | None:
        """The number of pages."""
        return self._number(_PAGES, at_least=0)

    def offset(self) -> Sign | None:
        """The offset of this page."""
        return self._number(_OFFSETS, at_least=0)

    def page(self) -> Sign | None:
        """The number of this page."""
        return self._number(_PAGE_NUMBERS if self.pages() else _PAGE_NUMBERS[:-2], at_least=0)

    def failure(self, *, is_paged: bool) -> Sign | None:
        """The field that reports that a part of the list is missing. `is_paged`: there is a further page to request."""
        names = _PARTIAL if not is_paged else [name for name in _PARTIAL if name not in _MORE]
        flag = self._first(names, lambda value: value is True) or self._first(_COMPLETE, lambda value: value is False)
        return flag or next((sign for name, sign in self.fields.items() if reports_failure(name, sign.value)), None)

    def _first(self, names: Sequence[str], fits: Callable[[Any], bool]) -> Sign | None:
        signs = (self.fields[name] for name in names if name in self.fields)
        return next((sign for sign in signs if fits(sign.value)), None)

    def _number(self, names: Sequence[str], at_least: int) -> Sign | None:
        for name in names:
            if name in self.fields:
                number = _integer(self.fields[name].value)
                if number is not None and number >= at_least:
                    sent = self.fields[name].name
                    return Sign(sent, number, _parameter(sent))
        return None


def signs_of(page: Page, lists: Sequence[str], headers: Mapping[str, str]) -> Signs:
    """The signs in the fields around the list of a response, in objects of pagination among them, and in its headers.

    `lists` are the dotted paths at which the list itself may be.
    """
    payload: dict[str, Any] = {}
    size = 0
    for name, raw in islice(_around(page, lists), _MAX_FIELDS):
        if (size := size + _searched(name, raw)) <= _MAX_BYTES:
            payload.update((name, value) for value in _decoded(name, raw))
    fields: dict[str, Sign] = {}
    for name, value in (*_flattened(payload, _MAX_DEPTH), *_from_headers(headers)):
        normal = normalized(name)
        fields.setdefault(normal, Sign(name, _flag(normal, value)))
    return Signs(fields)


def _flag(name: str, value: Any) -> Any:
    """The value of a sign; of a flag that is written as a text or, as in PHP, as a number, the boolean."""
    if isinstance(value, str):
        return _BOOLEANS.get(value.lower(), value)
    return bool(value) if value in (0, 1) and name.startswith(("has", "is")) else value


def _around(page: Page, lists: Sequence[str]) -> Iterator[tuple[str, Raw]]:
    """The fields of the response and of the objects that contain the list, without the list itself."""
    wrappers = [path.rpartition(".")[0] for path in lists if "." in path]
    outer = dict.fromkeys(["", *(prefix for wrapper in wrappers for prefix in _prefixes(wrapper))])
    for path in outer:
        for name, raw in page.fields_at(path).items():
            full = f"{path}.{name}" if path else name
            if full not in lists and full not in outer:
                yield name, raw


def _prefixes(path: str) -> Iterator[str]:
    """A dotted path and those of the objects around it, the outermost first."""
    parts = path.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


def _searched(name: str, raw: Raw) -> int:
    """The number of bytes of a field that are searched for signs."""
    data = memoryview(raw)
    may_be = len(data) <= _MAX_FIELD and (data[0] not in b"[{" or _may_contain_signs(normalized(name)))
    return len(data) if may_be else 0


def _decoded(name: str, raw: Raw) -> Iterator[Any]:
    """The value of a field that may be or contain a sign."""
    if _searched(name, raw):
        try:
            yield ANY_DECODER.decode(raw)
        except (ValueError, RecursionError):
            return


def _may_contain_signs(name: str) -> bool:
    """Whether an object or array with this normalized name may contain signs."""
    return (
        name in _CONTAINERS
        or name in _NEXT_KEYS
        or name in PARTS
        or name in WARNINGS
        or name.endswith(STATUSES)
        or PROBLEM.fullmatch(name) is not None
    )


def _flattened(payload: Mapping[str, Any], levels: int) -> Iterator[tuple[str, Any]]:
    """The fields of an object, then those of the containers among them."""
    yield from payload.items()
    for name, value in payload.items() if levels else ():
        normal = normalized(name)
        if normal in ("links", "link") and isinstance(value, list):
            value = {str(link.get("rel")): link.get("href") for link in value if isinstance(link, dict)}
        if not isinstance(value, dict) or normal not in _CONTAINERS:
            continue
        prefix = "next_" if normal in ("next", "nextpage") else ""
        for inner, deeper in _flattened(value, levels - 1):
            yield prefix + inner, deeper


def _from_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name, value in headers.items():
        if name == "link":
            for url, parameters in _LINK.findall(value):
                if _REL_NEXT.search(parameters):
                    yield "next_url", url
        elif name == "content-range":
            if total := _RANGE.fullmatch(value):
                yield "total", int(total[1][:15])
        else:
            yield name.removeprefix("x-"), value


def _parameter(name: str) -> str:
    """The parameter that the value of a sign is sent as: `next_page_token` -> `page_token`."""
    normal = normalized(name)
    if normal in _OTHER_PARAMETERS:
        return _OTHER_PARAMETERS[normal] or name
    rest = re.sub(r"^next[_-]?", "", name, flags=re.IGNORECASE).replace("-", "_")
    return rest[:1].lower() + rest[1:] if name.startswith("next") else rest


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://", "/", "?"))


def _integer(value: object) -> int | None:
    """A number, also as a string: the JSON of protocol buffers has 64-bit integers as strings."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16 else None

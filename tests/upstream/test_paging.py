"""Pagination over real sockets: every style, and every kind of invalid pagination."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock, config_of
from tests.leaks import Held
from tests.providers.scripted import Exchange, FakeProvider, fake_provider

pytestmark = pytest.mark.anyio

Query = Mapping[str, str]
Handler = Callable[[Query], Any]


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    held = Held.now()
    yield
    assert await held.left() == Held()


def listing(handler: Handler) -> AbstractAsyncContextManager[FakeProvider]:
    """A provider whose JSON response is a function of the query."""

    async def script(exchange: Exchange) -> None:
        await exchange.reply(msgspec.json.encode(handler(exchange.request.query)))

    return fake_provider(script)


def paged(address: str, paging: Mapping[str, object], **settings: object) -> Provider:
    provider = {
        "name": "a",
        "kind": "custom",
        "base_url": f"http://{address}/api",
        "timeout": "20s",
        "list": {"path": "/list", "items": "items", "paging": paging},
        **settings,
    }
    return config_of(json.dumps({"providers": [provider]})).providers[0]


async def fetch_list(provider: Provider) -> FetchResult:
    return await ListFetcher([provider], HastyClock())(provider, 0)


def ids(answer: FetchResult) -> list[str]:
    return [entry.id for entry in answer.entries]


async def failure(provider: Provider) -> str:
    with pytest.raises(UpstreamError) as raised:
        await fetch_list(provider)
    assert (raised.value.kind, raised.value.retryable) == ("paging", False)
    return raised.value.reason


ALL = [f"m-{number}" for number in range(7)]


def models(ids: Sequence[str]) -> list[dict[str, str]]:
    return [{"id": model_id} for model_id in ids]


def from_place(start: int, size: int = 2) -> list[dict[str, str]]:
    return models(ALL[start : start + size])


# -- every style, with pages smaller than requested -------------------------------------------------------------------


def next_url(base: str) -> Handler:
    def answer(query: Query) -> Any:
        end = int(query.get("at", 0)) + 2
        return {"items": from_place(end - 2), "next": f"{base}?at={end}" if end < len(ALL) else None}

    return answer


def token(last: object) -> Handler:
    """Tokens that must be percent-encoded; `last` is returned with the last page."""

    def answer(query: Query) -> Any:
        end = int(query.get("t", "0").removeprefix("+/ &=模")) + 2
        return {"items": from_place(end - 2), "next": f"+/ &=模{end}" if end < len(ALL) else last}

    return answer


def has_more(query: Query) -> Any:
    start = ALL.index(query["after"]) + 1 if "after" in query else 0
    return {"items": from_place(start), "has_more": start + 2 < len(ALL)}


def offset(total: object) -> Handler:
    def answer(query: Query) -> Any:
        return {"items": from_place(int(query.get("skip", 0))), "total": total}

    return answer


def numbered(first: int, **around: object) -> Handler:
    def answer(query: Query) -> Any:
        return {"items": from_place(2 * (int(query.get("p", first)) - first)), **around}

    return answer


URL = {"style": "url", "read": "next"}
TOKEN = {"style": "cursor", "send": "t", "read": "next", "size": {"size": 100}}
LAST_ID = {"style": "cursor", "send": "after", "more": "has_more", "size": {"size": 100}}
OFFSET = {"style": "offset", "send": "skip", "total": "total", "size": {"size": 100}}
PAGE = {"style": "page", "send": "p", "total": "total", "pages": "pages", "size": {"size": 100}}


@pytest.mark.parametrize(
    ("paging", "handler", "requests"),
    [
        pytest.param(URL, next_url(""), 4, id="a next URL that is a query alone"),
        pytest.param(URL, next_url("/api/list"), 4, id="a relative next URL"),
        pytest.param(URL, next_url("https://elsewhere.invalid/x"), 4, id="an absolute next URL"),
        pytest.param(URL, next_url("http://user:pw@elsewhere.invalid:9/x"), 4, id="an http:// next URL"),
        pytest.param(TOKEN, token(None), 4, id="tokens, then null"),
        pytest.param(TOKEN, token(""), 4, id="tokens, then an empty string"),
        pytest.param(LAST_ID, has_more, 4, id="the last id"),
        pytest.param(OFFSET, offset(7), 4, id="an offset and a total"),
        pytest.param(OFFSET, offset(None), 5, id="an offset until a page is empty"),
        pytest.param(OFFSET, offset(70), 5, id="a total that is too high"),
        pytest.param(OFFSET, offset("7"), 5, id="a total that is not a number"),
        pytest.param(PAGE, numbered(1, pages=4), 4, id="page numbers and their number"),
        pytest.param(PAGE, numbered(1, total=7), 4, id="page numbers and a total"),
        pytest.param(PAGE, numbered(1), 5, id="page numbers until a page is empty"),
        pytest.param(PAGE, numbered(1, pages=40, total=70), 5, id="fewer pages than announced"),
        pytest.param({**PAGE, "first": 0}, numbered(0, pages=4), 4, id="page numbers from 0"),
        pytest.param({**PAGE, "size": {"p": 1}}, numbered(1, pages=4), 4, id="a first page in the query"),
    ],
)
async def test_models_of_every_page_are_listed(paging: Mapping[str, object], handler: Handler, requests: int) -> None:
    async with listing(handler) as server:
        answer = await fetch_list(paged(server.address, paging))
    assert (ids(answer), answer.pages, len(server.requests)) == (ALL, requests, requests)
    assert {urlsplit(target).path for target in server.targets} == {"/api/list"}


async def test_page_size_is_sent_with_every_page_and_the_cursor_is_percent_encoded() -> None:
    async with listing(token("")) as server:
        await fetch_list(paged(server.address, TOKEN))
    assert [request.query for request in server.requests] == [{"size": "100"}] + [
        {"size": "100", "t": f"+/ &=模{n}"} for n in (2, 4, 6)
    ]
    assert all(target.isascii() and " " not in target for target in server.targets)


async def test_total_that_is_too_low_ends_the_list() -> None:
    async with listing(offset(3)) as server:
        assert ids(await fetch_list(paged(server.address, OFFSET))) == ALL[:4]


async def test_empty_page_does_not_end_a_list_that_has_more() -> None:
    pages = {None: (["a"], "1"), "1": ([], "2"), "2": (["b"], "")}

    def answer(query: Query) -> Any:
        ids, following = pages[query.get("t")]
        return {"items": models(ids), "next": following}

    async with listing(answer) as server:
        assert ids(await fetch_list(paged(server.address, TOKEN))) == ["a", "b"]


# -- invalid pagination ------------------------------------------------------------------------------------------------


def endless(query: Query) -> Any:
    number = int(query.get("t", 0)) + 1
    return {"items": models([f"m-{number}"]), "next": str(number)}


async def test_500_pages_are_accepted() -> None:
    def answer(query: Query) -> Any:
        payload = endless(query)
        return payload if payload["next"] != "500" else {**payload, "next": ""}

    async with listing(answer) as server:
        assert (await fetch_list(paged(server.address, TOKEN))).pages == 500


async def test_501_pages_fail_instead_of_truncating_the_list() -> None:
    async with listing(endless) as server:
        assert await failure(paged(server.address, TOKEN)) == "returned more than 500 pages (max_pages)"
    assert len(server.requests) == 500


@pytest.mark.parametrize(
    ("paging", "handler", "reason"),
    [
        pytest.param(
            TOKEN,
            lambda query: {"items": models([f"m-{query.get('t')}"]), "next": "same"},
            "pagination loop: page 2 links to an earlier page",
            id="a repeated cursor",
        ),
        pytest.param(
            URL,
            lambda query: {"items": models([f"m-{query.get('at')}"]), "next": "?at=1" if "at" not in query else "?"},
            "pagination loop: page 2 links to an earlier page",
            id="a URL that leads back to the first page",
        ),
        pytest.param(
            OFFSET,
            lambda query: {"items": models(ALL), "total": 100},
            "pagination loop: page 2 repeats earlier models",
            id="an offset that is ignored",
        ),
        pytest.param(
            PAGE,
            lambda query: {"items": models(ALL), "pages": 3},
            "pagination loop: page 2 repeats earlier models",
            id="a page number that is ignored",
        ),
        pytest.param(
            LAST_ID,
            lambda query: {"items": [], "has_more": True},
            "pagination failed: `has_more` is true, but the page has no cursor and no entries",
            id="only spaces",
        ),
    ],
)
async def test_invalid_pagination_fails(paging: Mapping[str, object], handler: Handler, reason: str) -> None:
    async with listing(handler) as server:
        assert await failure(paged(server.address, paging)) == reason

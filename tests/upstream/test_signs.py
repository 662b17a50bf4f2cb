"""Lists with signs that their dialect does not document: they are followed, and never lose what was fetched."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import pytest

from proxy.catalog import FetchResult
from proxy.errors import UpstreamError
from tests.fakes import HastyClock
from tests.providers.scripted import Exchange, fake_provider
from tests.upstream.fetching import at, fetch_list, ids

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left_behind")]

NOW = 1_800_000_000
Query = Mapping[str, str]
Answer = tuple[int, Mapping[str, str], object]
Handler = Callable[[Query], Answer]


def page(*models: str, headers: Mapping[str, str] | None = None, **around: object) -> Answer:
    return 200, headers or {}, {"data": [{"id": model} for model in models], **around}


async def fetched(handler: Handler, **settings: Any) -> tuple[FetchResult, list[Query]]:
    """The result of one fetch, and the query of each request."""
    queries: list[Query] = []

    async def script(exchange: Exchange) -> None:
        queries.append(dict(exchange.request.query))
        status, headers, body = handler(queries[-1])
        await exchange.reply(json.dumps(body).encode(), status, headers)

    async with fake_provider(script) as server:
        return await fetch_list(at(server.address, **settings), HastyClock(NOW)), queries


async def test_token_of_the_next_page_is_sent_back() -> None:
    def answer(query: Query) -> Answer:
        return page("c") if query.get("page_token") == "eyJ" else page("a", "b", next_page_token="eyJ")

    result, queries = await fetched(answer)
    assert (ids(result), result.pages, result.partial) == (["a", "b", "c"], 2, "")
    assert queries == [{}, {"page_token": "eyJ"}]


async def test_offset_and_total_are_followed_until_the_total() -> None:
    def answer(query: Query) -> Answer:
        start = int(query.get("skip", 0))
        return page(*["x", "y", "z"][start : start + 2], total_count=3, skip=start, limit=2)

    result, queries = await fetched(answer)
    assert (ids(result), result.partial, queries) == (["x", "y", "z"], "", [{}, {"skip": "2"}])


async def test_link_header_is_followed_at_the_configured_host_and_path() -> None:
    def answer(query: Query) -> Answer:
        return page("b") if query else page("a", headers={"Link": '<https://elsewhere.invalid/x?page=2>; rel="next"'})

    result, queries = await fetched(answer)
    assert (ids(result), result.partial, queries) == (["a", "b"], "", [{}, {"page": "2"}])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            (400, {}, {"error": {"message": "unknown parameter cursor"}}),
            "page 2 could not be fetched: status 400: unknown parameter cursor",
            id="a parameter that is not supported",
        ),
        pytest.param((503, {}, {}), "page 2 could not be fetched: status 503", id="an unavailable page"),
        pytest.param(
            page("a", "b", next_cursor="n"),
            "page 2 could not be fetched: pagination loop: page 2 repeats earlier models",
            id="a parameter that is ignored",
        ),
        pytest.param(
            page("c", next_cursor="n"),
            "page 3 could not be fetched: pagination loop: page 2 links to an earlier page",
            id="the same cursor again",
        ),
        pytest.param(
            page(next_cursor=None, total=7),
            "`total` is 7, but the number of entries is 2",
            id="an empty page too early",
        ),
    ],
)
async def test_pages_before_one_that_cannot_be_fetched_are_an_incomplete_list(answer: Answer, reason: str) -> None:
    result, _ = await fetched(lambda query: answer if query else page("a", "b", next_cursor="n"))

    assert ids(result)[:2] == ["a", "b"]
    assert len(set(ids(result))) == len(ids(result))
    assert result.partial == reason


async def test_flag_without_a_cursor_is_followed_with_the_last_id_and_never_costs_the_list() -> None:
    result, queries = await fetched(lambda query: page("a", "b", has_more=True))

    assert (ids(result), queries) == (["a", "b"], [{}, {"after": "b"}])
    assert result.partial == "page 2 could not be fetched: pagination loop: page 2 repeats earlier models"


async def test_list_whose_pages_take_longer_than_the_timeout_is_incomplete() -> None:
    async def script(exchange: Exchange) -> None:
        number = int(exchange.request.query.get("cursor", 0))
        await asyncio.sleep(0.1)
        models = [{"id": f"m{number}"}, {"id": f"m{number}"}]
        await exchange.reply(json.dumps({"data": models, "next_cursor": str(number + 1)}).encode())

    async with fake_provider(script) as server:
        result = await fetch_list(at(server.address, timeout="600ms"), HastyClock(NOW))
    assert ids(result) == [f"m{number}" for number in range(result.pages)]
    assert re.fullmatch(r"page \d could not be fetched: timed out: .+", result.partial)


async def test_reason_does_not_contain_the_credential() -> None:
    answer: Answer = (400, {}, {"error": {"message": "bad key sk-canary-0123456789"}})
    result, _ = await fetched(
        lambda query: answer if query else page("a", next_cursor="n"), api_key="sk-canary-0123456789", retries=0
    )

    assert "could not be fetched" in result.partial
    assert "canary" not in result.partial


async def test_limit_of_pages_is_an_error_also_for_signs() -> None:
    def answer(query: Query) -> Answer:
        number = int(query.get("cursor", 0))
        return page(f"m{number}", next_cursor=str(number + 1))

    with pytest.raises(UpstreamError) as error:
        await fetched(answer, max_pages=3)
    assert error.value.reason == "returned more than 3 pages (max_pages)"


async def test_partial_content_is_an_incomplete_list() -> None:
    result, _ = await fetched(lambda query: (206, {}, {"data": [{"id": "m"}]}))

    assert (ids(result), result.partial) == (["m"], "`partial-content` reports missing models")


async def test_status_of_parts_makes_a_list_incomplete() -> None:
    result, _ = await fetched(lambda query: page("m", key_statuses=[{"status": "failed"}]))

    assert (ids(result), result.partial) == (["m"], "`key_statuses` reports missing models")


@pytest.mark.parametrize(
    ("headers", "answered_at"),
    [
        pytest.param({"Date": formatdate(NOW - 300, usegmt=True)}, NOW - 300, id="the time of the provider"),
        pytest.param({}, NOW, id="none"),
        pytest.param({"Date": "yesterday"}, NOW, id="no date"),
        pytest.param({"Date": formatdate(NOW - 90_000, usegmt=True)}, NOW, id="more than a day ago"),
        pytest.param({"Date": formatdate(NOW + 90_000, usegmt=True)}, NOW, id="more than a day later"),
    ],
)
async def test_time_of_the_response_is_its_date_unless_that_is_absurd(
    headers: Mapping[str, str], answered_at: float
) -> None:
    result, _ = await fetched(lambda query: page("m", headers=headers))

    assert result.answered_at == answered_at


@pytest.mark.parametrize(
    ("entry", "partial"),
    [
        ({"error": {"message": "provider x timed out"}}, "an entry is an error"),
        ({"name": "", "error": "timeout"}, "an entry is an error"),
        ({"errors": ["timeout"]}, "an entry is an error"),
        ({"error": None}, ""),
        ({"note": "no id"}, ""),
        ({"id": "*", "error": "timeout"}, ""),
    ],
)
async def test_an_entry_that_is_an_error_is_a_missing_part(entry: dict[str, object], partial: str) -> None:
    result, _ = await fetched(lambda query: (200, {}, {"data": [{"id": "m"}, entry]}))

    assert (ids(result), result.partial) == (["m"], partial)

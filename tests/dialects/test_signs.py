"""Signs of further pages and of missing parts, as gateways add them to other dialects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import DIALECTS, Dialect, Following, Query, Received, following_page, open_page

OPENAI = DIALECTS["openai"]
LAST = Following(None)


def after(
    around: Mapping[str, object],
    *,
    entries: int = 2,
    on_page: int = 2,
    query: Query | None = None,
    headers: Mapping[str, str] | None = None,
    dialect: Dialect = OPENAI,
) -> Following:
    """What follows a page with these fields next to the list, after `entries` on all pages."""
    items = [{"id": f"m{number}"} for number in range(on_page)]
    page = open_page(dialect, json.dumps({**around, "data": items}).encode())
    return following_page(dialect, query or {}, page, Received(entries, on_page, "m1"), headers or {})


def guess(**query: str) -> Following:
    return Following(query, is_guess=True)


@pytest.mark.parametrize(
    ("around", "query"),
    [
        pytest.param({"next_page_token": "abc"}, {"page_token": "abc"}, id="a page token"),
        pytest.param({"nextPageToken": "abc"}, {"pageToken": "abc"}, id="a page token in camel case"),
        pytest.param({"NextPageToken": "abc"}, {"PageToken": "abc"}, id="a page token in Pascal case"),
        pytest.param({"next_cursor": "abc"}, {"cursor": "abc"}, id="a cursor"),
        pytest.param({"nextCursor": "abc"}, {"cursor": "abc"}, id="a cursor in camel case"),
        pytest.param({"next_token": "abc"}, {"next_token": "abc"}, id="a token that keeps its name"),
        pytest.param({"nextToken": "abc"}, {"nextToken": "abc"}, id="a token that keeps its name in camel case"),
        pytest.param({"continuation_token": "abc"}, {"continuation_token": "abc"}, id="a continuation token"),
        pytest.param({"next_marker": "abc"}, {"marker": "abc"}, id="a marker"),
        pytest.param({"metadata": {"continue": "abc"}}, {"continue": "abc"}, id="a continuation in the metadata"),
        pytest.param({"next": "abc"}, {"cursor": "abc"}, id="next with a token"),
        pytest.param({"next_offset": 2}, {"offset": "2"}, id="the next offset"),
        pytest.param({"next_page": 2}, {"page": "2"}, id="the number of the next page"),
        pytest.param({"page": 1, "next": 2}, {"page": "2"}, id="next with a page number"),
        pytest.param({"offset": 0, "next": 2}, {"offset": "2"}, id="next with an offset"),
        pytest.param({"meta": {"next_cursor": "abc"}}, {"cursor": "abc"}, id="in meta"),
        pytest.param({"pagination": {"next_cursor": "abc"}}, {"cursor": "abc"}, id="in pagination"),
        pytest.param({"response_metadata": {"next_cursor": "abc"}}, {"cursor": "abc"}, id="in response_metadata"),
        pytest.param({"meta": {"pagination": {"nextCursor": "abc"}}}, {"cursor": "abc"}, id="two levels deep"),
        pytest.param({"paging": {"next": {"after": "abc"}}}, {"after": "abc"}, id="an object for the next page"),
        pytest.param({"next": "https://api.example/v1/models?page=2"}, {"page": "2"}, id="a URL"),
        pytest.param({"next": "/v1/models?page=2"}, {"page": "2"}, id="a relative URL"),
        pytest.param({"next_page_url": "?page=2"}, {"page": "2"}, id="a query alone"),
        pytest.param({"@odata.nextLink": "https://a/m?$skip=2"}, {"$skip": "2"}, id="a link of OData"),
        pytest.param({"_links": {"next": {"href": "/m?page=2"}}}, {"page": "2"}, id="a link of HAL"),
        pytest.param({"links": [{"rel": "next", "href": "/m?page=2"}]}, {"page": "2"}, id="a list of links"),
        pytest.param({"has_more": True, "next_cursor": "abc"}, {"cursor": "abc"}, id="a flag and a cursor"),
        pytest.param({"hasMore": True, "after": "abc"}, {"after": "abc"}, id="a flag and after"),
        pytest.param(
            {"page_info": {"has_next_page": True, "end_cursor": "abc"}}, {"after": "abc"}, id="page_info with a cursor"
        ),
        pytest.param(
            {"pageInfo": {"hasNextPage": True, "endCursor": "abc"}}, {"after": "abc"}, id="pageInfo with a cursor"
        ),
        pytest.param({"has_more": True, "page": 1}, {"page": "2"}, id="a flag and a page number"),
        pytest.param({"hasMore": "true", "after": "abc"}, {"after": "abc"}, id="a flag that is a text"),
        pytest.param({"hasMore": 1, "page": 1}, {"page": "2"}, id="a flag that is a number"),
        pytest.param({"pagination_info": {"next_cursor": "abc"}}, {"cursor": "abc"}, id="in pagination_info"),
        pytest.param({"model_count": 3, "offset": 0}, {"offset": "2"}, id="a number of models and an offset"),
        pytest.param({"more": True, "offset": 0, "limit": 2}, {"offset": "2"}, id="a flag and an offset"),
        pytest.param({"total_count": 3, "skip": 0, "limit": 2}, {"skip": "2"}, id="a total and skip"),
        pytest.param({"total": 3, "offset": 0}, {"offset": "2"}, id="a total and an offset"),
        pytest.param({"totalSize": "3", "offset": 0}, {"offset": "2"}, id="a total as a string"),
        pytest.param({"totalResults": 3, "startIndex": 1}, {"startIndex": "3"}, id="an index that begins with 1"),
        pytest.param({"total": 3, "page": 1, "page_size": 2}, {"page": "2"}, id="a total and a page number"),
        pytest.param({"page": 0, "total": 3}, {"page": "1"}, id="a page number that begins with 0"),
        pytest.param({"page": 1, "total_pages": 2}, {"page": "2"}, id="a number of pages"),
        pytest.param({"current_page": 1, "last_page": 2}, {"page": "2"}, id="the number of the last page"),
        pytest.param(
            {"page": {"number": 0, "totalElements": 3, "totalPages": 2}}, {"page": "1"}, id="a page as an object"
        ),
        pytest.param({"last": False, "number": 0, "totalPages": 2}, {"page": "1"}, id="a flag for the last page"),
        pytest.param({"pagination": {"page": 1, "pages": 2}}, {"page": "2"}, id="pages in pagination"),
        pytest.param(
            {"meta": {"pagination": {"links": {"next": "/m?page=2"}}}}, {"page": "2"}, id="links in pagination in meta"
        ),
    ],
)
def test_clear_signs_of_a_further_page_are_followed(around: Mapping[str, object], query: Query) -> None:
    assert after(around) == Following(query, is_guess=True)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param({"link": '<https://a/m?page=2>; rel="next"'}, {"page": "2"}, id="a link"),
        pytest.param({"link": '</m?page=1>; rel="prev", </m?page=3>; rel="next"'}, {"page": "3"}, id="several links"),
        pytest.param({"link": "</m?page=2>; title=x; rel=next"}, {"page": "2"}, id="without quotes"),
        pytest.param({"x-next-page": "2"}, {"page": "2"}, id="a page number"),
        pytest.param({"x-next-cursor": "abc"}, {"cursor": "abc"}, id="a cursor"),
    ],
)
def test_headers_are_signs_too(headers: Mapping[str, str], query: Query) -> None:
    assert after({}, headers=headers) == Following(query, is_guess=True)


def test_further_page_has_the_parameters_of_the_page_before_it() -> None:
    assert after({"next_cursor": "b"}, query={"limit": "2", "cursor": "a"}).query == {"limit": "2", "cursor": "b"}


@pytest.mark.parametrize(
    "around",
    [
        pytest.param({"object": "list"}, id="nothing"),
        pytest.param({"object": "list", "has_more": False, "first_id": "m0", "last_id": "m1"}, id="OpenAI's last page"),
        pytest.param({"next": None, "next_page_token": "", "links": {"next": None}}, id="empty values"),
        pytest.param({"has_more": False, "next_cursor": "abc"}, id="a cursor, but no more"),
        pytest.param({"cursor": "abc", "after": "abc"}, id="cursors that may be those of this page"),
        pytest.param({"total": 2, "offset": 0, "limit": 2}, id="a total that came"),
        pytest.param({"count": 2, "total": 2, "page": 1, "total_pages": 1}, id="one page"),
        pytest.param({"count": 1}, id="a smaller count"),
        pytest.param({"total": 3.5, "total_count": True}, id="totals that are not whole numbers"),
        pytest.param({"usage": {"total": 99}, "plan": {"next": "?upgrade"}}, id="other objects"),
        pytest.param({"success": True, "errors": [], "messages": [], "warnings": None}, id="no errors"),
        pytest.param({"error": None, "failed": 0, "failures": {}, "partial": False}, id="no failures"),
        pytest.param({"status": "success", "code": 0, "message": "ok"}, id="a status"),
        pytest.param({"status": {"code": 200, "message": "OK"}}, id="a status as an object"),
        pytest.param({"key_statuses": [{"key_id": "a", "status": "success", "error": None}]}, id="statuses of keys"),
        pytest.param({"statuses": {"x": "ok", "y": {"status": "disabled"}, "z": True}}, id="statuses by name"),
        pytest.param({"provider_statuses": {"ok": 3, "failed": 0}}, id="numbers of statuses"),
        pytest.param({"providers": [{"name": "x", "status": "preferred"}]}, id="providers with another status"),
        pytest.param({"statuses": [{"provider": "x", "code": "00000", "result": ["m"]}]}, id="codes that are texts"),
        pytest.param({"model_statuses": {"m0": "suspended"}, "missing_prices": ["m0"]}, id="of single models"),
        pytest.param({"failure_rate": 0.1, "failover": True}, id="a rate"),
        pytest.param({"warnings": ["m0 is deprecated, use m1"], "warning": "beta"}, id="warnings about listed models"),
        pytest.param({"warnings": [{"code": "deprecated", "message": "m0 ends in 2027"}]}, id="warnings as objects"),
        pytest.param({"complete": True, "is_complete": True, "truncated": False}, id="complete"),
        pytest.param({"partial": "false", "has_more": "false", "is_truncated": 0}, id="flags that are no booleans"),
        pytest.param({"has_more": False, "total_pages": 2}, id="pages, but no more"),
        pytest.param({"next_cursor": {}, "last_evaluated_key": {"id": None}}, id="keys without a value"),
        pytest.param({"sources": {"x": "https://x.example/offline"}, "providers": ["down"]}, id="names of sources"),
        pytest.param({"upstream_errors": {}, "unreachable": []}, id="no errors of providers"),
    ],
)
def test_ordinary_fields_are_no_signs(around: Mapping[str, object]) -> None:
    assert after(around) == LAST


@pytest.mark.parametrize(
    ("around", "sign"),
    [
        pytest.param({"partial": True}, "partial", id="partial"),
        pytest.param({"incomplete_results": True}, "incomplete_results", id="incomplete results"),
        pytest.param({"is_complete": False}, "is_complete", id="not complete"),
        pytest.param({"meta": {"truncated": True}}, "truncated", id="truncated without a next page"),
        pytest.param({"success": False}, "success", id="no success"),
        pytest.param({"status": "partial_success"}, "status", id="a status"),
        pytest.param({"errors": [{"provider": "x"}]}, "errors", id="errors"),
        pytest.param({"error": "upstream timed out"}, "error", id="an error"),
        pytest.param({"warnings": ["x did not respond"]}, "warnings", id="warnings"),
        pytest.param(
            {"warnings": [{"message": "models of x could not be loaded"}]}, "warnings", id="a warning as an object"
        ),
        pytest.param({"warning": "3 models were skipped"}, "warning", id="one warning"),
        pytest.param({"failed_providers": ["x"]}, "failed_providers", id="failed providers"),
        pytest.param({"failed": 1}, "failed", id="a number of failures"),
        pytest.param({"_shards": {"total": 2, "failed": 1}}, "failed", id="failed shards"),
        pytest.param({"unavailable_sources": {"x": "timeout"}}, "unavailable_sources", id="unavailable sources"),
        pytest.param({"sources": [{"name": "a", "ok": True}, {"name": "b", "ok": False}]}, "sources", id="not ok"),
        pytest.param({"upstreams": {"a": {"healthy": False}}}, "upstreams", id="not healthy"),
        pytest.param({"providers": [{"name": "a", "errors": ["timeout"]}]}, "providers", id="errors"),
        pytest.param(
            {"key_statuses": [{"status": "success"}, {"status": "list_models_failed"}]}, "key_statuses", id="keys"
        ),
        pytest.param({"providerStatuses": {"x": "ok", "y": "timeout"}}, "providerStatuses", id="statuses by name"),
        pytest.param({"provider_status": {"x": {"ok": True}, "y": {"ok": False}}}, "provider_status", id="flags"),
        pytest.param({"statuses": [{"provider": "x", "code": 503}]}, "statuses", id="codes"),
        pytest.param({"statuses": {"x": 200, "y": 401}}, "statuses", id="codes by name"),
        pytest.param({"sources": [{"name": "x", "error": "refused"}]}, "sources", id="sources with an error"),
        pytest.param({"providers": {"x": {"status": "unreachable"}}}, "providers", id="providers that are unreachable"),
        pytest.param({"sources": {"x": "ok", "y": "Timed out"}}, "sources", id="states of sources"),
        pytest.param({"upstream_errors": {"x": "refused"}}, "upstream_errors", id="errors of providers"),
        pytest.param({"unreachable": ["x"]}, "unreachable", id="names of unreachable providers"),
        pytest.param({"partial": "true"}, "partial", id="partial as a text"),
        pytest.param({"is_complete": 0}, "is_complete", id="not complete as a number"),
    ],
)
def test_response_with_failed_parts_is_partial(around: Mapping[str, object], sign: str) -> None:
    assert after(around) == Following(None, partial=f"`{sign}` reports missing models")


@pytest.mark.parametrize(
    ("headers", "sign"),
    [
        pytest.param({"x-models-missing": "2"}, "models-missing", id="another proxy without lists of two providers"),
        pytest.param({"x-models-incomplete": "a, b"}, "models-incomplete", id="another proxy with incomplete lists"),
        pytest.param({"x-partial-content": "true"}, "partial-content", id="status 206"),
    ],
)
def test_headers_report_missing_parts(headers: Mapping[str, str], sign: str) -> None:
    assert after({}, headers=headers) == Following(None, partial=f"`{sign}` reports missing models")


@pytest.mark.parametrize(
    ("around", "reason"),
    [
        pytest.param({"total": 3}, "`total` is 3, but the number of entries is 2", id="a total alone"),
        pytest.param({"count": 1234, "limit": 2}, "`count` is 1,234, but the number of entries is 2", id="a count"),
        pytest.param(
            {"has_more": False, "total": 3}, "`total` is 3, but the number of entries is 2", id="no more, but"
        ),
        pytest.param(
            {"hasNextPage": True},
            "`hasNextPage` is true, but the response contains no usable cursor",
            id="a flag alone",
        ),
        pytest.param(
            {"total_pages": 2},
            "`total_pages` is 2, but the response contains no page number or cursor",
            id="a number of pages alone",
        ),
        pytest.param(
            {"LastEvaluatedKey": {"id": {"S": "m1"}}},
            "`LastEvaluatedKey` is not usable as a cursor or URL",
            id="the key of a database",
        ),
        pytest.param(
            {"next_cursor": {"id": "m1"}}, "`next_cursor` is not usable as a cursor or URL", id="a cursor as an object"
        ),
    ],
)
def test_unclear_signs_are_reported(around: Mapping[str, object], reason: str) -> None:
    assert after(around) == Following(None, partial=reason)


@pytest.mark.parametrize(
    ("content_range", "partial"),
    [
        ("models 0-1/3", "`total` is 3, but the number of entries is 2"),
        ("0-1/2", ""),
        ("0-1/*", ""),
        ("bytes 0-99/300", ""),
    ],
)
def test_range_in_a_header_contains_the_total(content_range: str, partial: str) -> None:
    assert after({}, headers={"content-range": content_range}) == Following(None, partial=partial)


def test_number_of_pages_is_no_sign_after_the_first_page() -> None:
    assert after({"total_pages": 2}, entries=4) == LAST


def test_total_is_compared_with_the_entries_of_all_pages() -> None:
    assert after({"total": 4, "offset": 2}, entries=4) == LAST
    assert after({"total": 9, "offset": 4}, entries=4, on_page=0).partial.startswith(
        "`total` is 9, but the number of entries is 4"
    )


def test_dialect_comes_before_other_signs_unless_its_cursor_is_missing() -> None:
    own = {"has_more": True, "last_id": "m1"}
    assert after({**own, "next_cursor": "abc"}) == Following({"after": "m1"})
    assert after({"has_more": True}) == guess(after="m1"), "the last id, which no known server accepts"
    assert after({"has_more": True, "next_cursor": "abc"}) == guess(cursor="abc")


def test_failed_parts_are_reported_also_if_further_pages_follow() -> None:
    assert after({"next_cursor": "b", "errors": ["x"]}) == Following(
        {"cursor": "b"}, is_guess=True, partial="`errors` reports missing models"
    )
    assert after({"truncated": True, "next_cursor": "b"}) == guess(cursor="b")


@pytest.mark.parametrize(
    "around",
    [
        pytest.param({"next_cursor": "abc", "result": {"page": {}}}, id="outermost"),
        pytest.param({"result": {"next_cursor": "abc", "page": {}}}, id="in between"),
        pytest.param({"result": {"page": {"next_cursor": "abc"}}}, id="innermost"),
    ],
)
def test_fields_around_a_nested_list_of_any_length_are_searched(around: Any) -> None:
    dialect = Dialect(kind="x", items=("result.page.entries",))
    around["result"]["page"]["entries"] = [{"id": f"m{number}", "note": "x" * 100} for number in range(1000)]
    page = open_page(dialect, json.dumps(around).encode())

    assert following_page(dialect, {}, page, Received(1000, 1000, "m"), {}) == guess(cursor="abc")


@pytest.mark.parametrize(
    "around",
    [
        pytest.param({"next_cursor": "x" * 8193}, id="a long cursor"),
        pytest.param({"next_cursor": "https://[x"}, id="an invalid URL"),
        pytest.param({"next_cursor": f"/m?{'x' * 8193}"}, id="a long URL"),
    ],
)
def test_values_that_cannot_be_followed_are_reported(around: Mapping[str, object]) -> None:
    assert after(around) == Following(None, partial="`next_cursor` is not usable as a cursor or URL")


def test_deeply_nested_statuses_and_errors_are_no_fault_of_the_proxy() -> None:
    deep = json.loads("[" * 500 + "]" * 500)
    assert after({"statuses": deep}) == LAST
    assert after({"errors": deep}).partial == "`errors` reports missing models"


def test_names_are_shown_without_control_characters() -> None:
    assert after({"par\x1b[tial": True}).partial == "`partial` reports missing models"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["next", "total", "status"]), inner),
    max_leaves=6,
)
NAMES = ["next", "next_page_token", "has_more", "total", "page", "pages", "offset", "links", "errors", "statuses"]


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING), st.integers(0, 9), st.integers(0, 9))
def test_any_fields_give_strings_to_send_or_none(around: dict[str, object], entries: int, on_page: int) -> None:
    query = after({"links": None, **around}, entries=entries, on_page=on_page, dialect=Dialect(kind="x")).query

    assert query is None or all(isinstance(part, str) for pair in query.items() for part in pair)


def test_list_that_a_gateway_wraps_has_the_signs_of_its_wrapper() -> None:
    page = open_page(OPENAI, b'{"data":{"list":[{"id":"m"}],"page":1,"total":2}}')
    assert following_page(OPENAI, {}, page, Received(1, 1, "m"), {}) == Following({"page": "2"}, is_guess=True)

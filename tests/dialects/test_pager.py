"""The next page, determined from the current page."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import DIALECTS, Dialect, Paging, Query, Received, next_query, open_page
from proxy.errors import UpstreamError
from tests.paths import PAYLOADS

OPENAI = DIALECTS["openai"]
PANGU = DIALECTS["pangu"]
ONE = Received(entries=1, on_page=1, last_id="m")


def following(dialect: Dialect, answer: object, received: Received = ONE, query: Query | None = None) -> Query | None:
    page = open_page(dialect, json.dumps(answer).encode())
    return next_query(dialect, dialect.params if query is None else query, page, received)


def openai(query: Query | None = None, /, **around: object) -> Query | None:
    return following(OPENAI, {"data": [{"id": "m"}], **around}, query=query)


# A URL


@pytest.mark.parametrize(
    ("url", "query"),
    [
        pytest.param("/api/v1/models?offset=2&limit=2", {"offset": "2", "limit": "2"}, id="relative (OpenRouter)"),
        pytest.param("?cursor=abc", {"cursor": "abc"}, id="a query alone"),
        pytest.param("https://api.example/v1/models?cursor=abc", {"cursor": "abc"}, id="absolute"),
        pytest.param("http://api.example/v1/models?cursor=abc", {"cursor": "abc"}, id="http (Replicate)"),
        pytest.param("https://elsewhere.example:99/x?cursor=abc#f", {"cursor": "abc"}, id="another host and path"),
        pytest.param("//user:canary@elsewhere.example/x?cursor=abc", {"cursor": "abc"}, id="with a login"),
        pytest.param("?cursor=a%3D%3D&x=%E6%A8%A1+1", {"cursor": "a==", "x": "模 1"}, id="percent-encoded"),
        pytest.param("?cursor=&x", {"cursor": "", "x": ""}, id="empty values"),
        pytest.param("https://api.example/v1/models", {}, id="no query: the first page again"),
    ],
)
def test_next_url_contributes_only_its_query(url: str, query: Query) -> None:
    assert openai({"limit": "100"}, links={"next": url}) == query


@pytest.mark.parametrize(
    "links",
    [
        pytest.param({"next": None}, id="null"),
        pytest.param({"next": ""}, id="empty"),
        pytest.param({"next": 5}, id="a number"),
        pytest.param({}, id="none"),
        pytest.param(None, id="no links"),
        pytest.param("?cursor=abc", id="links a string"),
    ],
)
def test_list_ends_without_a_next_url(links: object) -> None:
    assert openai(links=links) is None


def test_invalid_next_url_fails() -> None:
    with pytest.raises(UpstreamError, match=r"^paging: pagination failed: `links.next` is not a valid URL$"):
        openai(links={"next": "https://[half-an-address?cursor=abc"})


# A cursor


@pytest.mark.parametrize(
    ("around", "query"),
    [
        pytest.param({"has_more": True, "last_id": "x"}, {"after": "x"}, id="the cursor of the response"),
        pytest.param({"has_more": True}, {"after": "m"}, id="no cursor: the last entry"),
        pytest.param({"has_more": True, "last_id": None}, {"after": "m"}, id="cursor null"),
        pytest.param({"has_more": True, "last_id": ""}, {"after": "m"}, id="cursor empty"),
        pytest.param({"has_more": True, "last_id": 7}, {"after": "m"}, id="cursor no string"),
        pytest.param({"has_more": True, "last_id": "a=/?&模"}, {"after": "a=/?&模"}, id="to be percent-encoded"),
        pytest.param({"has_more": False, "last_id": "x"}, None, id="no more"),
        pytest.param({"has_more": None, "last_id": "x"}, None, id="more null"),
        pytest.param({"has_more": "true", "last_id": "x"}, None, id="more a string"),
        pytest.param({"last_id": "x"}, None, id="a cursor alone"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_cursor_is_sent_while_there_is_more(around: dict[str, object], query: Query | None) -> None:
    assert openai(**around) == query


@pytest.mark.parametrize(
    ("around", "query"),
    [
        pytest.param({"first_id": "m"}, {"after_id": "x"}, id="a list of Anthropic"),
        pytest.param({"first_id": "m", "object": "list"}, {"after": "x"}, id="a list of OpenAI"),
        pytest.param({"first_id": None}, {"after": "x"}, id="no first id"),
    ],
)
def test_the_parameter_of_the_cursor_is_that_of_the_format(around: dict[str, object], query: Query) -> None:
    assert openai(has_more=True, last_id="x", **around) == query


def test_cursor_replaces_the_previous_one_and_keeps_the_rest_of_the_query() -> None:
    query = {"after": "x", "limit": "100"}
    assert openai(query, has_more=True, last_id="y") == {"after": "y", "limit": "100"}
    assert query == {"after": "x", "limit": "100"}


def test_page_with_more_but_without_a_cursor_or_entries_fails() -> None:
    with pytest.raises(
        UpstreamError,
        match=r"^paging: pagination failed: `has_more` is true, but the page has no cursor and no entries$",
    ):
        following(OPENAI, {"data": [], "has_more": True}, Received(entries=3, on_page=0, last_id=""))


TOKEN = Dialect(kind="x", paging=(Paging("cursor", read="page.token", send="pageToken"),))


@pytest.mark.parametrize(
    ("token", "query"),
    [
        pytest.param("Cg==", {"pageToken": "Cg=="}, id="a token (Gemini)"),
        pytest.param("", None, id="an empty one (Fireworks)"),
        pytest.param(None, None, id="null"),
        pytest.param(3, None, id="a number"),
    ],
)
def test_list_ends_without_a_page_token(token: object, query: Query | None) -> None:
    assert following(TOKEN, {"data": [{"id": "m"}], "page": {"token": token}}) == query
    assert following(TOKEN, {"data": [{"id": "m"}]}) is None


def test_first_matching_pagination_style_is_used() -> None:
    assert openai(links={"next": "?a=1"}, has_more=True, last_id="x") == {"a": "1"}
    assert openai(links={"next": None}, has_more=True, last_id="x") == {"after": "x"}


# An offset


def pangu(total: object, received: Received) -> Query | None:
    return following(PANGU, {"total": total, "versions": [{"id": "v"}] * received.on_page}, received)


@pytest.mark.parametrize(
    ("total", "received", "query"),
    [
        pytest.param(250, Received(100, 100, "v"), {"limit": "100", "offset": "100"}, id="the second page"),
        pytest.param(250, Received(200, 100, "v"), {"limit": "100", "offset": "200"}, id="the third page"),
        pytest.param(250, Received(250, 50, "v"), None, id="all there"),
        pytest.param(250, Received(10, 10, "v"), {"limit": "100", "offset": "10"}, id="fewer than requested"),
        pytest.param(250, Received(7, 7, ""), {"limit": "100", "offset": "7"}, id="no valid entry"),
        pytest.param(250, Received(200, 0, ""), None, id="an empty page before the total"),
        pytest.param(3, Received(5, 5, "v"), None, id="more than the total"),
        pytest.param(0, Received(0, 0, ""), None, id="none at all"),
        pytest.param(None, Received(5, 5, "v"), {"limit": "100", "offset": "5"}, id="total null"),
        pytest.param("5", Received(5, 5, "v"), {"limit": "100", "offset": "5"}, id="total a string"),
        pytest.param(True, Received(5, 5, "v"), {"limit": "100", "offset": "5"}, id="total true"),
        pytest.param(-1, Received(5, 5, "v"), {"limit": "100", "offset": "5"}, id="total unknown"),
        pytest.param(None, Received(5, 0, ""), None, id="no total, an empty page"),
    ],
)
def test_offset_counts_received_entries_until_the_total(total: object, received: Received, query: Query | None) -> None:
    assert pangu(total, received) == query


def test_documented_pangu_page_is_the_last_page() -> None:
    page = open_page(PANGU, (PAYLOADS / "pangu.json").read_bytes())
    assert next_query(PANGU, PANGU.params, page, Received(3, 3, "v")) is None
    assert next_query(PANGU, PANGU.params, page, Received(2, 2, "v")) == {"limit": "100", "offset": "2"}


def test_offset_without_a_total_continues_until_an_empty_page() -> None:
    dialect = Dialect(kind="x", paging=(Paging("offset", send="skip"),))
    assert following(dialect, {"data": [{"id": "m"}], "total": 1}) == {"skip": "1"}
    assert following(dialect, {"data": []}, Received(1, 0, "")) is None


# Any page


def test_list_without_pagination_has_one_page() -> None:
    assert following(DIALECTS["static"], [{"id": "m"}]) is None
    assert following(OPENAI, [{"id": "m"}]) is None


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        pytest.param(PANGU, b'{"versions":[{"id":"v"}],"total":1e999}', id="a total of 1e999"),
        pytest.param(PANGU, b'{"versions":[{"id":"v"}],"total":%b}' % (b"9" * 5000), id="a total of 5,000 digits"),
        pytest.param(OPENAI, b'{"data":[{"id":"m"}],"links":{"next":-1e999}}', id="a link of -1e999"),
    ],
)
def test_pagination_field_with_non_portable_json_fails(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(
        UpstreamError, match=r"^invalid_response: returned an unusable response \(non-portable JSON at `[a-z.]+`\)$"
    ):
        next_query(dialect, {}, open_page(dialect, body), ONE)


SIGNS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["next", "total"]), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([OPENAI, PANGU]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("links", "has_more", "last_id", "total"), SIGNS)),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_next_query_returns_strings_or_none_or_fails_for_any_page(
    dialect: Dialect, signs: dict[str, object], entries: int, here: int
) -> None:
    answer = {"data": [{"id": "m"}], "versions": [{"id": "v"}], **signs}
    try:
        query = following(dialect, answer, Received(entries, here, "m"))
    except UpstreamError:
        return
    assert query is None or all(isinstance(part, str) for pair in query.items() for part in pair)

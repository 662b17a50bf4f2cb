"""`kind: custom`: a dialect defined in config.yaml, mistakes in it, and errors about responses that do not match."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from proxy.catalog import per_provider
from proxy.config import ConfigError, Provider
from proxy.dialects import EXTRA_NAMES, Auth, Dialect, Paging
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock, config_of
from tests.providers.faults import playing

pytestmark = pytest.mark.anyio

KEY = "sk-canary-odd"


def written(listing: str, api_key: str = KEY) -> str:
    """A file with one custom provider; the settings of its `list` start in line 7."""
    head = (
        f"providers:\n  - name: odd\n    kind: custom\n    base_url: http://odd.example/api\n    api_key: {api_key}\n"
    )
    return f"{head}    list:\n{textwrap.indent(textwrap.dedent(listing), '      ')}\n"


def row(listing: str) -> Dialect:
    return config_of(written(listing)).providers[0].dialect


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(text)
    return [str(problem) for problem in caught.value.problems]


def custom(address: str, listing: Mapping[str, Any], api_key: str = KEY) -> Provider:
    provider = {
        "name": "odd",
        "kind": "custom",
        "base_url": f"http://{address}/api",
        "api_key": api_key,
        "timeout": "20s",
        "retries": 0,
        "list": {"path": "/catalog", **listing},
    }
    return config_of(json.dumps({"providers": [provider]})).providers[0]


# -- valid settings ----------------------------------------------------------------------------------------------------


def test_custom_list_requires_only_a_path() -> None:
    assert row("path: /catalog") == Dialect(
        kind="custom", facts=False, path="/catalog", items=("",), id=("id",), owner=(), created=(), only_named=True
    )


def test_custom_list_settings_map_to_the_dialect() -> None:
    listing = """\
        path: /catalog
        params: {kind: llm, all: true, least: 0.5}
        items: [result.entries, entries]
        id: [slug, vendor/name]
        strip_prefix: models/
        owned_by: [vendor, by.name]
        created: published_at
        fields: {display_name: title, pricing.prompt: [price.in, price.input]}
        price_per: 1000000
        private: [internal, about.team]
        paging: {style: page, send: p, total: count, pages: page_count, first: 0, size: {per: 100, p: 0}}
        auth: {header: X-Odd-Key}
    """
    assert row(listing) == Dialect(
        kind="custom",
        facts=False,
        path="/catalog",
        params={"kind": "llm", "all": "true", "least": "0.5", "per": "100", "p": "0"},
        auth=Auth("header", "X-Odd-Key"),
        items=("result.entries", "entries"),
        id=("slug", "vendor/name"),
        strip_prefix=("models/",),
        owner=("vendor", "by.name"),
        created=("published_at",),
        extra={"display_name": ("title",), "pricing.prompt": ("price.in", "price.input")},
        price_per=1_000_000,
        private=("internal", "about.team"),
        only_named=True,
        chosen=("vendor", "by.name", "published_at", "title", "price.in", "price.input"),
        paging=(Paging("page", send="p", total="count", pages="page_count", first=0),),
    )


@pytest.mark.parametrize(
    ("paging", "made"),
    [
        pytest.param("style: url, read: links.next", Paging("url", read="links.next"), id="url"),
        pytest.param(
            "style: cursor, send: after, read: last", Paging("cursor", send="after", read="last"), id="cursor"
        ),
        pytest.param(
            "style: cursor, send: after, more: has_more", Paging("cursor", send="after", more="has_more"), id="last id"
        ),
        pytest.param("style: offset, send: skip", Paging("offset", send="skip"), id="offset"),
        pytest.param("style: page, send: page", Paging("page", send="page"), id="page"),
    ],
)
def test_paging_styles_map_to_paging(paging: str, made: Paging) -> None:
    assert row(f"path: /c\npaging: {{{paging}}}").paging == (made,)


@pytest.mark.parametrize(
    ("auth", "made"),
    [
        pytest.param("bearer", Auth("bearer"), id="bearer"),
        pytest.param("basic", Auth("basic"), id="basic"),
        pytest.param("none", Auth("none"), id="none"),
        pytest.param("{header: X-Odd-Key}", Auth("header", "X-Odd-Key"), id="header"),
        pytest.param("{query: api_key}", Auth("query", "api_key"), id="query"),
    ],
)
def test_auth_styles_map_to_auth(auth: str, made: Auth) -> None:
    text = written(f"path: /c\nauth: {auth}", api_key="user:sk-canary")
    assert config_of(text).providers[0].dialect.auth == made


# -- mistakes ----------------------------------------------------------------------------------------------------------

A_PATH = "must be a path below base_url, like /catalog, without `?` and `#`"
NAMES = "must be field names separated by dots, like result.entries"
SEVERAL = "must be a string, or a list of strings (the first that exists is used)"
AUTH = "must be bearer, basic, none, {header: NAME} or {query: NAME}, with a NAME like X-Api-Key"


@pytest.mark.parametrize(
    ("listing", "problem"),
    [
        pytest.param("items: x", "config.yaml:6: list.path: is missing; add `path: ...`", id="no path"),
        pytest.param("path: catalog", f"config.yaml:7: list.path: {A_PATH}; found 'catalog'", id="no slash"),
        pytest.param("path: /c?x=1", f"config.yaml:7: list.path: {A_PATH}; found '/c?x=1'", id="a query"),
        pytest.param("path:", "config.yaml:7: list.path: has no value; set a value or remove the line", id="no value"),
        pytest.param(
            "path: /c\nitem: x", "config.yaml:8: list.item: unknown setting; did you mean 'items'?", id="misspelled"
        ),
        pytest.param("path: /c\nitems: a..b", f"config.yaml:8: list.items: {NAMES}; found 'a..b'", id="two dots"),
        pytest.param("path: /c\nitems: []", "config.yaml:8: list.items: must not be empty", id="no path of items"),
        pytest.param("path: /c\nid: [a, 'b[0]']", f"config.yaml:8: list.id[1]: {NAMES}; found 'b[0]'", id="an index"),
        pytest.param("path: /c\nid: $.name", f"config.yaml:8: list.id: {NAMES}; found '$.name'", id="JSONPath"),
        pytest.param("path: /c\nid: owner/", f"config.yaml:8: list.id: {NAMES}; found 'owner/'", id="half of a pair"),
        pytest.param("path: /c\ncreated: 5", f"config.yaml:8: list.created: {SEVERAL}; found '5'", id="a number"),
        pytest.param(
            "path: /c\nfields: {contextlength: x}",
            f"config.yaml:8: list.fields.contextlength: invalid name: must be one of {', '.join(EXTRA_NAMES)}",
            id="an unknown field name",
        ),
        pytest.param(
            "path: /c\npaging: {style: curser}",
            "config.yaml:8: list.paging.style: must be 'url', 'cursor', 'offset' or 'page'; found 'curser'",
            id="unknown style",
        ),
        pytest.param(
            "path: /c\npaging: {style: cursor, send: p}",
            "config.yaml:8: list.paging: style cursor requires `read`: the path of the next URL or cursor in the "
            "response",
            id="a cursor without read",
        ),
        pytest.param(
            "path: /c\npaging: {style: cursor, read: p}",
            "config.yaml:8: list.paging: style cursor requires `send`: the query parameter that selects the next page",
            id="a cursor without send",
        ),
        pytest.param(
            "path: /c\npaging: {style: offset, send: o, pages: x}",
            "config.yaml:8: list.paging: style offset does not support `pages`; remove it or choose another style",
            id="not supported by this style",
        ),
        pytest.param(
            "path: /c\npaging: {style: page, send: p, size: {p: x}}",
            "config.yaml:6: list: the first page number, in `params` or `paging.size`, must be a whole number",
            id="a page number that is not a number",
        ),
        pytest.param(
            "path: /c\npaging: {style: page, send: p, size: 100}",
            "config.yaml:8: list.paging.size: must be a mapping of `name: value` lines",
            id="a size without a name",
        ),
        pytest.param(
            "path: /c\npaging:\n  style: page\n  send: p\n  size: {per: [1]}",
            "config.yaml:11: list.paging.size.per: must be a string",
            id="a size that is a list",
        ),
        pytest.param("path: /c\nauth: digest", f"config.yaml:8: list.auth: {AUTH}; found 'digest'", id="unknown auth"),
        pytest.param("path: /c\nauth: {heder: X}", f"config.yaml:8: list.auth: {AUTH}", id="misspelled auth"),
        pytest.param(
            "path: /c\nauth: {header: 'a b'}", f"config.yaml:8: list.auth: {AUTH}", id="an invalid header name"
        ),
        pytest.param(
            "path: /c\nauth: {query: k, header: X}", f"config.yaml:8: list.auth: {AUTH}", id="two auth locations"
        ),
        pytest.param(
            "path: /c\nauth: basic",
            "config.yaml:5: api_key: must be `user:password`, because `list.auth` is `basic`",
            id="basic auth without a user",
        ),
        pytest.param(
            "path: /c\nprice_per: 0",
            "config.yaml:8: list.price_per: must be a whole number from 1 to 1000000000; found '0'",
            id="price_per of zero",
        ),
    ],
)
def test_problem_names_line_setting_and_fix(listing: str, problem: str) -> None:
    assert problems(written(listing)) == [problem.replace(": ", ": providers[0].", 1)]


def test_list_setting_belongs_to_kind_custom_only() -> None:
    assert problems("providers: [{name: a, kind: custom, base_url: http://h}]") == [
        "config.yaml:1: providers[0].list: is missing; kind custom requires it"
    ]
    assert problems("providers: [{name: a, base_url: http://h, list: {path: /c}}]") == [
        "config.yaml:1: providers[0].kind: is missing; `kind: custom` is required by `list`"
    ]
    assert problems("providers: [{name: a, kind: openai, base_url: http://h, list: {path: /c}}]") == [
        "config.yaml:1: providers[0].list: is only supported by kind custom; this provider has kind openai"
    ]


# -- responses that do not match ---------------------------------------------------------------------------------------

OBJECTS = [{"slug": f"m-{number}", "by": "x"} for number in range(24)]


@pytest.mark.parametrize(
    ("listing", "answer", "reason"),
    [
        pytest.param(
            {"items": "result.entries"},
            {"result": {"models": OBJECTS}},
            "returned no model list at `result.entries` (list.items): the response has `result.models` (24 objects)",
            id="items at another path",
        ),
        pytest.param(
            {"items": ["entries", "list"]},
            {"data": OBJECTS, "other": {"deep": [{}]}, "tags": ["x"]},
            "returned no model list at `entries` or `list` (list.items): the response has `data` (24 objects), "
            "`other.deep` (1 object)",
            id="several arrays",
        ),
        pytest.param(
            {"items": "entries"},
            OBJECTS,
            'returned no model list at `entries` (list.items): the response is an array, set `items: ""`',
            id="the answer itself",
        ),
        pytest.param(
            {},
            {"count": 0},
            "returned no model list at the top level (list.items): the response is an object with `count`",
            id="no array anywhere",
        ),
        pytest.param(
            {"items": "data", "id": ["name", "owner/name"]},
            {"data": OBJECTS},
            "returned no usable models: missing `name` or `owner/name` "
            "(list.id is `name` or `owner/name`, an entry is an object with `slug`, `by`)",
            id="id at another path",
        ),
        pytest.param(
            {"items": "data"},
            {"data": [7]},
            "returned no usable models: not an object (list.id is `id`, an entry is a number)",
            id="numbers instead of objects",
        ),
        pytest.param(
            {"items": "data"},
            {"error": "no rights"},
            "returned an error with status 200: no rights",
            id="an error with 200",
        ),
    ],
)
async def test_invalid_response_error_describes_what_was_found(
    listing: Mapping[str, Any], answer: object, reason: str
) -> None:
    async with playing("status", status="200 OK", body=json.dumps(answer)) as server:
        provider = custom(server.address, listing)
        with pytest.raises(UpstreamError) as raised:
            await ListFetcher([provider], HastyClock())(provider, 0)
    assert (raised.value.kind, raised.value.reason) == ("invalid_response", reason)


async def test_empty_list_has_no_entries() -> None:
    async with playing("status", status="200 OK", body='{"result":{"entries":[]}}') as server:
        provider = custom(server.address, {"items": "result.entries"})
        assert (await ListFetcher([provider], HastyClock())(provider, 0)).entries == ()


@pytest.mark.parametrize(
    ("listing", "answer"),
    [
        pytest.param({"items": "names"}, {"names": ["m-1", "m-2"]}, id="an array of ids"),
        pytest.param({"items": "acme.models"}, {"acme": {"models": {"m-1": {}, "m-2": {}}}}, id="an object by id"),
        pytest.param({}, {"m-1": {"id": "m-1"}, "m-2": {"id": "m-2"}}, id="the response itself by id"),
    ],
)
async def test_list_may_be_ids_or_an_object_by_id(listing: Mapping[str, Any], answer: object) -> None:
    async with playing("status", status="200 OK", body=json.dumps(answer)) as server:
        provider = custom(server.address, listing)
        result = await ListFetcher([provider], HastyClock())(provider, 0)
    assert [entry.id for entry in result.entries] == ["m-1", "m-2"]


# -- end to end --------------------------------------------------------------------------------------------------------


async def test_unknown_provider_is_added_by_configuration_alone() -> None:
    listing = {
        "items": "result.entries",
        "id": "name",
        "strip_prefix": ["models/"],
        "owned_by": "vendor",
        "created": "published_at",
        "fields": {"context_length": "limits.context", "pricing.prompt": "price.in"},
        "price_per": 1000,
        "private": "team",
        "paging": {"style": "cursor", "send": "page_token", "read": "next", "size": {"page_size": 100}},
        "auth": {"header": "X-Odd-Key"},
    }
    async with playing("custom-pages") as server:
        provider = custom(server.address, listing)
        answer = await ListFetcher([provider], HastyClock())(provider, 0)
    offers = per_provider(provider, config_of("providers: [{name: odd, base_url: http://h}]"))(answer.entries)
    assert [(o.id, o.owned_by, o.created, msgspec.json.decode(o.entry.extra)) for o in offers] == [
        ("rocket-7b", "acme", 1714521600, {"context_length": 8192, "pricing": {"prompt": "0.00025"}}),
        ("rocket-70b", "odd", 0, {}),
    ]
    assert server.targets == [
        "/api/catalog?page_size=100",
        "/api/catalog?page_size=100&page_token=a%2Fb%3D%3D",
    ]
    assert [request.values("x-odd-key") for request in server.requests] == [[KEY], [KEY]]
    assert [request.values("authorization") for request in server.requests] == [[], []]


@pytest.mark.parametrize(
    ("auth", "api_key", "headers", "target"),
    [
        pytest.param("bearer", KEY, {"authorization": [f"Bearer {KEY}"]}, "/api/catalog", id="bearer"),
        pytest.param(
            "basic",
            f"user:{KEY}",
            {"authorization": [f"Basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}"]},
            "/api/catalog",
            id="basic",
        ),
        pytest.param("none", KEY, {"authorization": []}, "/api/catalog", id="none"),
        pytest.param({"header": "X-K"}, KEY, {"authorization": [], "x-k": [KEY]}, "/api/catalog", id="header"),
        pytest.param({"query": "k"}, f"{KEY}/&=", {"authorization": []}, f"/api/catalog?k={KEY}%2F%26%3D", id="query"),
    ],
)
async def test_credential_is_sent_only_where_auth_says(
    auth: object, api_key: str, headers: Mapping[str, list[str]], target: str
) -> None:
    async with playing("status", status="200 OK", body='[{"id":"m"}]') as server:
        provider = custom(server.address, {"auth": auth}, api_key)
        await ListFetcher([provider], HastyClock())(provider, 0)
    [request] = server.requests
    assert {name: request.values(name) for name in headers} == headers
    assert request.target == target

"""`GET /v1/workspaces/{workspace_id}/models/{model_id}/versions`: the Pangu contract."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from proxy.api.pangu import Query, parsed
from proxy.catalog import FetchResult
from proxy.dialects import DIALECTS, read_entry
from proxy.errors import BadRequest
from tests.fakes import (
    KEY_HEADERS,
    VARY,
    FailingClock,
    FakeClock,
    FakeFetch,
    Reply,
    config_of,
    digest,
    holding,
    ids,
    reply_to,
    started,
)

pytestmark = pytest.mark.anyio

CONFIG = """
cache: {ttl: 100s, max_stale: 1000s, initial_wait: 4s}
providers:
  - {name: plain, base_url: "http://127.0.0.1/v1"}
  - {name: pangu, kind: pangu, base_url: "http://127.0.0.1", workspace_id: ws-1, model_ids: [m-1, m-2]}
  - {name: second, kind: pangu, base_url: "http://127.0.0.1", workspace_id: ws-2, model_ids: [m-3], prefix: s/}
keys:
""" + "".join(
    f'  - {{name: {name}, hash: "{digest("sk-canary-" + name)}", models: {rules}}}\n'
    for name, rules in {
        "all": '["*"]',
        "first": '["provider:pangu"]',
        "few": '["v-1*", "s/*", "!v-19"]',
        "plain": '["provider:plain"]',
        "nothing": "[]",
    }.items()
)

M1, M2, M3 = (f"/v1/workspaces/{place}/versions" for place in ("ws-1/models/m-1", "ws-1/models/m-2", "ws-2/models/m-3"))

DOCUMENTED = (
    '{ "id" : "c51dd4f3-0b1c-4c9f-a32e-1f1f2c3d4e5f",\n  "name":"盘古 大模型_v1.0","cap_white_list":["a", "b"],'
    '"description":"", "config":{"llm_model_config":{"base_model_type":"Pangu-NLP-N2",'
    '"model_path":"obs:\\/\\/bucket-canary/path"}},"create_time":"2024-12-20 10:00:00","unknown":1.50,'
    '"create_user":{"domain_name":"domain-canary","domain_id":"d","user_name":"user-canary","user_id":"u"}}'
).encode()


def key(name: str) -> dict[str, str]:
    return {"X-Auth-Token": f"sk-canary-{name}"}


def answer(**versions: Sequence[Mapping[str, object] | bytes]) -> FetchResult:
    """The list of a Pangu provider: the versions of each of its models (`m_1`), as objects or bytes."""
    return FetchResult(
        tuple(
            read_entry(
                DIALECTS["pangu"],
                msgspec.Raw(version if isinstance(version, bytes) else msgspec.json.encode(version)),
                {"model_id": model_id.replace("_", "-"), "workspace_id": "ws"},
            )
            for model_id, listed in versions.items()
            for version in listed
        )
    )


V = [{"id": f"v-{n}", "name": f"盘古 NLP {'Straße' if n % 2 else 'Ｘ'} {n}"} for n in range(25)]


def listing(fetch: FakeFetch) -> None:
    """25 versions of m-1, one of m-2, two of m-3 at another provider."""
    fetch.answers("pangu", answer(m_1=V, m_2=[{"id": "w-1", "name": None}]))
    fetch.answers("second", answer(m_3=[{"id": "v-1", "name": "of the second"}, {"id": "x"}]))


def versions_of(reply: Reply) -> tuple[int, list[str]]:
    assert reply.status == 200, reply.body
    return reply.json["total"], [version["id"] for version in reply.json["versions"]]


def numbered(*numbers: int) -> list[str]:
    return [f"v-{n}" for n in numbers]


@pytest.mark.parametrize("base", ["/v1", "", "//v1", "/v1/v1"])
async def test_versions_are_returned_byte_for_byte(base: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.answers("pangu", answer(m_1=[DOCUMENTED, {"id": "v-2"}]))
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, base + M1.removeprefix("/v1"), {**key("all"), "X-Request-Id": "mine"})
        listed = await reply_to(app, "/v1/models", key("all"))

    assert reply.status == 200
    assert reply.body == b'{"total":2,"versions":[' + DOCUMENTED + b',{"id":"v-2"}]}'
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"x-request-id": b"mine",
    }
    assert ids(listed.body) == ["c51dd4f3-0b1c-4c9f-a32e-1f1f2c3d4e5f", "v-2"]
    assert b"canary" not in listed.body, "the model list contains no data of the account"


@pytest.mark.parametrize(
    ("query", "total", "shown"),
    [
        pytest.param("", 25, numbered(*range(10)), id="the first ten"),
        pytest.param("?offset=10", 25, numbered(*range(10, 20)), id="from an offset"),
        pytest.param("?offset=20&limit=10", 25, numbered(*range(20, 25)), id="a short last page"),
        pytest.param("?offset=25", 25, [], id="after the end"),
        pytest.param("?offset=999999999999999999", 25, [], id="far after the end"),
        pytest.param("?limit=1", 25, ["v-0"], id="the smallest page"),
        pytest.param("?limit=100", 25, numbered(*range(25)), id="the largest page"),
        pytest.param("?version_id=v-7", 1, ["v-7"], id="one version"),
        pytest.param("?version_id=v-", 0, [], id="a prefix of an id"),
        pytest.param("?version_id=w-1", 0, [], id="a version of another model"),
        pytest.param("?name=nlp", 25, numbered(*range(10)), id="a part of a name, in another case"),
        pytest.param("?name=STRASSE&limit=3", 12, numbered(1, 3, 5), id="total counts all that match"),
        pytest.param("?name=%E7%9B%98%E5%8F%A4&limit=2", 25, numbered(0, 1), id="a part of a Chinese name"),
        pytest.param("?name=%E7%9B%98%E5%8F%A4+NLP+Stra%C3%9Fe+7", 1, ["v-7"], id="with spaces"),
        pytest.param("?name=of+the+second", 0, [], id="another provider's name"),
        pytest.param("?name=7&version_id=v-17", 1, ["v-17"], id="both"),
        pytest.param("?name=8&version_id=v-17", 0, [], id="both, without a match"),
        pytest.param("?version_id=&name=&limit=2", 25, numbered(0, 1), id="empty filters"),
        pytest.param("?sort=x&limit=2", 25, numbered(0, 1), id="unknown parameters"),
    ],
)
async def test_versions_are_filtered_and_paged(
    query: str, total: int, shown: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        assert versions_of(await reply_to(app, M1 + query, key("all"))) == (total, shown)


@pytest.mark.parametrize(
    ("name", "text", "range_"),
    [
        *(
            ("offset", text, "of at least 0")
            for text in ("-1", "", "a", "1.5", "1e3", "+1", "%201", "%D9%A3", "9" * 19)
        ),
        *(("limit", text, "from 1 to 100") for text in ("0", "101", "-5", "", "ten", "1%00", "0x10", "%EF%BC%91")),
    ],
)
async def test_an_invalid_parameter_is_400_with_the_allowed_range(
    name: str, text: str, range_: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, f"{M1}?{name}={text}", key("all"))

    assert (reply.status, reply.json) == (
        400,
        {
            "error_code": "PROXY.0400",
            "error_msg": f"{name} must be an integer {range_}.",
            "solution_msg": "Fix the request and send it again.",
        },
    )


def test_parameters_have_the_documented_defaults() -> None:
    assert parsed({}) == Query(offset=0, limit=10, version_id="", name="")
    assert parsed({"offset": "5", "limit": "100", "version_id": "v", "name": "n"}) == Query(5, 100, "v", "n")
    with pytest.raises(BadRequest):
        parsed({"limit": "101"})


@pytest.mark.parametrize(
    ("caller", "path", "shown"),
    [
        pytest.param("first", M1, numbered(*range(10)), id="all models of a provider"),
        pytest.param("first", M2, ["w-1"], id="its other model"),
        pytest.param(
            "few", M1 + "?limit=100", numbered(1, *range(10, 19)), id="by public ids, without the forbidden one"
        ),
        pytest.param("few", M3, ["v-1", "x"], id="by public ids that are renamed"),
        pytest.param("all", M3, ["v-1", "x"], id="another provider"),
    ],
)
async def test_a_version_is_shown_where_the_list_shows_its_model(
    caller: str, path: str, shown: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        total, versions = versions_of(await reply_to(app, path, key(caller)))
        listed = ids((await reply_to(app, "/v1/models", key(caller))).body)

    assert versions == shown
    assert total >= len(shown)
    assert {("s/" if path == M3 else "") + version for version in shown} <= set(listed)


NOT_FOUND = {
    "error_code": "PROXY.0404",
    "error_msg": "The workspace or model does not exist or you do not have access to it.",
    "solution_msg": "Check the workspace id, the model id and the permissions of your key.",
}
FORBIDDEN = {
    "error_code": "PROXY.0403",
    "error_msg": "This API key has no access to any Pangu provider.",
    "solution_msg": "Use an API key with this permission, or contact the proxy's administrator.",
}
TIMED_OUT = {
    "error_code": "PROXY.0408",
    "error_msg": "Timed out: a provider has not returned its model list yet; retry later.",
    "solution_msg": "Retry later.",
}
NO_KEY = {
    "error_code": "PROXY.0401",
    "error_msg": (
        "Incorrect API key provided, or none. Send one API key of this proxy, as 'Authorization: Bearer <key>' "
        "or in 'api-key' or 'X-Auth-Token'."
    ),
    "solution_msg": "Send a valid key as `Authorization: Bearer <key>` or `X-Auth-Token: <key>`.",
}


@pytest.mark.parametrize(
    ("caller", "path", "status", "body"),
    [
        pytest.param("all", "/v1/workspaces/ws-9/models/m-1/versions", 404, NOT_FOUND, id="an unknown workspace"),
        pytest.param("all", "/v1/workspaces/ws-1/models/m-9/versions", 404, NOT_FOUND, id="an unknown model"),
        pytest.param("all", "/v1/workspaces/ws-1/models/m-3/versions", 404, NOT_FOUND, id="another workspace's model"),
        pytest.param("first", M3, 404, NOT_FOUND, id="a forbidden workspace"),
        pytest.param("few", M2, 404, NOT_FOUND, id="a model without an allowed version"),
        pytest.param("plain", M1, 403, FORBIDDEN, id="a key without any Pangu provider"),
        pytest.param(
            "plain",
            "/workspaces/ws-9/models/m-9/versions",
            403,
            FORBIDDEN,
            id="a key without any Pangu provider, unknown ids",
        ),
        pytest.param("nothing", M1, 403, FORBIDDEN, id="a key without any model"),
        pytest.param("wrong", M1, 401, NO_KEY, id="a wrong key"),
        pytest.param("wrong", M1 + "?limit=0", 401, NO_KEY, id="a wrong key, before any other check"),
        pytest.param("all", M1 + "?limit=0", 400, None, id="a bad parameter"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_errors_have_the_format_of_the_contract(
    caller: str, path: str, status: int, body: dict[str, str] | None, method: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, path, key(caller), method=method)

    assert reply.status == status
    if method == "HEAD":
        assert reply.body == b""
    elif body is not None:
        assert reply.json == body
    assert reply.header("content-type") == "application/json"
    assert reply.header("x-request-id")
    assert reply.header("www-authenticate") == ("Bearer" if status == 401 else None)


async def test_a_provider_with_an_empty_list_causes_no_403(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.answers("pangu", answer())
    fetch.answers("second", answer())
    async with started(config_of(CONFIG), fetch, clock) as app:
        replies = [await reply_to(app, M1, key(name)) for name in ("all", "first", "few", "plain")]

    assert [(reply.status, reply.json) for reply in replies] == [(404, NOT_FOUND)] * 3 + [(403, FORBIDDEN)]


async def test_a_request_waits_for_initial_wait_and_is_then_408_for_every_id(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    fetch.hangs("pangu")
    unknown = "/v1/workspaces/ws-9/models/m-9/versions"
    async with started(config_of(CONFIG), fetch, clock) as app:
        waiting = asyncio.create_task(reply_to(app, M1, key("all")))
        await clock.advance(3.9)
        assert not waiting.done()
        await clock.advance(0.1)
        replies = [waiting.result(), *[await reply_to(app, path, key("few")) for path in (M1, M2, unknown)]]

        assert [(reply.status, reply.json) for reply in replies] == [(408, TIMED_OUT)] * 4
        assert versions_of(await reply_to(app, M3, key("all"))) == (2, ["v-1", "x"]), "known versions are returned"
        forbidden = await reply_to(app, M1, key("plain"))
        assert (forbidden.status, forbidden.json) == (403, FORBIDDEN)


async def test_versions_survive_an_outage_and_are_408_after_they_expired(fetch: FakeFetch, clock: FakeClock) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        fetch.fails("pangu")
        await clock.advance(999)
        assert versions_of(await reply_to(app, M2, key("all"))) == (1, ["w-1"])
        await clock.advance(1)
        reply = await reply_to(app, M2, key("all"))

    assert (reply.status, reply.json) == (408, TIMED_OUT)


async def test_versions_are_403_without_a_pangu_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    config = config_of("providers: [{name: plain, base_url: 'http://127.0.0.1/v1'}]")
    async with started(config, fetch, clock) as app:
        reply = await reply_to(app, M1)

    assert (reply.status, reply.json) == (403, FORBIDDEN)


@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_a_key_is_accepted_in_any_header(header: str, fetch: FakeFetch, clock: FakeClock) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        assert versions_of(await reply_to(app, M2, holding(header, "sk-canary-all"))) == (1, ["w-1"])
        assert (await reply_to(app, M2)).status == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "message", "allow"),
    [
        ("POST", M1, 405, "Method POST is not allowed; use GET, HEAD.", "GET, HEAD"),
        ("DELETE", M1.removeprefix("/v1"), 405, "Method DELETE is not allowed; use GET, HEAD.", "GET, HEAD"),
        (
            "GET",
            "/v1/workspaces/ws-1/models",
            404,
            "Unknown path /v1/workspaces/ws-1/models; the model list is at /v1/models.",
            None,
        ),
        (
            "GET",
            M1 + "/v",
            404,
            f"Unknown path {M1}/v; the model list is at /v1/models.",
            None,
        ),
    ],
)
async def test_errors_of_methods_and_paths_have_the_format_of_the_contract(
    method: str, path: str, status: int, message: str, allow: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    listing(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, path, key("all"), method=method)

    assert (reply.status, reply.json["error_code"], reply.json["error_msg"]) == (status, f"PROXY.0{status}", message)
    assert set(reply.json) == {"error_code", "error_msg", "solution_msg"}
    assert reply.header("allow") == allow


async def test_a_bug_is_a_500_in_the_format_of_the_contract(fetch: FakeFetch, caplog: pytest.LogCaptureFixture) -> None:
    listing(fetch)
    clock = FailingClock()
    async with started(config_of(CONFIG), fetch, clock) as app:
        clock.error = RuntimeError("sk-canary-in-a-bug")
        reply = await reply_to(app, M1, key("all"))
        clock.error = None

    assert (reply.status, reply.json) == (
        500,
        {
            "error_code": "PROXY.0500",
            "error_msg": "Internal error in the proxy; search its log for the x-request-id of this response.",
            "solution_msg": (
                "Retry; if the error persists, contact the proxy's administrator "
                "with the x-request-id of this response."
            ),
        },
    )
    assert ": internal error: " in caplog.text
    assert "canary" not in caplog.text


async def test_a_version_with_two_public_ids_is_listed_once(fetch: FakeFetch, clock: FakeClock) -> None:
    listing(fetch)
    aliased = CONFIG.replace("model_ids: [m-1, m-2]}", "model_ids: [m-1, m-2], aliases: {x: v-3, y: v-3}}")
    async with started(config_of(aliased), fetch, clock) as app:
        reply = await reply_to(app, M1 + "?limit=100", key("all"))
    assert versions_of(reply) == (25, numbered(*range(25)))

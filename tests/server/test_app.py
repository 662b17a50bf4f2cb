"""Authentication, errors, request ids, CORS, and the isolation of concurrent callers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from proxy.catalog import FetchResult
from proxy.dialects import DIALECTS, read_entry
from proxy.server.app import Proxy
from proxy.upstream.transport import HTTP_LOGGERS
from tests.fakes import (
    KEY_HEADERS,
    VARY,
    FailingClock,
    FakeClock,
    FakeFetch,
    Reply,
    answer_of,
    config_of,
    digest,
    holding,
    ids,
    reply_to,
    run_pending_tasks,
    started,
)

pytestmark = pytest.mark.anyio

RULES = {
    "all": '["*"]',
    "a": '["provider:a"]',
    "b": '["provider:b"]',
    "meta": '["owner:meta"]',
    "few": '["m", "gpt-*", "v-1", "nobody-has-this"]',
    "less": '["*", "!gpt-*", "!provider:pangu"]',
    "pangu": '["provider:pangu", "!v-2"]',
    "nothing": "[]",
}
PROVIDERS = """
cache: {ttl: 100s, max_stale: 1000s, initial_wait: 4s}
providers:
  - {name: a, base_url: "http://127.0.0.1/a"}
  - {name: b, base_url: "http://127.0.0.1/b", api_key: "${PROVIDER_KEY}"}
  - {name: pangu, kind: pangu, base_url: "http://127.0.0.1", workspace_id: ws-1, model_ids: [m-1, m-2]}
"""
DEFAULT = "groups: {default: {models: [m]}}\n"
KEYS = "keys:\n" + "".join(
    f'  - {{name: {name}, hash: "{digest("sk-canary-" + name)}", models: {rules}}}\n' for name, rules in RULES.items()
)
ENVIRON = {"PROVIDER_KEY": "sk-canary-of-the-provider"}
CONFIG = config_of(PROVIDERS + KEYS, ENVIRON)
WITH_DEFAULT = config_of(PROVIDERS + DEFAULT + KEYS, ENVIRON)

WORLD: Mapping[str, Sequence[Mapping[str, object]]] = {
    "a": [{"id": "m", "owned_by": "OpenAI", "created": 5}, {"id": "gpt-4o"}, {"id": "a/b c:d@é"}],
    "b": [{"id": "m", "owned_by": "Meta", "context_length": 1}, {"id": "llama-3"}, {"id": "models"}],
    "pangu": [{"id": "v-1", "name": "one"}, {"id": "v-2", "name": "two"}],
}
IDS = ["m", "gpt-4o", "a%2Fb%20c%3Ad%40%C3%A9", "llama-3", "models", "v-1", "v-2", "unknown", "v-", "gpt-"]
VERSIONS = [f"/workspaces/{w}/models/{m}/versions" for w, m in (("ws-1", "m-1"), ("ws-1", "m-2"), ("ws-9", "m-1"))]


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-canary-{name}"} if name != "nobody" else {}


def fetch_of(world: Mapping[str, Sequence[Mapping[str, object]]]) -> FakeFetch:
    fetch = FakeFetch()
    fetch.lists("a", *world["a"])
    fetch.lists("b", *world["b"])
    versions = [msgspec.Raw(msgspec.json.encode(version)) for version in world["pangu"]]
    fetch.answers(
        "pangu", FetchResult(tuple(read_entry(DIALECTS["pangu"], version, {"model_id": "m-1"}) for version in versions))
    )
    return fetch


def less_its_id(reply: Reply) -> tuple[object, ...]:
    """A reply without its request id."""
    return reply.status, [header for header in reply.headers if header[0] != b"x-request-id"], reply.body


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# -- lists and retrieval -------------------------------------------------------------------------------------------


async def everything(app: Proxy, caller: str) -> dict[str, Reply]:
    """All responses about models that a caller can get, by path."""
    lists = ["/v1/models", "/models", "/v1/models/", "/models/"]
    single = [
        base + model_id
        for base in ("/v1/models/", "/models/", "/v1/models/models/", "/models/models/")
        for model_id in IDS
    ]
    versions = [base + path for base in ("/v1", "") for path in VERSIONS]
    return {path: await reply_to(app, path, key(caller)) for path in (*lists, *single, *versions)}


@pytest.mark.parametrize("caller", [*RULES, "nobody"])
async def test_listed_models_can_be_retrieved_and_all_others_are_404(caller: str, clock: FakeClock) -> None:
    async with started(WITH_DEFAULT, fetch_of(WORLD), clock) as app:
        replies = await everything(app, caller)
        heads = {path: await reply_to(app, path, key(caller), method="HEAD") for path in replies}
    listed = ids(replies["/v1/models"].body)
    allowed = {name: [fields for fields in entries if fields["id"] in listed] for name, entries in WORLD.items()}
    # Callers without access to any version get 403 for every workspace and model.
    allowed["pangu"] = allowed["pangu"] or list(WORLD["pangu"])
    async with started(WITH_DEFAULT, fetch_of(allowed), clock) as app:
        where_nothing_else_exists = await everything(app, caller)

    for path, reply in replies.items():
        assert less_its_id(reply) == less_its_id(where_nothing_else_exists[path]), path
        assert (heads[path].status, heads[path].body) == (reply.status, b"")
        assert b"canary" not in reply.body
    for path in ("/models", "/v1/models/", "/models/"):
        assert replies[path].body == replies["/v1/models"].body
    retrievable = {
        base: [reply.json["id"] for path, reply in replies.items() if path.startswith(base) and "id" in reply.json]
        for base in ("/v1/models/", "/models/", "/v1/models/models/", "/models/models/")
    }
    for base, retrieved in retrievable.items():
        assert set(retrieved) == set(listed), base
    versions = [reply.json for path, reply in replies.items() if path.endswith("m-1/versions") and reply.status == 200]
    shown = {version["id"] for document in versions for version in document["versions"]}
    assert shown == {model_id for model_id in listed if model_id.startswith("v-")}


@pytest.mark.parametrize(
    ("caller", "listed"),
    [
        ("all", ["a/b c:d@é", "gpt-4o", "llama-3", "m", "models", "v-1", "v-2"]),
        ("a", ["a/b c:d@é", "gpt-4o", "m"]),
        ("b", ["llama-3", "m", "models"]),
        ("meta", ["llama-3", "m"]),
        ("few", ["gpt-4o", "m", "v-1"]),
        ("less", ["a/b c:d@é", "llama-3", "m", "models"]),
        ("pangu", ["v-1"]),
        ("nothing", []),
        ("nobody", ["m"]),
    ],
)
async def test_each_caller_sees_what_the_rules_allow(caller: str, listed: list[str], clock: FakeClock) -> None:
    async with started(WITH_DEFAULT, fetch_of(WORLD), clock) as app:
        assert ids((await reply_to(app, "/v1/models", key(caller))).body) == listed


async def test_a_caller_gets_the_fields_of_its_first_allowed_offer(clock: FakeClock) -> None:
    async with started(WITH_DEFAULT, fetch_of(WORLD), clock) as app:
        seen = {name: (await reply_to(app, "/v1/models/m", key(name))).json for name in ("all", "a", "b", "meta")}

    shown = {name: (m["owned_by"], m["created"], m.get("context_length")) for name, m in seen.items()}
    assert shown == {
        "all": ("openai", 5, None),
        "a": ("openai", 5, None),
        "b": ("meta", 0, 1),
        "meta": ("meta", 0, 1),
    }


async def test_concurrent_callers_never_get_each_others_list(clock: FakeClock) -> None:
    chance = random.Random(8)
    plain: dict[str, Reply] = {}
    packed: dict[str, Reply] = {}
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        for name in ("a", "b"):
            plain[name] = await reply_to(app, "/v1/models", key(name))
            packed[name] = await reply_to(app, "/v1/models", {**key(name), "Accept-Encoding": "gzip"})
        etags = [reply.header("etag") or "" for reply in (*plain.values(), *packed.values())]

        async def request() -> None:
            name = chance.choice(["a", "b"])
            headers = [*key(name).items(), ("Host", "evil.example"), ("X-Forwarded-Host", "evil.example")]
            gzip, tags = chance.random() < 0.5, chance.sample(etags, chance.randrange(3))
            if gzip:
                headers.append(("Accept-Encoding", "gzip"))
            if tags:
                headers.append(("If-None-Match", ", ".join(tags)))
            await asyncio.sleep(0)
            reply = await reply_to(app, chance.choice(["/v1/models", "/models"]), dict(headers))
            own = (packed if gzip else plain)[name]
            assert reply.header("etag") == own.header("etag")
            if own.header("etag") in tags:
                assert (reply.status, reply.body) == (304, b"")
            else:
                assert (reply.status, reply.body) == (200, own.body)

        for _ in range(200):
            await asyncio.gather(*(request() for _ in range(50)))
    assert len(set(etags)) == 4


async def test_a_thousand_cold_requests_cause_one_fetch_per_provider_and_cancellations_do_not_affect_others(
    clock: FakeClock,
) -> None:
    fetch = FakeFetch()
    answers = {name: fetch.hangs(name) for name in ("a", "b", "pangu")}
    async with started(CONFIG, fetch, clock) as app:
        waiting = [asyncio.create_task(reply_to(app, "/v1/models", key("all"))) for _ in range(1000)]
        await run_pending_tasks()
        for task in waiting[::10]:
            task.cancel()
        for name, answer in answers.items():
            answer.set_result(answer_of(name + "-1"))
        replies = await asyncio.gather(*waiting, return_exceptions=True)

    bodies = [reply.body for reply in replies if isinstance(reply, Reply)]
    assert fetch.requests == {"a": 1, "b": 1, "pangu": 1}
    assert len(bodies) == 900
    assert ids(bodies[0]) == ["a-1", "b-1", "pangu-1"]
    assert all(body is bodies[0] for body in bodies)


# -- errors --------------------------------------------------------------------------------------------------------

KNOWN = ["/v1/models", "/models", "/v1/models/m", "/models/unknown", "/livez", "/readyz", "/health"]
UNKNOWN = [
    "/",
    "/v1",
    "/v1/",
    "/v1/chat",
    "/docs",
    "/favicon.ico",
    "/v1/models%0A",
    "/modelsx",
    "*",
    "/%FF",
]
METHODS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "FOO", "get"]


@pytest.mark.parametrize("path", KNOWN)
@pytest.mark.parametrize("method", METHODS)
async def test_other_methods_are_405_with_the_allowed_ones(path: str, method: str, clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, path, {**key("all"), "X-Request-Id": "mine"}, method=method)

    assert (reply.status, error_of(reply)) == (
        405,
        {
            "message": f"Method {method} is not allowed; use GET, HEAD.",
            "type": "invalid_request_error",
            "param": None,
            "code": "method_not_allowed",
        },
    )
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"allow": b"GET, HEAD",
        b"x-request-id": b"mine",
    }


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "HEAD", *METHODS])
async def test_unknown_paths_are_404_for_every_method(path: str, method: str, clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, path, key("all"), method=method)

    assert (reply.status, reply.header("content-type")) == (404, "application/json")
    assert reply.header("x-request-id")
    if method == "HEAD":
        assert reply.body == b""
    else:
        assert (error_of(reply)["type"], error_of(reply)["code"]) == ("invalid_request_error", "not_found")
        assert error_of(reply)["message"].endswith("; the model list is at /v1/models.")


@pytest.mark.parametrize("path", [*KNOWN[:4], *UNKNOWN, "/v1/models?key=sk-canary-all"])
@pytest.mark.parametrize("method", ["GET", *METHODS])
async def test_requests_without_a_key_are_401_for_every_path(path: str, method: str, clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        expected = await reply_to(app, "/v1/models")
        reply = await reply_to(app, path, method=method)

    assert reply.status == 401
    assert less_its_id(reply) == less_its_id(expected)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"authorization", b"Bearer sk-canary-unknown")], id="unknown"),
        pytest.param([(b"authorization", b"Basic eDp5")], id="another scheme"),
        pytest.param([(b"authorization", b"Bearer ")], id="empty"),
        pytest.param([(b"authorization", b"Bearer \xff\xfe")], id="invalid UTF-8"),
        pytest.param([(b"x-api-key", b"k" * 5000)], id="too long"),
        pytest.param([(b"x-api-key", b"sk-canary-a"), (b"api-key", b"sk-canary-b")], id="conflicting keys"),
        pytest.param([(b"x-api-key", b"sk-canary-a"), (b"x-api-key", b"sk-canary-a")], id="twice"),
        pytest.param([(b"x-api-key", b"sk-canary-unknown"), (b"if-none-match", b"*")], id="before any 304"),
    ],
)
@pytest.mark.parametrize("config", [pytest.param(CONFIG, id="no default"), pytest.param(WITH_DEFAULT, id="default")])
async def test_every_401_has_the_same_bytes(
    headers: list[tuple[bytes, bytes]], config: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        no_key = await reply_to(app, "/v1/models")
    async with started(config, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, "/v1/models", headers)

    assert less_its_id(reply) == less_its_id(no_key)
    assert reply.header("www-authenticate") == "Bearer"
    assert error_of(reply) == {
        "message": (
            "Incorrect API key provided, or none. Send one API key of this proxy, as 'Authorization: Bearer <key>' "
            "or in 'api-key' or 'X-Auth-Token'."
        ),
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert "canary" not in caplog.text


async def test_a_wrong_key_of_an_anthropic_client_is_an_authentication_error_that_is_not_retried(
    clock: FakeClock,
) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, "/v1/messages", {"x-api-key": "sk-canary-unknown"}, method="POST")

    assert (reply.status, reply.header("x-should-retry"), reply.json["error"]["type"]) == (
        401,
        "false",
        "authentication_error",
    )


READS = ["/v1/models", "/models/m", "/v1/models/unknown", "/nowhere", "/health"]
GEMINI = "x-goog-api-key"
"""The header that selects Gemini's format, too, at the paths of several formats and at unknown ones."""
GEMINI_READS = [
    "/v1beta/models",
    "/v1beta/models/unknown",
    "/v1beta/x",
    "/api/v0/models",
    "/api/v0/models/m",
    "/health",
]


@pytest.mark.parametrize("header", KEY_HEADERS)
@pytest.mark.parametrize("config", [pytest.param(CONFIG, id="no default"), pytest.param(WITH_DEFAULT, id="default")])
async def test_a_key_is_equivalent_in_any_header_and_an_invalid_one_is_rejected(
    header: str, config: Any, clock: FakeClock
) -> None:
    async with started(config, fetch_of(WORLD), clock) as app:
        for path in GEMINI_READS if header == GEMINI else READS:
            expected = await reply_to(app, path, key("a"))
            known = await reply_to(app, path, holding(header, "sk-canary-a"))
            wrong = await reply_to(app, path, holding(header, "sk-canary-unknown"))
            beside = await reply_to(app, path, {**key("b"), **holding(header, "sk-canary-a")})

            assert (expected.status != 401, less_its_id(known)) == (True, less_its_id(expected)), path
            assert (wrong.status, beside.status if header != "authorization" else 401) == (401, 401), path


async def test_an_open_proxy_ignores_keys_in_any_header(clock: FakeClock) -> None:
    async with started(config_of(PROVIDERS, ENVIRON), fetch_of(WORLD), clock) as app:
        without = await reply_to(app, "/api/v0/models")
        replies = [
            await reply_to(app, "/api/v0/models", holding(header, "sk-canary-unknown")) for header in KEY_HEADERS
        ]

    assert without.status == 200
    assert [less_its_id(reply) for reply in replies] == [less_its_id(without)] * len(KEY_HEADERS)


@pytest.mark.parametrize("path", ["/v1/models", "/models/m", "/v1/models/unknown", "/nowhere"])
async def test_a_key_in_the_query_is_rejected_even_if_no_key_is_required(path: str, clock: FakeClock) -> None:
    async with started(WITH_DEFAULT, fetch_of(WORLD), clock) as app:
        without = await reply_to(app, path)
        replies = [await reply_to(app, f"{path}?api_key=sk-canary-all", key(name)) for name in ("nobody", "all")]

    assert without.status in (200, 404)
    assert [reply.status for reply in replies] == [401, 401]


@pytest.mark.parametrize(
    ("headers", "closes"),
    [
        pytest.param({}, False, id="no body"),
        pytest.param({"Content-Length": "0"}, False, id="an empty body"),
        pytest.param({"Content-Length": "5"}, True, id="a body"),
        pytest.param({"Transfer-Encoding": "chunked"}, True, id="a body of unknown length"),
    ],
)
@pytest.mark.parametrize(("path", "caller"), [("/v1/models", "all"), ("/v1/chat", "all"), ("/", "nobody")])
async def test_a_connection_with_an_unread_body_is_closed(
    headers: dict[str, str], closes: bool, path: str, caller: str, clock: FakeClock
) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, path, {**key(caller), **headers}, method="POST")

    assert reply.status in (401, 404, 405)
    assert reply.header("connection") == ("close" if closes else None)


@pytest.mark.parametrize("path", ["/v1/models", "/models/m", "/health"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bug_is_a_generic_500_and_is_logged_without_its_text(
    path: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FailingClock()
    caplog.set_level(logging.DEBUG)
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        clock.error = RuntimeError("sk-canary-in-a-bug")
        broken = await reply_to(app, path, {**key("all"), "X-Request-Id": "mine"}, method=method)
        clock.error = None
        recovered = await reply_to(app, path, key("all"), method=method)

    assert recovered.status == 200
    assert (broken.status, broken.header("x-request-id")) == (500, "mine")
    if method == "HEAD":
        assert broken.body == b""
    else:
        assert error_of(broken) == {
            "message": "Internal error in the proxy; search its log for the x-request-id of this response.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
    assert "request mine: internal error: RuntimeError\n" in caplog.text
    assert "canary" not in caplog.text


# -- request ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sane", ["a", "req_1.2:3-4", "0" * 128])
async def test_a_clients_request_id_is_kept(sane: str, clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        for path, status in (("/v1/models", 200), ("/health", 200), ("/v1/models/unknown", 404), ("/", 404)):
            reply = await reply_to(app, path, {**key("all"), "X-Request-Id": sane})
            assert (reply.status, reply.header("x-request-id")) == (status, sane)


@pytest.mark.parametrize(
    "insane",
    ["", "0" * 129, "a b", "a\r\nSet-Cookie: x", "a\n", "ä", '"a"', "a;b", "a\x00", "<a>"],
)
async def test_an_invalid_request_id_is_replaced(insane: str, clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        replies = [await reply_to(app, "/v1/models", {**key("all"), "X-Request-Id": insane}) for _ in range(2)]

    given = [reply.header("x-request-id") or "" for reply in replies]
    assert given[0] != given[1]
    assert all(request_id.replace("-", "").isalnum() for request_id in given)
    assert insane not in given


# -- CORS ----------------------------------------------------------------------------------------------------------

CORS = config_of("server: {cors: [https://app.example]}" + PROVIDERS + KEYS, ENVIRON)
PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}


async def test_cors_is_off_without_configured_origins(clock: FakeClock) -> None:
    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        preflight = await reply_to(app, "/v1/models", PREFLIGHT, method="OPTIONS")
        listed = await reply_to(app, "/v1/models", {**key("all"), "Origin": "https://app.example"})

    assert preflight.status == 401
    assert listed.status == 200
    for reply in (preflight, listed):
        assert not [name for name, _ in reply.headers if name.startswith(b"access-control")]


async def test_cors_allows_configured_origins_with_a_key(clock: FakeClock) -> None:
    async with started(CORS, fetch_of(WORLD), clock) as app:
        preflight = await reply_to(app, "/v1/models", PREFLIGHT, method="OPTIONS")
        listed = await reply_to(app, "/v1/models", {**key("all"), "Origin": "https://app.example"})
        rejected = await reply_to(app, "/v1/models", {"Origin": "https://app.example"})

    assert preflight.status == 200
    assert preflight.header("access-control-allow-methods") == "GET, HEAD, POST, DELETE"
    assert preflight.header("access-control-allow-headers") == "authorization"
    assert [listed.status, rejected.status] == [200, 401]
    for reply in (preflight, listed, rejected):
        assert reply.header("access-control-allow-origin") == "https://app.example"
        assert reply.header("access-control-allow-credentials") is None
        assert "Origin" in (reply.header("vary") or "")
    assert (listed.header("vary") or "").startswith("Authorization, ")


@pytest.mark.parametrize(
    "origin",
    ["app://notes.example", "tauri://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
)
async def test_cors_allows_configured_origins_of_applications_and_extensions(origin: str, clock: FakeClock) -> None:
    config = config_of(f"server: {{cors: ['{origin}']}}" + PROVIDERS + KEYS, ENVIRON)
    async with started(config, fetch_of(WORLD), clock) as app:
        preflight = await reply_to(app, "/v1/models", {**PREFLIGHT, "Origin": origin}, method="OPTIONS")
        listed = await reply_to(app, "/v1/models", {**key("all"), "Origin": origin})

    for reply in (preflight, listed):
        assert (reply.status, reply.header("access-control-allow-origin")) == (200, origin)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example", "https://app.example.evil", "https://APP.example", "null", "*"],
)
async def test_cors_headers_are_missing_for_other_origins(origin: str, clock: FakeClock) -> None:
    async with started(CORS, fetch_of(WORLD), clock) as app:
        listed = await reply_to(app, "/v1/models", {**key("all"), "Origin": origin})

    assert listed.status == 200
    assert not [name for name, _ in listed.headers if name.startswith(b"access-control")]
    assert "Origin" in (listed.header("vary") or "")


@pytest.mark.parametrize("changed", [{"Origin": "https://evil.example"}, {"Access-Control-Request-Method": "PATCH"}])
async def test_a_rejected_preflight_has_the_error_format(changed: dict[str, str], clock: FakeClock) -> None:
    async with started(CORS, fetch_of(WORLD), clock) as app:
        reply = await reply_to(app, "/v1/models", {**PREFLIGHT, **changed, "X-Request-Id": "mine"}, method="OPTIONS")

    assert (reply.status, error_of(reply)) == (
        400,
        {
            "message": "CORS: this origin or method is not allowed; add the origin to `server.cors`.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_request",
        },
    )
    assert reply.header("content-type") == "application/json"
    assert reply.header("x-request-id") == "mine"
    allowed = None if "Origin" in changed else "https://app.example"
    assert reply.header("access-control-allow-origin") == allowed
    assert reply.header("access-control-allow-methods") is None


# -- lifespan-------------------------------------------------------------------------------------------------------


async def test_the_lifespan_starts_and_stops_the_refresh_loop(clock: FakeClock) -> None:
    fetch = fetch_of(WORLD)
    app = Proxy(CONFIG, clock=clock, fetch=fetch)
    before = asyncio.all_tasks()
    commands: asyncio.Queue[Message] = asyncio.Queue()
    replies: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.create_task(app({"type": "lifespan", "state": {}}, commands.get, replies.put))

    commands.put_nowait({"type": "lifespan.startup"})
    assert await replies.get() == {"type": "lifespan.startup.complete"}
    await run_pending_tasks()
    assert fetch.requests == {"a": 1, "b": 1, "pangu": 1}
    commands.put_nowait({"type": "lifespan.shutdown"})
    assert await replies.get() == {"type": "lifespan.shutdown.complete"}
    await serving
    await clock.advance(1000)
    assert fetch.requests == {"a": 1, "b": 1, "pangu": 1}
    assert asyncio.all_tasks() == before


async def test_on_report_is_called_for_every_provider(clock: FakeClock) -> None:
    reported: list[str] = []
    app = Proxy(CONFIG, clock=clock, fetch=fetch_of(WORLD), on_report=lambda report: reported.append(report.name))
    async with app.lifespan():
        await run_pending_tasks()

    assert sorted(reported) == ["a", "b", "pangu"]


async def test_other_protocols_are_rejected(clock: FakeClock) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with started(CONFIG, fetch_of(WORLD), clock) as app:
        await app({"type": "websocket", "path": "/v1/models", "headers": []}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_http_loggers_are_off_while_providers_are_fetched(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers = [logging.getLogger(name) for name in HTTP_LOGGERS]
    for logger in loggers:
        monkeypatch.setattr(logger, "disabled", False)
    async with started(CONFIG, fetch, clock):
        assert all(logger.disabled for logger in loggers)

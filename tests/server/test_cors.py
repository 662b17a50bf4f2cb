"""CORS over real sockets: every response to a configured origin can be read by its pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy.key_headers import KEY_HEADERS
from proxy.server.app import Proxy
from proxy.server.cors import Cors
from tests.fakes import VARY, FakeClock, FakeFetch, config_of, digest, holding
from tests.listening import Served, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import FakeProvider, Script, fake_provider, replies

pytestmark = pytest.mark.anyio

ORIGIN = "https://app.example"
KEY = {"authorization": "Bearer sk-fake-alice"}
CALL = {"model": "m", "messages": [], "input": "x", "query": "x", "documents": ["x"], "prompt": "x", "max_tokens": 1}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
EXPOSED = (
    "x-request-id, request-id, x-upstream-request-id, x-served-by, retry-after, retry-after-ms, x-should-retry, etag, "
    "age, x-models-stale, x-models-missing, x-models-incomplete, openai-model, openai-version, openai-processing-ms, "
    "x-codex-turn-state, x-reasoning-included, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    "anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, "
    "anthropic-ratelimit-tokens-limit, anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset, "
    "anthropic-ratelimit-input-tokens-limit, anthropic-ratelimit-input-tokens-remaining, "
    "anthropic-ratelimit-input-tokens-reset, anthropic-ratelimit-output-tokens-limit, "
    "anthropic-ratelimit-output-tokens-remaining, anthropic-ratelimit-output-tokens-reset, *"
)
READABLE = {"access-control-allow-origin": ORIGIN, "access-control-expose-headers": EXPOSED}


@asynccontextmanager
async def allowing(
    origins: Sequence[str], fetch: FakeFetch, clock: FakeClock, script: Script | None = None
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy with these origins and one key, and its provider."""
    async with fake_provider(script or replies(completion("m"))) as provider:
        fetch.lists("a", "m")
        text = f"""
server: {{cors: [{", ".join(f"'{origin}'" for origin in origins)}]}}
providers: [{{name: a, base_url: "{provider.url}/v1", retries: 0}}]
keys: [{{name: alice, hash: "{digest("sk-fake-alice")}", models: ["*"], admin: true}}]
"""
        async with serving(config_of(text), fetch, clock) as served:
            yield served, provider


def cors_of(response: httpx.Response) -> Mapping[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def varies_by_origin_once(response: httpx.Response) -> bool:
    """Whether the response has one `Vary` header, which names `Origin` once."""
    lines = response.headers.get_list("vary")
    return len(lines) == 1 and lines[0].split(", ").count("Origin") == 1


def examples(app: Proxy) -> Sequence[tuple[str, str]]:
    """One request, as method and path, for each method of each route."""
    table = app.deployment.routes.table
    return [(method, re.sub(r"\{\w+(\.\.\.)?\}", "m", route.path)) for route in table for method in route.methods]


async def test_every_response_of_every_route_can_be_read_by_a_configured_origin(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    unreadable, statuses = [], set()
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        requests = [
            (method, path, headers)
            for allowed, path in examples(served.app)
            # A list is rendered, then sent from memory.
            for method, headers in ((allowed, KEY), (allowed, KEY), (allowed, {}), ("DELETE", KEY))
        ]
        for method, path, headers in requests:
            body = CALL if method == "POST" else None
            response = await served.client.request(method, path, headers={"origin": ORIGIN, **headers}, json=body)
            statuses.add(response.status_code)
            if cors_of(response) != READABLE or not varies_by_origin_once(response):
                unreadable.append((method, path, response.status_code, cors_of(response)))

    assert unreadable == []
    assert {200, 401, 403, 405} <= statuses


@pytest.mark.parametrize(
    ("method", "path", "headers", "script", "status"),
    [
        pytest.param("GET", "/nowhere", KEY, None, 404, id="an unknown path"),
        pytest.param("GET", "/v1/models/unknown", KEY, None, 404, id="an unknown model"),
        pytest.param("GET", "/v1/models", {**KEY, "accept-encoding": "gzip"}, None, 200, id="a compressed list"),
        pytest.param("GET", "/v1/models?key=x", KEY, None, 401, id="a key in the URL"),
        pytest.param("GET", "/v1/responses", {**KEY, "sec-websocket-key": "AAAA"}, None, 426, id="a websocket"),
        pytest.param("POST", "/v1/chat/completions", KEY, streams(chunk_event("m", "hi"), DONE), 200, id="a stream"),
        pytest.param("POST", "/v1/chat/completions", KEY, replies(completion("m", "x" * 99_999)), 200, id="long JSON"),
        pytest.param("POST", "/v1/chat/completions", {**KEY, "connection": "close"}, None, 200, id="the last response"),
        pytest.param("POST", "/v1/chat/completions", KEY, replies({"error": {"message": "?"}}, 400), 400, id="a 400"),
        pytest.param("POST", "/v1/chat/completions", KEY, replies({"error": {"message": "?"}}, 500), 502, id="a 500"),
    ],
)
async def test_each_kind_of_response_can_be_read_by_a_configured_origin(
    method: str,
    path: str,
    headers: Mapping[str, str],
    script: Script | None,
    status: int,
    fetch: FakeFetch,
    clock: FakeClock,
) -> None:
    async with allowing([ORIGIN], fetch, clock, script) as (served, _):
        body = CALL if method == "POST" else None
        response = await served.client.request(method, path, headers={"origin": ORIGIN, **headers}, json=body)

    assert (response.status_code, cors_of(response)) == (status, READABLE)
    assert varies_by_origin_once(response)


async def test_an_unchanged_list_can_be_read_by_a_configured_origin(fetch: FakeFetch, clock: FakeClock) -> None:
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        listed = await served.client.get("/v1/models", headers={**KEY, "origin": ORIGIN})
        known = {**KEY, "origin": ORIGIN, "if-none-match": listed.headers["etag"]}
        unchanged = await served.client.get("/v1/models", headers=known)

    assert (unchanged.status_code, cors_of(unchanged)) == (304, READABLE)
    assert unchanged.headers["vary"] == f"{VARY.decode()}, Origin"


@pytest.mark.usefixtures("own_protocol")
@pytest.mark.parametrize(
    "line",
    [pytest.param(b"X y\r\n", id="a header without a colon"), pytest.param(b"X: \x00\r\n", id="a control character")],
)
async def test_the_error_for_malformed_http_can_be_read_by_a_configured_origin(
    line: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        async with served.raw(start + f"Origin: {ORIGIN}\r\nAccept: */*\r\n".encode() + line) as (reader, _writer):
            known = await reader.read()
        async with served.raw(start + line) as (reader, _writer):
            unknown = await reader.read()
        async with served.raw(b"\x16\x03\x01") as (reader, _writer):
            no_http = await reader.read()

    assert known.startswith(b"HTTP/1.1 400 ")
    assert f"\r\naccess-control-allow-origin: {ORIGIN}\r\n".encode() in known
    assert [b"access-control" in response for response in (unknown, no_http)] == [False, False]
    assert [response.count(b"\r\nvary: ") for response in (known, unknown, no_http)] == [1, 1, 1]


async def test_pipelined_requests_each_get_the_headers_of_their_own_origin(fetch: FakeFetch, clock: FakeClock) -> None:
    def get(lines: str) -> bytes:
        return f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: sk-fake-alice\r\n{lines}\r\n".encode()

    origins = [ORIGIN, None, "https://evil.example", "https://b.example", ORIGIN]
    requests = [get(f"Origin: {origin}\r\n" if origin else "") for origin in origins]
    data = b"".join(requests) + get("Connection: close\r\n")
    async with (
        allowing([ORIGIN, "https://b.example"], fetch, clock) as (served, _),
        served.raw(data) as (reader, _writer),
    ):
        received = await reader.read()

    responses = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    found = [re.findall(rb"access-control-allow-origin: ([^\r]*)", response) for response in responses]
    assert found == [[ORIGIN.encode()], [], [], [b"https://b.example"], [ORIGIN.encode()], []]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="no origin"),
        pytest.param([("origin", "https://evil.example")], id="another origin"),
        pytest.param([("origin", f"{ORIGIN}.evil")], id="a longer origin"),
        pytest.param([("origin", ORIGIN.upper())], id="another case"),
        pytest.param([("origin", "null")], id="an opaque origin"),
        pytest.param([("origin", f"{ORIGIN}, https://evil.example")], id="two origins"),
        pytest.param([("origin", ORIGIN), ("origin", "https://evil.example")], id="two headers"),
    ],
)
async def test_responses_to_other_origins_cannot_be_read(
    headers: Sequence[tuple[str, str]], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        listed = await served.client.get("/v1/models", headers=[*KEY.items(), *headers])
        called = await served.client.post("/v1/chat/completions", headers=[*KEY.items(), *headers], json=CALL)

    assert [(response.status_code, cors_of(response)) for response in (listed, called)] == [(200, {}), (200, {})]
    assert [varies_by_origin_once(response) for response in (listed, called)] == [True, True]


@pytest.mark.parametrize(
    "origin",
    [
        "app://notes.example",
        "tauri://localhost",
        "capacitor://localhost",
        "vscode-webview://0abc",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "http://localhost:3000",
        "http://[::1]:8080",
    ],
)
async def test_origins_of_applications_and_extensions_can_call(origin: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with allowing([origin], fetch, clock) as (served, _):
        preflight = await served.client.options("/v1/chat/completions", headers={"origin": origin, **PREFLIGHT})
        called = await served.client.post("/v1/chat/completions", headers={**KEY, "origin": origin}, json=CALL)

    for response in (preflight, called):
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)


# -- preflights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m", "/v1/chat/completions", "/health", "/nowhere"])
@pytest.mark.parametrize("asked", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("headers", [{}, KEY, holding("x-api-key", "sk-fake-wrong")], ids=["no key", "a key", "wrong"])
async def test_a_preflight_gets_the_same_response_on_every_path_with_or_without_a_key(
    path: str, asked: str, headers: Mapping[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    preflight = {**PREFLIGHT, "access-control-request-method": asked, "origin": ORIGIN, "x-request-id": "mine"}
    async with allowing([ORIGIN], fetch, clock) as (served, provider):
        response = await served.client.options(path, headers={**preflight, **headers})

    assert (response.status_code, response.content) == (200, b"")
    assert {name: value for name, value in response.headers.items() if name not in ("date", "server")} == {
        **READABLE,
        "access-control-allow-methods": "GET, HEAD, POST, DELETE",
        "access-control-allow-headers": "authorization,content-type,x-stainless-lang",
        "access-control-max-age": "600",
        "content-length": "0",
        "vary": "Access-Control-Request-Method, Access-Control-Request-Headers, "
        "Access-Control-Request-Private-Network, Origin",
        "x-request-id": "mine",
    }
    assert provider.requests == []


@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_a_preflight_allows_every_header_with_a_key(header: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    asked = {**PREFLIGHT, "origin": ORIGIN, "access-control-request-headers": header.decode()}
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        response = await served.client.options("/v1/models", headers=asked)

    assert response.headers["access-control-allow-headers"] == header.decode()


@pytest.mark.parametrize(
    ("origin", "asked", "granted"),
    [
        pytest.param(ORIGIN, "true", "true", id="a configured origin that requests it"),
        pytest.param(ORIGIN, None, None, id="a configured origin that does not request it"),
        pytest.param(ORIGIN, "false", None, id="another value"),
        pytest.param("https://evil.example", "true", None, id="another origin"),
    ],
)
async def test_preflights_of_configured_origins_can_request_access_to_private_networks(
    origin: str, asked: str | None, granted: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    headers = {"origin": origin, **({"access-control-request-private-network": asked} if asked else {})}
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        preflight = await served.client.options("/v1/models", headers={**headers, **PREFLIGHT})
        listed = await served.client.get("/v1/models", headers={**headers, **KEY})

    responses = [response.headers.get("access-control-allow-private-network") for response in (preflight, listed)]
    assert responses == [granted, None]


async def test_a_request_with_options_that_is_no_preflight_needs_a_key(fetch: FakeFetch, clock: FakeClock) -> None:
    async with allowing([ORIGIN], fetch, clock) as (served, _):
        without_method = await served.client.options("/v1/models", headers={"origin": ORIGIN})
        without_origin = await served.client.options("/v1/models", headers=PREFLIGHT)

    assert [without_method.status_code, without_origin.status_code] == [401, 401]


def test_several_vary_headers_become_one() -> None:
    cors = Cors([ORIGIN])

    assert cors.add([], [(b"vary", b"Accept"), (b"x", b"1"), (b"vary", b"Cookie")]) == [
        (b"x", b"1"),
        (b"vary", b"Accept, Cookie, Origin"),
    ]

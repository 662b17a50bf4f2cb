"""`decide` returns the response that the application would send, or a handler if I/O is needed."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.api.request import RequestHead
from proxy.asgi import RawResponse
from proxy.config import Config
from proxy.server.app import Proxy
from proxy.server.gate import decide
from tests.fakes import KEY_HEADERS, FailingClock, FakeClock, FakeFetch, config_of, digest, holding, reply_to, started
from tests.processes import serving

KEY = "sk-canary-ready"
BEARER = {"authorization": f"Bearer {KEY}"}
ONE = "providers: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]\n"
KEYED = ONE + f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*']}}]\n"
LAB = "providers: [{name: lab, kind: static, models: [{id: m}]}]"
ID = {"x-request-id": "mine"}


def scope(
    headers: Mapping[str, str], path: str = "/v1/models", method: str = "GET", query: str = ""
) -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


def decided(app: Proxy, request: dict[str, object]) -> RawResponse | None:
    """The response of `decide`, None for a handler."""
    outcome = decide(app.deployment, RequestHead(request))
    return outcome if isinstance(outcome, RawResponse) else None


async def warmed(app: Proxy, headers: Mapping[str, str]) -> str:
    """The ETag of the list for these headers. The list is cached from now on."""
    return (await reply_to(app, "/v1/models", headers)).header("etag") or ""


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/models", "/models"])
@pytest.mark.parametrize("encoding", [{}, {"accept-encoding": "gzip, deflate"}], ids=["plain", "gzip"])
@pytest.mark.parametrize("known", [False, True], ids=["200", "304"])
async def test_a_cached_response_equals_the_response_through_asgi(
    path: str, encoding: Mapping[str, str], known: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m", "n")
    async with started(config_of(KEYED), fetch, clock) as app:
        etag = await warmed(app, {**BEARER, **encoding})
        headers = {**BEARER, **encoding, **ID, **({"if-none-match": etag} if known else {})}
        await clock.advance(7)
        ready = decided(app, scope(headers, path))
        called = await reply_to(app, path, headers)

    assert ready is not None
    assert called.status == (304 if known else 200)
    assert (ready.status, tuple(ready.headers), ready.body) == (called.status, called.headers, called.body)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "headers", "method"),
    [
        pytest.param("/v1/models/m", BEARER, "GET", id="one model"),
        pytest.param("/v1/models/x", BEARER, "GET", id="an unknown model"),
        pytest.param("/v1/models/models", BEARER, "GET", id="the list by its alias"),
        pytest.param("/livez", {}, "GET", id="a probe"),
        pytest.param("/health", BEARER, "GET", id="health"),
        pytest.param("/nothing", BEARER, "GET", id="an unknown path"),
        pytest.param("/v1/models", BEARER, "HEAD", id="HEAD"),
        pytest.param("/v1/models/m", BEARER, "HEAD", id="HEAD of one model"),
        pytest.param("/v1/models", BEARER, "DELETE", id="another method"),
        pytest.param("/v1/chat/completions", BEARER, "GET", id="another method of a call"),
        pytest.param("/v1/models", {**BEARER, "content-length": "2"}, "GET", id="a body"),
        pytest.param("/v1/models", {}, "GET", id="no key"),
        pytest.param("/v1/messages", {}, "POST", id="no key, in the format of Anthropic"),
        pytest.param("/v1/models", {"authorization": "Bearer sk-canary-wrong"}, "GET", id="a wrong key"),
        pytest.param("/v1/models?api_key=x", BEARER, "GET", id="a key in the query"),
    ],
)
async def test_a_synchronous_decision_equals_the_response_of_the_application(
    path: str, headers: Mapping[str, str], method: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(KEYED), fetch, clock) as app:
        await warmed(app, BEARER)
        path_only, _, query = path.partition("?")
        ready = decided(app, scope({**headers, **ID}, path_only, method, query))
        called = await reply_to(app, path, {**headers, **ID}, method=method)

    assert ready is not None
    assert (ready.status, tuple(ready.headers), ready.body) == (called.status, called.headers, called.body)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(scope({**BEARER, "accept-encoding": "gzip"}), id="a list not yet compressed"),
        pytest.param(scope(BEARER, "/v1/chat/completions", "POST"), id="a call"),
    ],
)
async def test_responses_that_need_io_return_a_handler(
    request_: dict[str, object], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(KEYED), fetch, clock) as app:
        await warmed(app, BEARER)
        assert decided(app, request_) is None


@pytest.mark.anyio
@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_cached_responses_check_the_same_key_headers(header: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    default = "groups: {default: {models: [m]}}\n"
    async with started(config_of(KEYED + default), fetch, clock) as app:
        await warmed(app, BEARER)
        await warmed(app, {})
        known, wrong = holding(header, KEY), holding(header, "sk-canary-wrong")
        await warmed(app, known)  # one of the headers selects another format
        ready = decided(app, scope({**known, **ID}))
        called = await reply_to(app, "/v1/models", {**known, **ID})

        assert ready is not None
        assert (ready.status, tuple(ready.headers), ready.body) == (200, called.headers, called.body)
        response = decided(app, scope(wrong))
        assert response is not None
        assert response.status == 401
        assert (await reply_to(app, "/v1/models", wrong)).status == 401
        other = "x-api-key" if header != "x-api-key" else "api-key"
        for beside in (BEARER, {other: "sk-canary-wrong"}):
            assert decided(app, scope({**beside, **known, **ID})) == ready


OPEN = ONE + "groups: {default: {models: ['*']}}\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("config", "models"),
    [
        pytest.param(config_of(OPEN), (), id="an empty list"),
    ],
)
async def test_no_cached_response_for(
    config: Config, models: tuple[str, ...], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *models)
    async with started(config, fetch, clock) as app:
        await warmed(app, {})
        assert decided(app, scope({})) is None


@pytest.mark.anyio
async def test_no_response_is_cached_before_the_first_request_and_after_a_change(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(OPEN), fetch, clock) as app:
        before = decided(app, scope({}))
        await warmed(app, {})
        warm = decided(app, scope({}))
        fetch.lists("a", "n")
        await clock.advance(3600)  # it was refreshed
        assert (before, warm is None, decided(app, scope({}))) == (None, False, None)


@pytest.mark.anyio
async def test_a_list_stays_cached_if_a_refresh_changes_nothing(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(OPEN), fetch, clock) as app:
        etag = await warmed(app, {})
        requests_before = fetch.requests["a"]
        await clock.advance(3600)
        ready = decided(app, scope({}))

        assert fetch.requests["a"] > requests_before
        assert ready is not None
        assert dict(ready.headers)[b"etag"].decode() == etag


@pytest.mark.anyio
async def test_a_bug_is_an_internal_error_in_decide_and_in_the_application(fetch: FakeFetch) -> None:
    fetch.lists("a", "m")
    clock = FailingClock()
    async with started(config_of(OPEN), fetch, clock) as app:
        await warmed(app, {})
        clock.error = RuntimeError("sk-canary-in-a-bug")
        ready = decided(app, scope(ID))
        called = await reply_to(app, "/v1/models", ID)
        clock.error = None

    assert ready is not None
    assert (ready.status, tuple(ready.headers), ready.body) == (500, called.headers, called.body)
    assert b"canary" not in ready.body


@pytest.mark.anyio
async def test_lists_are_decided_without_a_handler_with_cors_too(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of("server: {cors: ['https://app.example']}\n" + OPEN), fetch, clock) as app:
        await warmed(app, {})
        ready = decided(app, scope({"origin": "https://app.example"}))

    assert ready is not None
    assert ready.status == 200


# -- over a socket -------------------------------------------------------------------------------------------------


def read_response(connection: socket.socket) -> bytes:
    data = b""
    while (length := re.search(rb"content-length: (\d+)", data)) is None or len(data.partition(b"\r\n\r\n")[2]) < int(
        length[1]
    ):
        data += connection.recv(65536)
    return data


def conversation(tmp_path: Path, *pieces: bytes) -> list[bytes]:
    """The data sent after each segment, without headers that differ per response; after the last one up to the end."""
    with serving(tmp_path / "config.yaml", LAB) as process:
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            received = []
            for piece in pieces[:-1]:
                connection.sendall(piece)
                received.append(read_response(connection))
            connection.sendall(pieces[-1])
            received.append(b"".join(iter(lambda: connection.recv(65536), b"")))
    steady = [re.sub(rb"(x-request-id|date): [^\r]*", rb"\1", data) for data in received]
    # h11 writes this name in its own case; names of fields are case-insensitive.
    return [data.replace(b"Connection: close", b"connection: close") for data in steady]


GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_responses_on_a_keep_alive_connection_are_equal_with_and_without_a_task(tmp_path: Path) -> None:
    called, at_once, again, last = conversation(tmp_path, GET, GET, GET, LAST)

    assert called.startswith(b"HTTP/1.1 200 OK\r\ndate\r\nx-content-type-options: nosniff\r\n")
    assert b"\r\ncontent-type: application/json\r\ncontent-length: " in called
    assert b'"id":"m"' in called
    assert called == at_once == again
    assert last.replace(b"connection: close\r\n", b"") == called


def test_pipelined_requests_get_responses_in_order(tmp_path: Path) -> None:
    alive = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    first, rest = conversation(tmp_path, GET, GET + alive + GET * 2000 + alive + LAST)

    answers = rest.split(b"HTTP/1.1 ")[1:]
    lists = first.removeprefix(b"HTTP/1.1 ")
    assert [answer == lists for answer in answers[:-1]] == [True, False, *[True] * 2000, False]
    assert [b"alive" in answer for answer in answers] == [False, True, *[False] * 2000, True, False]
    assert answers[-1].replace(b"connection: close\r\n", b"") == lists


def test_an_http_1_0_connection_is_closed_after_the_response(tmp_path: Path) -> None:
    called, old = conversation(tmp_path, GET, b"GET /v1/models HTTP/1.0\r\n\r\n")

    assert b"connection: close\r\n" in old
    assert old.replace(b"connection: close\r\n", b"") == called

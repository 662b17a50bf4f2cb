"""Permissions: every route of a deployment with every kind of caller.

A new route needs a row here; otherwise the first test fails.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import msgspec
import pytest

from proxy.api.paths import STORED_RESPONSES, native_paths, request_paths
from proxy.api.routes import Route
from proxy.api.status.endpoints import ASSETS
from proxy.catalog import FetchResult
from proxy.server.app import Proxy
from tests.fakes import FakeClock, FakeFetch, config_of, digest, entry, started
from tests.providers.oidc import NOW, OidcProvider, oidc_provider

pytestmark = pytest.mark.anyio

PLAIN, ADMIN, EXPIRED = "sk-canary-plain-key", "sk-canary-admin-key", "sk-canary-expired-key"
EXTRA_PATHS = ("/v1/translate", "/v3/parse")
CONFIG = f"""
server: {{extra_paths: [{", ".join(EXTRA_PATHS)}], public_url: 'https://llm.example.com'}}
providers:
  - {{name: a, base_url: 'http://127.0.0.1:9/v1', speaks: [openai, anthropic, gemini, ollama]}}
  - {{name: p, kind: pangu, base_url: 'http://127.0.0.1:9', api_key: sk-canary-pangu, workspace_id: w, model_ids: [v]}}
models: [{{id: virtual-1, targets: [secret-model]}}, {{id: virtual-m, targets: [secret-model, m]}}]
groups:
  default: {{models: [open-*]}}
  users: {{models: [m, 'virtual-*', '!secret-*']}}
  admins: {{models: ['*']}}
auth:
  jwt:
    - {{issuer: ISSUER, audience: models-proxy, groups: {{llm-admins: admins, llm-users: users}}, admin: [llm-admins],
       client_id: status, client_secret: sk-canary-client}}
  header:
    {{name: x-groups, user: x-user, from: [192.0.2.1], groups: {{admins: admins, users: users}}, admin: [admins]}}
keys:
  - {{name: plain, hash: '{digest(PLAIN)}', models: [m, 'virtual-*', '!secret-*']}}
  - {{name: admin, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}
  - {{name: expired, hash: '{digest(EXPIRED)}', models: ['*'], expires: 2020-01-01}}
"""
CALLERS: Mapping[str, Mapping[str, str]] = {
    "no key": {},
    "a wrong key": {"authorization": "Bearer sk-canary-wrong-key"},
    "an expired key": {"authorization": f"Bearer {EXPIRED}"},
    "a plain key": {"authorization": f"Bearer {PLAIN}"},
    "an admin key": {"authorization": f"Bearer {ADMIN}"},
}
LOGIN_PROXY, ELSEWHERE = "192.0.2.1", "192.0.2.2"


class User(NamedTuple):
    """A kind of caller who logs in elsewhere."""

    like: str
    """The kind of caller that may do the same; "" for none: every request gets 403."""
    headers: Mapping[str, str]
    peer: str = ELSEWHERE


def users_of(issuer: OidcProvider) -> Mapping[str, User]:
    def bearer(**claims: Any) -> Mapping[str, str]:
        return {"authorization": f"Bearer {issuer.token(**claims)}"}

    users, admins = {"x-user": "u", "x-groups": "users"}, {"x-user": "u", "x-groups": "admins"}
    return {
        "a user with a token": User("a plain key", bearer()),
        "an admin with a token": User("an admin key", bearer(groups=["llm-admins"])),
        "a user without a group": User("", bearer(groups=["others"])),
        "an expired token": User("a wrong key", bearer(exp=NOW - 3600)),
        "a token for others": User("a wrong key", bearer(aud="others")),
        "a user of the login proxy": User("a plain key", users, LOGIN_PROXY),
        "an admin of the login proxy": User("an admin key", admins, LOGIN_PROXY),
        "headers of the login proxy from elsewhere": User("no key", admins),
        "headers of the login proxy, with a wrong key": User(
            "a wrong key", {**admins, "x-api-key": "sk-canary-wrong-key"}, LOGIN_PROXY
        ),
        "headers of the login proxy, with a plain key": User(
            "a plain key", {**admins, "x-api-key": PLAIN}, LOGIN_PROXY
        ),
    }


class Row(NamedTuple):
    """The expected statuses of one route, and what its body shows, by kind of caller."""

    method: str
    path: str
    no_key: int
    plain: int
    admin: int
    shows: Mapping[str, tuple[str, ...]] = {}
    """Caller -> model ids, or names of providers, that the body contains; other callers' bodies contain none."""
    query: str = ""


UNKNOWN = msgspec.json.encode({"model": "unknown", "messages": []})
"""The body of every call: 404 for callers with the permission to call, 401 for others."""
SHOWN = ("open-1", "m", "secret-model")
MATRIX = (
    Row("GET", "/livez", 200, 200, 200),
    Row("GET", "/readyz", 200, 200, 200),
    Row("GET", "/health", 200, 200, 200, {"an admin key": ('"name":"a"', '"name":"p"')}),
    Row("GET", "/status.json", 401, 403, 200, {"an admin key": ('"name":"a"', '"name":"p"')}),
    Row("GET", "/status", 401, 403, 200, {"an admin key": ("<bdi>p</bdi>",)}),
    Row("GET", "/status/models", 401, 403, 200, {"an admin key": ("<bdi>secret-model</bdi>",)}),
    Row("GET", "/status/models/secret-model", 401, 403, 200, {"an admin key": ("<bdi>secret-model</bdi>",)}),
    Row("GET", "/status/changes", 401, 403, 200),
    Row("POST", "/status/refresh", 401, 403, 403),  # the form of no page
    Row("POST", "/status/reload", 401, 403, 403),
    *(Row("GET", f"/status/{name}", 200, 200, 200) for name in ASSETS),
    Row("GET", "/admin/explain", 401, 403, 200, {"an admin key": ('"secret-model"',)}, query="model=secret-model"),
    Row("GET", "/admin/catalog", 401, 403, 200, {"an admin key": ('"secret-model"', '"name":"plain"')}),
    Row("GET", "/admin/catalog", 401, 403, 200, {"an admin key": ('"virtual-m"',)}, query="key_name=plain"),
    Row("GET", "/status/login", 200, 200, 200),
    Row("POST", "/status/login", 403, 403, 403),  # the form of no page
    Row("POST", "/status/logout", 401, 403, 403),
    Row("GET", "/status/oidc", 400, 400, 400),  # without an issuer
    Row("GET", "/status/oidc/callback", 400, 400, 400),  # of no login
    Row("GET", "/v1/usage", 200, 200, 200),
    Row("GET", "/admin/usage", 401, 403, 200),
    Row("GET", "/admin/changes", 401, 403, 200),
    Row("GET", "/admin/changes.atom", 401, 403, 200),
    Row("GET", "/metrics", 401, 403, 200, {"an admin key": ('provider="a"', 'provider="p"')}),
    *(
        Row(
            "GET",
            path,
            200,
            200,
            200,
            {
                "no key": ('"open-1"',),
                "a plain key": ('"m"', '"virtual-m"'),
                "an admin key": ('"m"', '"open-1"', '"secret-model"', '"virtual-1"', '"virtual-m"'),
            },
        )
        for path in ("/v1/models", "/models", "/api/tags", "/api/v0/models", "/model/info", "/v1/model/info")
    ),
    Row(
        "GET",
        "/v1beta/models",
        200,
        200,
        200,
        {
            "no key": ('"models/open-1"',),
            "a plain key": ('"models/m"', '"models/virtual-m"'),
            "an admin key": ('"models/m"', '"models/open-1"', '"models/secret-model"', '"models/virtual-m"'),
        },
    ),
    Row("GET", "/v1beta/models/secret-model", 404, 404, 200, {"an admin key": ('"models/secret-model"',)}),
    *(Row("GET", path, 200, 200, 200) for path in ("/api/version", "/api/ps")),
    Row("POST", "/api/show", 404, 404, 404),
    *(
        Row("GET", f"{base}/{model}", 404, 404, 200, {"an admin key": (f'"{model}"',)})
        for base in ("/v1/models", "/models", "/api/v0/models")
        for model in ("secret-model", "virtual-1")  # the target of the second is the first
    ),
    *(
        Row("GET", f"{base}/workspaces/w/models/v/versions", 403, 403, 200, {"an admin key": ('"version-1"',)})
        for base in ("/v1", "")
    ),
    Row("POST", "/admin/refresh", 401, 403, 200, {"an admin key": ('"name":"a"', '"name":"p"')}),
    Row("POST", "/admin/reload", 401, 403, 409),  # the configuration of these tests is in no file
    *(Row("POST", path, 401, 404, 404) for path in request_paths(EXTRA_PATHS)),
    *(Row("POST", path.replace("{id}", "unknown"), 401, 404, 404) for path in native_paths()),
    *(
        Row(method, path.replace("{id}", "resp_1"), 401, 404, 404)
        for path, methods in STORED_RESPONSES.items()
        for method in methods
    ),
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
async def app(fetch: FakeFetch, clock: FakeClock, issuer: OidcProvider) -> AsyncIterator[Proxy]:
    fetch.lists("a", *SHOWN)
    version = {"id": "version-1", "name": "one", "create_time": "2026-01-01T00:00:00Z"}
    fetch.answers("p", FetchResult((entry(version, "pangu", {"model_id": "v"}),)))
    async with started(config_of(CONFIG.replace("ISSUER", issuer.issuer)), fetch, clock) as app:
        for headers in CALLERS.values():  # lists are rendered from now on
            await respond(app, "GET", "/v1/models", headers)
        await respond(app, "GET", "/v1/models", users_of(issuer)["a user with a token"].headers)  # waits for the keys
        yield app


async def respond(
    app: Proxy, method: str, path: str, headers: Mapping[str, str], query: str = "", peer: str = ELSEWHERE
) -> tuple[int, str]:
    """Status and body, as the application sends them."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": UNKNOWN}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": (peer, 50000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    start, body = sent
    return start["status"], body["body"].decode()


def serves(route: Route, row: Row) -> bool:
    return (
        row.method in route.methods
        and re.fullmatch(re.sub(r"\{\w+(\.\.\.)?\}", ".+", route.path), row.path) is not None
    )


async def test_every_route_has_a_row(app: Proxy) -> None:
    missing = [
        (route.path, method)
        for route in app.deployment.routes.table
        for method in set(route.methods) - {"HEAD"}
        if not any(serves(route, row) and row.method == method for row in MATRIX)
    ]

    assert missing == []


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.method} {row.path}")
async def test_each_kind_of_caller_gets_what_its_key_allows_and_nothing_else(row: Row, app: Proxy) -> None:
    answers = {
        caller: await respond(app, row.method, row.path, headers, row.query) for caller, headers in CALLERS.items()
    }

    assert {caller: status for caller, (status, _) in answers.items()} == {
        "no key": row.no_key,
        "a wrong key": 401,
        "an expired key": 401,
        "a plain key": row.plain,
        "an admin key": row.admin,
    }
    everything = {text for texts in row.shows.values() for text in texts}
    for caller, (_, body) in answers.items():
        assert {text for text in everything if text in body} == set(row.shows.get(caller, ()))
        assert "canary" not in body


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.method} {row.path}")
async def test_each_kind_of_user_gets_what_a_key_with_the_same_rules_gets(
    row: Row, app: Proxy, issuer: OidcProvider
) -> None:
    statuses = {"": 403, "no key": row.no_key, "a wrong key": 401, "a plain key": row.plain, "an admin key": row.admin}
    everything = {text for texts in row.shows.values() for text in texts}
    for kind, user in users_of(issuer).items():
        status, body = await respond(app, row.method, row.path, user.headers, row.query, user.peer)
        assert (kind, status) == (kind, statuses[user.like])
        assert {text for text in everything if text in body} == set(row.shows.get(user.like, ()))
        assert "canary" not in body


SPELLINGS = ("/{path}", "{path}/", "/v1{path}", "/openai{path}", "//openai//v1{path}/")


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.method} {row.path}")
async def test_another_spelling_of_a_path_gives_no_caller_more(row: Row, app: Proxy) -> None:
    for headers in CALLERS.values():
        status, body = await respond(app, row.method, row.path, headers, row.query)
        for spelling in SPELLINGS:
            other = spelling.format(path=row.path)
            other_status, other_body = await respond(app, row.method, other, headers, row.query)
            if row.path in app.deployment.routes.probes:
                assert other_status in (401, 404)
            else:
                assert (other_status, other_body) == (status, body) or other_status in (401, 404)

"""Users with tokens of an OIDC provider, over real sockets: from the provider's keys to lists and calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy.access.jwt import SIGNATURE_COST
from proxy.server.key_sets import REFRESH_SECONDS, UNKNOWN_KEY_SECONDS
from proxy.server.shares import BUDGET, REQUEST
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.line_fields import EndedCall, EndedRequest
from tests.fakes import FakeClock, FakeFetch, config_of, digest, ids, reply_to
from tests.listening import Served, serving, until
from tests.providers.calls import completion
from tests.providers.oidc import METADATA, NOW, OidcProvider, key_of, oidc_provider, signed
from tests.providers.scripted import FakeProvider, fake_provider, replies

pytestmark = pytest.mark.anyio

KEY = "sk-canary-of-alice"
CONFIG = f"""
server: {{SERVER}}
providers:
  - {{name: a, base_url: 'URL/v1', api_key: sk-canary-provider, forward_headers: [x-*, remote-*]}}
groups: {{staff: {{models: [m, n]}}, guests: {{models: [n], call: false}}, default: {{models: [free]}}}}
keys: [{{name: alice, hash: '{digest(KEY)}', models: [m]}}]
auth:
  jwt:
    - issuer: ISSUER
      audience: models-proxy
      groups: {{llm-users: staff, llm-guests: guests}}
      admin: [llm-admins]
  header: {{name: Remote-Groups, user: Remote-User, from: [127.0.0.1], groups: {{users: staff}}}}
"""
USERS = {"remote-user": "u-canary", "remote-groups": "users"}


@pytest.fixture
def issuer() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


def text_of(issuer: OidcProvider, url: str = "http://127.0.0.1:9", server: str = "") -> str:
    return CONFIG.replace("ISSUER", issuer.issuer).replace("URL", url).replace("SERVER", server)


@asynccontextmanager
async def serving_users(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock, url: str = "http://127.0.0.1:9", *, more: str = ""
) -> AsyncIterator[Served]:
    fetch.lists("a", "m", "n", "free")
    async with serving(config_of(text_of(issuer, url, more)), fetch, clock) as server:
        yield server


@pytest.fixture
async def server(issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[Served]:
    """After the first keys were fetched."""
    async with serving_users(issuer, fetch, clock) as server:
        await until(lambda: has_keys(server, issuer))
        yield server


def has_keys(server: Served, issuer: OidcProvider) -> bool:
    return server.app.shared.key_sets.of(issuer.issuer) is not None


def bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"}


async def listed(server: Served, headers: Mapping[str, str]) -> object:
    """The ids in the list, or the status and the code of the error."""
    response = await server.client.get("/v1/models", headers=headers)
    return ids(response.content) if response.status_code == 200 else outcome(response)


def outcome(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


REJECTED = (401, "invalid_api_key")


# -- lists -------------------------------------------------------------------------------------------------------------


async def test_users_see_the_list_of_their_group(server: Served, issuer: OidcProvider) -> None:
    staff, guest = issuer.token(), issuer.token(groups=["other", "llm-guests"])

    assert await listed(server, bearer(staff)) == ["m", "n"]
    assert await listed(server, bearer(guest)) == ["n"]
    assert await listed(server, USERS) == ["m", "n"]
    assert await listed(server, bearer(KEY)) == ["m"]
    assert await listed(server, {}) == ["free"]
    assert await listed(server, bearer(issuer.token(groups=["other"]))) == (403, "no_group")
    assert await listed(server, {**USERS, "remote-groups": "other"}) == (403, "no_group")
    assert await listed(server, bearer(issuer.token(aud="another"))) == REJECTED


async def test_the_usage_of_a_user_has_another_name_than_that_of_a_key(server: Served, issuer: OidcProvider) -> None:
    user = await server.client.get("/v1/usage", headers=bearer(issuer.token(sub="alice")))
    key = await server.client.get("/v1/usage", headers=bearer(KEY))

    assert (user.json()["key"], key.json()["key"]) == (f"jwt:{issuer.issuer}|alice", "alice")


async def test_a_user_with_a_credential_is_identified_by_that_alone(server: Served, issuer: OidcProvider) -> None:
    assert await listed(server, {**USERS, **bearer(KEY)}) == ["m"]
    assert await listed(server, {**USERS, **bearer(issuer.token(groups=["llm-guests"]))}) == ["n"]
    assert await listed(server, {**USERS, **bearer("sk-canary-unknown")}) == REJECTED


async def test_the_views_of_groups_of_users_are_kept_warm(server: Served) -> None:
    policies = {policy.rules for policy in server.app.deployment.access.policies}

    assert policies == {("m", "n"), ("n",), ("m",), ("free",)}


async def test_administrators_see_the_details_of_health_and_others_do_not(server: Served, issuer: OidcProvider) -> None:
    admin = await server.client.get("/health", headers=bearer(issuer.token(groups=["llm-users", "llm-admins"])))
    user = await server.client.get("/health", headers=bearer(issuer.token()))
    of_proxy = await server.client.get("/health", headers=USERS)

    assert ["providers" in response.json() for response in (admin, user, of_proxy)] == [True, False, False]
    assert "x-config-generation" in admin.headers
    admin_only = await server.client.get("/admin/explain?model=m", headers=bearer(issuer.token()))
    assert outcome(admin_only) == (403, "insufficient_permissions")


async def test_the_headers_of_logins_are_named_by_vary(server: Served) -> None:
    response = await server.client.get("/v1/models")
    error = await server.client.get("/v1/models", headers=bearer("sk-canary-unknown"))

    for vary in (response.headers["vary"], error.headers["vary"]):
        assert vary.endswith("Accept-Encoding, Remote-Groups, Remote-User")


async def test_pages_of_configured_origins_can_send_tokens(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving_users(issuer, fetch, clock, more="cors: ['https://app.example']") as server:
        origin = {"origin": "https://app.example"}
        asks = {"access-control-request-method": "GET", "access-control-request-headers": "cf-access-jwt-assertion"}
        preflight = await server.client.options("/v1/models", headers={**origin, **asks})
        response = await server.client.get("/v1/models", headers={**origin, **bearer(issuer.token())})

    assert preflight.headers["access-control-allow-headers"] == "cf-access-jwt-assertion"
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers["vary"].endswith("Accept-Encoding, Remote-Groups, Remote-User, Origin")


# -- signing keys ------------------------------------------------------------------------------------------------------


async def test_the_first_request_waits_for_the_keys(issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock) -> None:
    async with serving_users(issuer, fetch, clock) as server:
        assert not has_keys(server, issuer)
        responses = await asyncio.gather(*(listed(server, bearer(issuer.token())) for _ in range(5)))

    assert responses == [["m", "n"]] * 5
    assert issuer.requests == {METADATA: 1, "/keys": 1}


async def test_without_any_keys_tokens_get_503_and_keys_are_served(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    issuer.failing = True
    async with serving_users(issuer, fetch, clock) as server:
        response = await server.client.get("/v1/models", headers=bearer(issuer.token()))
        again = await server.client.get("/v1/models", headers=bearer(issuer.token()))
        assert [outcome(response), outcome(again)] == [(503, "login_unavailable")] * 2
        assert again.headers["retry-after"] == "5"
        assert await listed(server, bearer(KEY)) == ["m"]
        assert await listed(server, {**USERS, "authorization": f"Bearer {KEY}"}) == ["m"]
        issuer.failing = False
        await clock.advance(5)
        assert await listed(server, bearer(issuer.token())) == ["m", "n"]


async def test_a_new_key_is_fetched_when_a_token_names_it(
    server: Served, issuer: OidcProvider, clock: FakeClock
) -> None:
    issuer.keys["second"] = (key_of("Ed25519"), "EdDSA")
    assert await listed(server, bearer(issuer.token("second"))) == REJECTED  # fetched less than 30 s ago
    await clock.advance(UNKNOWN_KEY_SECONDS)

    assert await listed(server, bearer(issuer.token("second"))) == ["m", "n"]
    assert await listed(server, bearer(issuer.token())) == ["m", "n"]
    assert issuer.requests["/keys"] == 2


async def test_the_last_keys_are_used_while_the_issuer_is_away(
    server: Served, issuer: OidcProvider, clock: FakeClock
) -> None:
    issuer.failing = True
    requests = issuer.requests[METADATA]
    await clock.advance(REFRESH_SECONDS)
    await until(lambda: issuer.requests[METADATA] > requests)

    assert await listed(server, bearer(issuer.token(sub="new"))) == ["m", "n"]


async def test_tokens_of_a_removed_key_are_invalid_within_five_minutes(
    server: Served, issuer: OidcProvider, clock: FakeClock
) -> None:
    token = issuer.token()
    assert await listed(server, bearer(token)) == ["m", "n"]
    issuer.keys = {"second": (key_of("P-256", 2), "ES256")}
    await clock.advance(REFRESH_SECONDS)
    await until(lambda: server.app.shared.key_sets.removals == 1)

    assert await listed(server, bearer(token)) == REJECTED
    assert await listed(server, bearer(issuer.token("second"))) == ["m", "n"]


async def test_a_flood_of_unknown_keys_causes_one_fetch_in_thirty_seconds(
    server: Served, issuer: OidcProvider, clock: FakeClock
) -> None:
    tokens = [signed(issuer.claims(), key_of("P-256", 3), "ES256", kid=f"k-{number}") for number in range(30)]
    for _ in range(2):
        await clock.advance(UNKNOWN_KEY_SECONDS)
        before = issuer.requests["/keys"]
        responses = [await listed(server, bearer(token)) for token in tokens]
        assert responses == [REJECTED] * 30
        assert issuer.requests["/keys"] == before + 1


async def test_addresses_in_tokens_are_never_requested(server: Served, issuer: OidcProvider, clock: FakeClock) -> None:
    await clock.advance(UNKNOWN_KEY_SECONDS)
    evil = f"{issuer.issuer}/evil"
    token = signed(issuer.claims(), key_of("P-256", 3), "ES256", kid=evil, jku=evil, x5u=evil)

    assert await listed(server, bearer(token)) == REJECTED
    assert not any("evil" in path for path in issuer.requests)


# -- reloads -----------------------------------------------------------------------------------------------------------


async def test_a_reload_voids_tokens_of_removed_groups_and_issuers(server: Served, issuer: OidcProvider) -> None:
    token, text = issuer.token(), text_of(issuer)
    assert await listed(server, bearer(token)) == ["m", "n"]

    await server.app.replace(config_of(text.replace("llm-users: staff, ", "")))
    assert await listed(server, bearer(token)) == (403, "no_group")
    await server.app.replace(config_of(text.replace("models: [m, n]", "models: [n]")))
    assert await listed(server, bearer(token)) == ["n"]
    await server.app.replace(config_of(text.replace("audience: models-proxy", "audience: other")))
    assert await listed(server, bearer(token)) == REJECTED
    await server.app.replace(config_of(text.replace(issuer.issuer, "http://127.0.0.1:1")))
    assert await listed(server, bearer(token)) == REJECTED
    await server.app.replace(config_of(text))
    assert await listed(server, bearer(token)) == ["m", "n"]


# -- calls -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def calling(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    async with (
        fake_provider(replies(completion("m"))) as up,
        serving_users(issuer, fetch, clock, up.url) as server,
    ):
        await until(lambda: has_keys(server, issuer))
        yield server, up


async def call(
    server: Served, headers: Mapping[str, str], path: str = "/v1/chat/completions", **body: object
) -> object:
    response = await server.client.post(path, json={"model": "m", **body}, headers=headers)
    return 200 if response.status_code == 200 else outcome(response)


async def test_users_call_what_their_group_allows(issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(issuer, fetch, clock) as (server, _):
        guest = bearer(issuer.token(groups=["llm-guests"]))
        assert await call(server, bearer(issuer.token())) == 200
        assert await call(server, USERS) == 200
        assert await call(server, bearer(issuer.token()), model="free") == (404, "model_not_found")
        assert await call(server, guest, model="n") == (403, "insufficient_permissions")


async def test_credentials_of_users_reach_no_provider_and_no_log(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines: list[EndedCall | EndedRequest] = []
    async with calling(issuer, fetch, clock) as (server, up):
        log = AccessLog(lines.append, clock.time, lambda seconds, function: None)
        log.access = "all"
        server.app.telemetry.add(log)
        token = issuer.token(sub="u-canary")
        for headers in (bearer(token), {"x-api-key": token}, USERS):
            assert await call(server, {**headers, "x-note": "kept"}) == 200
        for text in (f"{token}x", token[:-9]):
            assert await call(server, bearer(text)) == REJECTED
        await until(lambda: len(lines) == 5)

    assert [request.headers.get("x-note") for request in up.requests] == ["kept"] * 3
    sent = "\n".join(str(request) for request in up.requests)
    for secret in (token, "u-canary", "remote-", issuer.issuer):
        assert secret not in sent.lower()
    assert [line.call.key for line in lines if isinstance(line, EndedCall)] == [
        f"jwt:{issuer.issuer}|u-canary",
        f"jwt:{issuer.issuer}|u-canary",
        "header:u-canary",
    ]
    assert token not in f"{lines}{caplog.text}"


async def test_metrics_count_the_users_of_a_login_together(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(issuer, fetch, clock) as (server, _):
        for headers in (bearer(issuer.token(sub="canary-1")), bearer(issuer.token(sub="canary-2")), USERS):
            assert await call(server, headers) == 200
        admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))
        metrics = (await server.client.get("/metrics", headers=admin)).text

    assert f'models_proxy_calls_total{{key="jwt:{issuer.issuer}",provider="a",outcome="ok"}} 2\n' in metrics
    assert 'models_proxy_calls_total{key="header:",provider="a",outcome="ok"} 1\n' in metrics
    assert "canary" not in metrics


OTHER_PAGES = [
    pytest.param({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, id="another site"),
    pytest.param({"sec-fetch-site": "same-site"}, id="a sibling host"),
    pytest.param({"origin": "https://evil.example"}, id="only Origin"),
    pytest.param({"origin": "null"}, id="a sandboxed frame"),
]


@pytest.mark.parametrize("page", OTHER_PAGES)
async def test_pages_of_other_origins_cannot_use_the_login_of_a_user(server: Served, page: Mapping[str, str]) -> None:
    body = b'{"model": "m", "messages": []}'
    call = await server.client.post(
        "/v1/chat/completions", headers={**USERS, **page, "content-type": "text/plain"}, content=body
    )
    action = await server.client.post("/admin/refresh", headers={**USERS, **page})

    assert [outcome(call), outcome(action)] == [(403, "origin_not_allowed")] * 2
    assert await listed(server, {**USERS, **page}) == ["m", "n"]  # which browsers do not show to the page


async def test_pages_of_other_origins_cannot_use_a_token_that_a_login_proxy_adds(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = text_of(issuer).replace("audience:", "header: Cf-Access-Jwt-Assertion\n      audience:")
    token = {"cf-access-jwt-assertion": issuer.token(groups=["llm-users"])}
    async with serving(config_of(text), fetch, clock) as server:
        await until(lambda: has_keys(server, issuer))
        foreign = {**token, "sec-fetch-site": "cross-site"}

        assert outcome(await server.client.post("/v1/embeddings", headers=foreign)) == (403, "origin_not_allowed")


async def test_pages_of_the_proxy_and_of_configured_origins_can_use_the_login_of_a_user(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving_users(issuer, fetch, clock, more="cors: ['https://chat.example']") as server:
        pages = [
            {"sec-fetch-site": "same-origin"},
            {},
            {"sec-fetch-site": "cross-site", "origin": "https://chat.example"},
        ]
        replies = [await server.client.post("/admin/refresh", headers={**USERS, **page}) for page in pages]

        assert [outcome(reply) for reply in replies] == [(403, "insufficient_permissions")] * 3


@pytest.mark.parametrize("page", OTHER_PAGES)
async def test_pages_of_other_origins_cannot_use_a_bearer_token_that_a_login_proxy_adds(
    page: Mapping[str, str], server: Served, issuer: OidcProvider
) -> None:
    admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))
    kinds = ("", "text/plain;charset=UTF-8", "multipart/form-data; boundary=b", "Text/Plain")
    sent = [{**admin, **page, **({"content-type": kind} if kind else {})} for kind in kinds]
    calls = [await server.client.post("/v1/chat/completions", headers=headers) for headers in sent]
    actions = [await server.client.post("/admin/refresh", headers=headers) for headers in sent]

    assert [outcome(reply) for reply in (*calls, *actions)] == [(403, "origin_not_allowed")] * 8
    assert await listed(server, {**admin, **page}) == ["m", "n"]


async def test_pages_of_other_origins_can_send_their_own_keys_and_tokens(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    """Browsers ask for that: a reverse proxy in front may have answered."""
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://chat.example"}
    async with calling(issuer, fetch, clock) as (server, _):
        for own in (bearer(KEY), bearer(issuer.token())):
            assert await call(server, {**own, **foreign}) == 200


async def test_a_page_of_the_proxy_and_a_program_can_send_a_token_without_a_body(
    server: Served, issuer: OidcProvider
) -> None:
    admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))
    for page in ({}, {"sec-fetch-site": "same-origin"}):
        assert (await server.client.post("/admin/refresh", headers={**admin, **page})).status_code == 200


async def test_the_log_names_the_administrator_who_did_something(
    server: Served, issuer: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))
    await server.client.post("/admin/refresh", headers=admin)

    assert f"admin: user jwt:{issuer.issuer}|u-1: refresh of a: a is ok" in caplog.text


async def test_stored_responses_belong_to_a_user_whatever_the_token(
    issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock
) -> None:
    response = {"id": "resp_canary1", "object": "response", "model": "m", "output": []}
    fetch.lists("a", "m", "n", "free")
    async with (
        fake_provider(replies(response)) as up,
        serving_users(issuer, fetch, clock, up.url) as server,
    ):
        token, later, other = issuer.token(), issuer.token(jti="later"), issuer.token(sub="u-2")
        created = await call(server, bearer(token), "/v1/responses", input="x")
        refers = {"previous_response_id": "resp_canary1", "input": "x"}
        outcomes = [await call(server, bearer(each), "/v1/responses", **refers) for each in (later, other)]
        retrieved = [
            (await server.client.get("/v1/responses/resp_canary1", headers=headers)).status_code
            for headers in (bearer(later), bearer(other), USERS, bearer(KEY))
        ]

    assert created == 200
    assert outcomes[0] == 200
    assert outcomes[1] != 200
    assert retrieved == [200, 404, 404, 404]


# -- the address of the connection -------------------------------------------------------------------------------------


async def test_the_headers_of_other_peers_are_ignored(issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock) -> None:
    text = text_of(issuer, server="trusted_proxies: [127.0.0.0/8]").replace("from: [127.0.0.1]", "from: [192.0.2.1]")
    fetch.lists("a", "m", "n", "free")
    async with serving(config_of(text), fetch, clock) as server:
        forwarded = {**USERS, "x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1", "forwarded": "for=192.0.2.1"}
        assert await listed(server, forwarded) == ["free"]
        reply = await reply_to(server.app, "/v1/models", forwarded)
        assert ids(reply.body) == ["free"]


async def test_a_header_twice_is_rejected(server: Served) -> None:
    request = (
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nRemote-User: u\r\nRemote-User: root\r\n"
        b"Remote-Groups: users\r\n\r\n"
    )
    async with server.raw(request) as (reader, _):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")


async def test_an_expired_token_is_rejected(server: Served, issuer: OidcProvider, clock: FakeClock) -> None:
    token = issuer.token(exp=NOW + 100)
    assert await listed(server, bearer(token)) == ["m", "n"]
    await clock.advance(161)

    assert await listed(server, bearer(token)) == REJECTED


async def test_the_overview_shows_the_groups_of_users(server: Served, issuer: OidcProvider) -> None:
    admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))
    overview = (await server.client.get("/admin/catalog", headers=admin)).json()
    guests = (await server.client.get("/admin/catalog?key_name=group:guests", headers=admin)).json()
    unknown = await server.client.get("/admin/catalog?key_name=group:unknown", headers=admin)
    explained = (await server.client.get("/admin/explain?model=m&key_name=group:guests", headers=admin)).json()

    assert [(key["name"], key["call"], key["models"]) for key in overview["keys"]] == [
        (None, False, 1),
        ("group:staff", True, 2),
        ("group:guests", False, 1),
        ("alice", True, 1),
    ]
    assert [model["id"] for model in guests["models"]] == ["n"]
    assert unknown.status_code == 400
    assert explained["access"]["caller"] == "members of group guests"


@pytest.mark.usefixtures("own_protocol")
async def test_the_cost_of_a_signature_counts_against_the_share_of_the_sender(
    server: Served, issuer: OidcProvider
) -> None:
    token = issuer.token()
    forged = f"{issuer.token().rpartition('.')[0]}.{token.rpartition('.')[2]}x"
    left = [await share_after(server, text) for text in (token, token, forged, KEY)]

    costs = [BUDGET - REQUEST - each for each in left]
    assert costs == [SIGNATURE_COST, 0, SIGNATURE_COST, 0]


async def share_after(server: Served, credential: str) -> int:
    """What is left of the share of a caller after a request without a list."""
    server.app.shares._shares.clear()
    async with server.raw(f"GET /nothing HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\n\r\n".encode()):
        await until(lambda: len(server.app.shares._shares) == 1)
        (share,) = server.app.shares._shares.values()
        return share.left


async def test_health_shows_administrators_the_state_of_issuers(
    server: Served, issuer: OidcProvider, clock: FakeClock
) -> None:
    admin = bearer(issuer.token(groups=["llm-users", "llm-admins"]))

    async def shown() -> object:
        return (await server.client.get("/health", headers=admin)).json()["auth"]

    of_issuer = {"issuer": issuer.issuer, "keys": 1, "age_seconds": 0, "last_error": None}
    assert await shown() == {"jwt": [of_issuer]}
    issuer.failing = True
    await clock.advance(REFRESH_SECONDS)
    await until(lambda: server.app.shared.key_sets.states[0]["last_error"] is not None)
    failure = f"status 503 of {issuer.issuer}{METADATA}"
    assert await shown() == {"jwt": [{**of_issuer, "age_seconds": 300, "last_error": failure}]}

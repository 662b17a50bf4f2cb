"""Log in to the status page at an OIDC provider, over real sockets to that."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from proxy.access.attempts import MAX_ATTEMPTS
from proxy.access.sessions import SESSION_SECONDS
from proxy.api.status.issuer_login import LOGIN_SECONDS
from proxy.config import Config
from proxy.server import key_sets
from proxy.server.app import Proxy
from proxy.upstream import oidc
from proxy.upstream.jwks import IDLE_SECONDS
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, reply_to
from tests.providers.oidc import METADATA, NOW, OidcProvider, key_of, oidc_provider, signed
from tests.server.status_browser import BROWSER, Browser

pytestmark = pytest.mark.anyio

SECRET = "canary-client-secret+/=%"
PUBLIC_URL = "https://llm.example.com"
CALLBACK = f"{PUBLIC_URL}/status/oidc/callback"
TEXT = f"""
server: {{public_url: '{PUBLIC_URL}'}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
groups: {{staff: {{models: ['*']}}}}
auth:
  jwt:
    - issuer: ISSUER
      audience: models-proxy
      client_id: status
      client_secret: '{SECRET}'
      client_scopes: [openid, groups]
      groups: {{llm-users: staff}}
      admin: [llm-admins]
"""
ADMIN: Mapping[str, Any] = {"aud": "status", "groups": ["other", "llm-admins", "llm-users"]}


@pytest.fixture
def issuer() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


def config(issuer: OidcProvider, *changes: tuple[str, str]) -> Config:
    text = TEXT
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return config_of(text.replace("ISSUER", issuer.issuer))


@asynccontextmanager
async def started(config: Config, clock: FakeClock) -> AsyncIterator[Browser]:
    app = Proxy(config, clock=clock, fetch=FakeFetch())
    async with app.lifespan():
        yield Browser(app, BROWSER)


class Login:
    """A login that a browser has begun."""

    def __init__(self, reply: Reply) -> None:
        assert reply.status == 303
        location = urlsplit(reply.header("location") or "")
        self.url = location._replace(query="").geturl()
        self.query = dict(parse_qsl(location.query))
        assert len(self.query) == len(parse_qsl(location.query))


async def begun(browser: Browser, issuer: OidcProvider, **more: str) -> Login:
    return Login(await browser.get(f"/status/oidc?{urlencode({'issuer': issuer.issuer, **more})}"))


async def answered(browser: Browser, issuer: OidcProvider, login: Login, **claims: Any) -> Reply:
    """The user has logged in at the issuer, which sends the browser back."""
    issuer.tokens["code-1"] = issuer.token(**{**ADMIN, "nonce": login.query["nonce"], **claims})
    return await back(browser, code="code-1", state=login.query["state"])


async def back(browser: Browser, **query: str) -> Reply:
    return await browser.get(f"/status/oidc/callback?{urlencode(query)}")


def problem(reply: Reply) -> tuple[int, str]:
    """The status, and the sentence in the page with the form."""
    text = reply.body.decode()
    return reply.status, text.partition("Login failed. ")[2].partition("</p>")[0]


# -- the flow ----------------------------------------------------------------------------------------------------------


async def test_an_administrator_by_claim_gets_a_session(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models_proxy")
    async with started(config(issuer), clock) as browser:
        form = (await browser.get("/status/login")).body.decode()
        assert f'<a href="/status/oidc?{urlencode({"issuer": issuer.issuer})}">' in form
        assert "<form" not in form  # there are no keys
        login = await begun(browser, issuer)
        challenge = login.query.pop("code_challenge")
        state, nonce = login.query.pop("state"), login.query.pop("nonce")
        assert login.url == f"{issuer.issuer}/authorize"
        assert login.query == {
            "response_type": "code",
            "client_id": "status",
            "redirect_uri": CALLBACK,
            "scope": "openid groups",
            "code_challenge_method": "S256",
        }
        assert len({state, nonce, challenge}) == 3
        login.query |= {"state": state, "nonce": nonce}
        reply = await answered(browser, issuer, login)

        assert reply.status == 200
        assert b'<meta http-equiv="refresh" content="0; url=/status">' in reply.body
        assert [*browser.cookies] == ["__Host-models-proxy-session"]
        assert await browser.is_logged_in()
        [(authorization, exchange)] = issuer.exchanges
        user, secret = "status", "canary-client-secret%2B%2F%3D%25"
        assert authorization == f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"
        verifier = exchange.pop("code_verifier")
        digest = hashlib.sha256(verifier.encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
        assert exchange == {
            "grant_type": "authorization_code",
            "code": "code-1",
            "redirect_uri": CALLBACK,
            "client_id": "status",
        }
    line = f"admin: user jwt:{issuer.issuer}|u-1: login to the status page from 127.0.0.1"
    assert line in caplog.messages
    assert not any(secret in caplog.text for secret in ("canary", "code-1", state, nonce, verifier))


async def test_the_cookie_of_a_login_is_sent_back_by_the_issuers_page_and_is_short_lived(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        reply = await browser.get(f"/status/oidc?{urlencode({'issuer': issuer.issuer})}")

        cookie = reply.header("set-cookie") or ""
        assert cookie.startswith("__Host-models-proxy-login=")
        assert cookie.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure")


async def test_a_user_can_log_out(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer))
        copy = dict(browser.cookies)
        assert (await browser.log_out()).status == 303
        browser.cookies = copy

        assert not await browser.is_logged_in()


async def test_a_secret_is_sent_in_the_body_to_issuers_that_require_that(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    metadata = json.loads(issuer.document(METADATA) or b"")
    metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    issuer.documents[METADATA] = json.dumps(metadata).encode()
    async with started(config(issuer), clock) as browser:
        assert (await answered(browser, issuer, await begun(browser, issuer))).status == 200

    [(authorization, exchange)] = issuer.exchanges
    assert (authorization, exchange["client_secret"]) == (None, SECRET)


async def test_on_a_loopback_address_without_https_cookies_have_another_name(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    changed = config(issuer, (PUBLIC_URL, "http://localhost:8000/llm/"), ("server: {", "server: {base_path: /llm, "))
    async with started(changed, clock) as browser:
        browser.headers = {"host": "localhost:8000", "accept": "text/html"}
        login = Login(await browser.get(f"/llm/status/oidc?{urlencode({'issuer': issuer.issuer})}"))
        assert login.query["redirect_uri"] == "http://localhost:8000/llm/status/oidc/callback"
        issuer.tokens["c"] = issuer.token(**ADMIN, nonce=login.query["nonce"])
        reply = await browser.get(f"/llm/status/oidc/callback?code=c&state={login.query['state']}")

        assert b"url=/llm/status" in reply.body
        assert [*browser.cookies] == ["models-proxy-session"]


# -- rejected ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({"groups": ["llm-users"]}, 403, id="not an administrator"),
        pytest.param({"groups": ["llm-admins"]}, 403, id="without a group"),
        pytest.param({"groups": None}, 403, id="without the claim"),
        pytest.param({"aud": "models-proxy"}, 401, id="a token for the API"),
        pytest.param({"aud": ["status", "other"], "azp": "other"}, 401, id="given to another client"),
        pytest.param({"nonce": "another"}, 401, id="of another login"),
        pytest.param({"nonce": None}, 401, id="without a nonce"),
        pytest.param({"nonce": 7}, 401, id="with a nonce that is no text"),
        pytest.param({"exp": NOW - 61}, 401, id="expired"),
        pytest.param({"iat": NOW + 3600}, 401, id="of the future"),
        pytest.param({"iss": "https://evil.example"}, 401, id="of another issuer"),
        pytest.param({"sub": ""}, 401, id="without a subject"),
    ],
)
async def test_other_tokens_begin_no_session(
    claims: Mapping[str, Any], status: int, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        reply = await answered(browser, issuer, await begun(browser, issuer), **claims)

        assert reply.status == status
        assert browser.cookies == {}
        assert "Login failed." in reply.body.decode()


async def test_a_token_with_the_signature_of_another_key_begins_no_session(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        issuer.documents["/keys"] = issuer.document("/keys") or b""
        issuer.keys["first"] = (key_of("P-256", 1), "ES256")
        reply = await answered(browser, issuer, await begun(browser, issuer))

        assert (reply.status, browser.cookies) == (401, {})


async def test_the_text_of_a_token_that_is_none_begins_no_session(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        issuer.tokens["code-1"] = "no token"

        assert (await back(browser, code="code-1", state=login.query["state"])).status == 401


@pytest.mark.parametrize(
    ("query", "cookie"),
    [
        pytest.param({"code": "code-1"}, True, id="no state"),
        pytest.param({"code": "code-1", "state": "another"}, True, id="another state"),
        pytest.param({"code": "code-1", "state": "STATE"}, False, id="another browser"),
        pytest.param({"code": "code-1", "state": "STATE", "iss": "https://evil.example"}, True, id="another issuer"),
    ],
)
async def test_an_answer_to_no_log_in_of_this_browser_is_rejected(
    query: Mapping[str, str], cookie: bool, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        issuer.tokens["code-1"] = issuer.token(**ADMIN, nonce=login.query["nonce"])
        if not cookie:
            browser.cookies = {}
        given = {name: value.replace("STATE", login.query["state"]) for name, value in query.items()}
        reply = await back(browser, **given)

        assert (reply.status, issuer.exchanges, browser.cookies) == (400, [], {})


async def test_a_log_in_at_the_issuer_can_take_a_time(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        clock.set_time(NOW + LOGIN_SECONDS)

        assert (await answered(browser, issuer, login)).status == 400


async def test_a_log_in_that_the_issuer_rejects_is_shown_without_its_text(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        text = "<script>\x1b[2J"
        reply = await back(browser, error=f"access_denied{text}", error_description=text, state=login.query["state"])

        assert problem(reply) == (403, "The issuer rejected the login.")
        assert r"rejected: the issuer returned access_denied<script>\x1b[2J" in caplog.text


async def test_a_code_that_is_used_twice_is_the_issuers_to_reject(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        cookies = dict(browser.cookies)
        await answered(browser, issuer, login)
        browser.cookies = cookies
        reply = await back(browser, code="code-1", state=login.query["state"])

        assert problem(reply) == (503, "The issuer cannot be reached, or its response is invalid.")
        assert f"rejected: status 400 (invalid_grant) of {issuer.issuer}/token" in caplog.text
        assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html>", "no `id_token` from /token"),
        (b"[]", "no `id_token` from /token"),
        (b'{"id_token": 7}', "no `id_token` from /token"),
        ('{"id_token": "ü"}'.encode(), "no `id_token` from /token"),
        (b" " * 100_000, "returned more than 65,536 bytes (max_body)"),
    ],
)
async def test_an_answer_without_a_token_begins_no_session(
    answer: bytes, reason: str, issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        issuer.documents["/token"] = answer
        reply = await back(browser, code="code-1", state=login.query["state"])

        assert reply.status == 503
        assert f"rejected: {reason}" in caplog.text.replace(issuer.issuer, "")


async def test_a_redirect_of_the_token_endpoint_is_not_followed(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        issuer.redirects["/token"] = f"{issuer.issuer}/elsewhere"

        assert (await back(browser, code="code-1", state=login.query["state"])).status == 503
        assert "/elsewhere" not in issuer.requests


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("authorization_endpoint", None),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("token_endpoint", "http://192.0.2.1/token"),
        ("token_endpoint", "file:///etc/passwd"),
        ("issuer", "https://evil.example"),
    ],
)
async def test_metadata_with_other_addresses_are_refused(
    name: str, url: str | None, issuer: OidcProvider, clock: FakeClock
) -> None:
    metadata = json.loads(issuer.document(METADATA) or b"")
    issuer.documents[METADATA] = json.dumps({**metadata, name: url}).encode()
    async with started(config(issuer), clock) as browser:
        reply = await browser.get(f"/status/oidc?{urlencode({'issuer': issuer.issuer})}")

        assert problem(reply) == (503, "The issuer cannot be reached, or its response is invalid.")


async def test_an_issuer_that_cannot_be_reached_is_shown(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    away = config(issuer, ("ISSUER", "http://127.0.0.1:9"))
    async with started(away, clock) as browser:
        reply = await browser.get("/status/oidc?issuer=http://127.0.0.1:9")

        assert reply.status == 503
        assert "status page: login from 127.0.0.1 rejected: connection refused" in caplog.text


async def test_an_issuer_that_does_not_respond_in_time_is_shown(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "FETCH_SECONDS", 0.0)
    async with started(config(issuer), clock) as browser:
        reply = await browser.get(f"/status/oidc?{urlencode({'issuer': issuer.issuer})}")

        assert reply.status == 503
        assert "status page: login from 127.0.0.1 rejected: timed out" in caplog.text


async def test_an_issuer_that_sends_nothing_is_shown_with_the_time(
    issuer: OidcProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(config(issuer), clock) as browser:

        async def silent(transport: object, request: httpx.Request) -> httpx.Response:
            raise httpx.ReadTimeout("", request=request)

        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", silent)
        await browser.get(f"/status/oidc?{urlencode({'issuer': issuer.issuer})}")

        assert f"rejected: timed out: no data for {IDLE_SECONDS:.0f} s" in caplog.text


@pytest.mark.parametrize("retry_seconds", [5.0, 0.0])
async def test_a_token_cannot_be_validated_without_the_keys_of_the_issuer(
    retry_seconds: float, issuer: OidcProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.documents["/keys"] = b"none"
    monkeypatch.setattr(key_sets, "RETRY_LOGIN_SECONDS", retry_seconds)
    async with started(config(issuer), clock) as browser:
        reply = await answered(browser, issuer, await begun(browser, issuer))

        assert problem(reply) == (503, "The issuer cannot be reached. Try again later.")


@pytest.mark.parametrize(
    "path",
    [
        "/status/oidc",
        "/status/oidc?issuer=https://evil.example",
        "/status/oidc?issuer=a&issuer=b",
        "/status/oidc?next=https://evil.example",
        "/status/oidc/callback?code=a&code=b",
        f"/status/oidc/callback?{'&'.join(f'p{number}=x' for number in range(30))}",
    ],
)
async def test_other_queries_are_bad_requests(path: str, issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        assert (await browser.get(path)).status == 400


async def test_attempts_are_limited(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        path = f"/status/oidc?{urlencode({'issuer': issuer.issuer})}"
        assert {(await browser.get(path)).status for _ in range(MAX_ATTEMPTS)} == {303}

        assert [(await browser.get(path)).status, (await back(browser, code="c")).status] == [429, 429]
        assert issuer.requests[METADATA] == 2  # with that of the keys


@pytest.mark.parametrize("destination", ["image", "iframe", "empty"])
@pytest.mark.parametrize("path", ["/status/oidc?issuer=ISSUER", "/status/oidc/callback?code=c&state=s"])
async def test_pages_of_other_sites_cannot_use_up_attempts(
    path: str, destination: str, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        foreign = {"sec-fetch-dest": destination, "sec-fetch-site": "same-origin"}
        statuses = {
            (await browser.get(path.replace("ISSUER", issuer.issuer), foreign)).status for _ in range(MAX_ATTEMPTS)
        }

        assert statuses == {403}
        assert (await begun(browser, issuer)).url == f"{issuer.issuer}/authorize"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_link_of_another_site_begins_no_login(site: str, issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        path = f"/status/oidc?{urlencode({'issuer': issuer.issuer})}"
        replies = [await browser.get(path, {"sec-fetch-site": site}) for _ in range(MAX_ATTEMPTS)]

        assert {(reply.status, reply.header("location")) for reply in replies} == {(303, "/status/login")}
        assert browser.cookies == {}
        assert (await begun(browser, issuer)).url == f"{issuer.issuer}/authorize"


# -- the end of a session ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exp", "seconds"), [(NOW + 300, 300), (NOW + 100_000, SESSION_SECONDS)])
async def test_a_session_ends_with_the_token(exp: int, seconds: float, issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer), exp=exp)
        clock.set_time(NOW + seconds - 1)
        assert await browser.is_logged_in()
        clock.set_time(NOW + seconds)

        assert not await browser.is_logged_in()


@pytest.mark.parametrize(
    ("change", "is_logged_in"),
    [
        pytest.param(("client_scopes: [openid, groups]", "client_scopes: [openid]"), True, id="something else"),
        pytest.param(("admin: [llm-admins]", "admin: [others]"), False, id="the value of administrators"),
        pytest.param(("llm-users: staff", "others: staff"), False, id="the group"),
        pytest.param(("client_id: status", "client_id: other"), False, id="the client"),
        pytest.param((SECRET, "canary-other-secret"), False, id="its secret"),
        pytest.param(("groups: {llm-users", "group_claim: roles\n      groups: {llm-users"), False, id="the claim"),
        pytest.param(("issuer: ISSUER", "issuer: 'https://login.example.com'"), False, id="the issuer"),
    ],
)
async def test_a_session_ends_when_what_makes_an_administrator_changes(
    change: tuple[str, str], is_logged_in: bool, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer))
        await browser.app.replace(config(issuer, change))

        assert await browser.is_logged_in() == is_logged_in


async def test_a_session_ends_when_no_issuer_has_a_client_any_more(issuer: OidcProvider, clock: FakeClock) -> None:
    client = f"      client_id: status\n      client_secret: '{SECRET}'\n"
    async with started(config(issuer), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer))
        await browser.app.replace(config(issuer, (client, "")))

        assert not await browser.is_logged_in()
        assert (await browser.get("/status/oidc/callback")).status in (303, 401, 404)


async def test_a_log_in_ends_when_its_issuer_is_removed_meanwhile(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        login = await begun(browser, issuer)
        await browser.app.replace(config(issuer, ("issuer: ISSUER", "issuer: 'https://login.example.com'")))

        assert problem(await answered(browser, issuer, login)) == (403, "This issuer is no longer configured.")


async def test_several_issuers_have_several_links(issuer: OidcProvider, clock: FakeClock) -> None:
    second = """
    - {issuer: 'https://login.example.com', audience: x, client_id: y, client_secret: canary, admin: [a],
       groups: {a: staff}}
"""
    async with started(config_of(TEXT.replace("ISSUER", issuer.issuer) + second), clock) as browser:
        page = (await browser.get("/status/login")).body.decode()

        assert page.count("Log in with ") == 2
        assert ">Log in with login.example.com</a>" in page


async def test_an_id_token_is_no_credential_for_the_api(issuer: OidcProvider, clock: FakeClock) -> None:
    async with started(config(issuer), clock) as browser:
        token = issuer.token(**ADMIN)
        for path in ("/v1/models", "/admin/catalog", "/status.json"):
            assert (await reply_to(browser.app, path, {"authorization": f"Bearer {token}"})).status == 401


@pytest.mark.parametrize(
    ("wanted", "path"),
    [("/status/models?q=gpt", "/status/models?q=gpt"), ("//evil.example", "/status"), ("/v1/models", "/status")],
)
async def test_a_login_returns_to_the_requested_page(
    wanted: str, path: str, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        form = (await browser.get(f"/status/login?{urlencode({'next': wanted})}")).body.decode()
        login = await begun(browser, issuer, next=wanted)
        reply = await answered(browser, issuer, login)

    assert (f"&amp;{urlencode({'next': path})}" in form) == (path != "/status")
    assert f'<meta http-equiv="refresh" content="0; url={path}">'.encode() in reply.body


HEADER = "cf-access-jwt-assertion"


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ({}, 200),
        ({"groups": []}, 200),
        ({"iss": "https://other.example"}, 401),
        ({"exp": NOW - 3600}, 401),
        ({"aud": "else"}, 401),
    ],
)
async def test_a_session_counts_next_to_a_valid_token_that_a_login_proxy_adds_only(
    token: Mapping[str, Any], status: int, issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer, ("audience:", f"header: {HEADER}\n      audience:")), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer))
        assert await browser.is_logged_in()

        for added, expected in ((issuer.token(**token), status), ("junk", 401), ("", 401)):
            assert (await browser.get("/status.json", {HEADER: added})).status == expected


async def test_a_session_does_not_need_the_keys_for_a_token_that_a_login_proxy_adds(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer, ("audience:", f"header: {HEADER}\n      audience:")), clock) as browser:
        await answered(browser, issuer, await begun(browser, issuer))
        unknown = {HEADER: signed(issuer.claims(), key_of("P-256", 9), "ES256", kid="unknown")}
        await clock.advance(key_sets.UNKNOWN_KEY_SECONDS)
        before = issuer.requests.copy()

        assert (await browser.get("/status.json", unknown)).status == 200
        assert issuer.requests == before


async def test_a_wrong_credential_is_not_redirected_to_the_form_that_rejects_it_too(
    issuer: OidcProvider, clock: FakeClock
) -> None:
    async with started(config(issuer), clock) as browser:
        wrong = {"authorization": "Bearer sk-canary-wrong"}
        replies = [await browser.get(path, wrong) for path in ("/status", "/status/login")]

        assert [(reply.status, reply.header("location")) for reply in replies] == [(303, "/status/login"), (401, None)]

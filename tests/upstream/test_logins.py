"""IAM and OAuth logins: the requests, the lifetime of tokens, and errors."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from proxy.upstream.logins import IamLogin, OAuthLogin
from proxy.upstream.transport import disable_http_logging
from tests.fakes import HastyClock, config_of
from tests.leaks import Held
from tests.providers.faults import FaultServer, playing
from tests.providers.scripted import Exchange, Script, fake_provider, replies
from tests.providers.server import closed_port

pytestmark = pytest.mark.anyio

PASSWORD = "pass-canary 7Wq&$x5Zu"
TOKEN = "MIIFc-canary-9xQw"
DAY = 86_400


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    held = Held.now()
    yield
    assert await held.left() == Held()


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


def pangu(address: str, iam_url: str, **settings: object) -> Provider:
    provider = {
        "name": "pangu",
        "kind": "pangu",
        "base_url": f"http://{address}/v1",
        "workspace_id": "ws",
        "model_ids": ["m"],
        "timeout": "20s",
        "headers": {"X-Team": "platform"},
        "iam": {"url": iam_url, "domain": "acme", "user": "robot", "password": PASSWORD, "project": "eu-de"},
        **settings,
    }
    provider = {name: value for name, value in provider.items() if value is not None}
    return config_of(json.dumps({"providers": [provider]})).providers[0]


def ends_at(moment: float) -> str:
    """The response of a login whose token expires at this time (Unix seconds)."""
    return json.dumps({"token": {"expires_at": datetime.fromtimestamp(moment, UTC).isoformat()}})


def tokens(server: FaultServer) -> list[list[str]]:
    """The tokens in each request."""
    return [request.values("x-auth-token") for request in server.requests]


async def fetch_list(provider: Provider, clock: HastyClock) -> FetchResult:
    return await ListFetcher([provider], clock)(provider, provider.retries)


async def failure(provider: Provider, clock: HastyClock) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await fetch_list(provider, clock)
    return raised.value


async def test_login_sends_user_and_project_and_its_token_is_sent_with_the_request(
    clock: HastyClock,
) -> None:
    async with playing("iam-login", token=TOKEN, body="{}") as iam, playing("versions") as server:
        answer = await fetch_list(pangu(server.address, f"http://{iam.address}"), clock)
    assert [entry.id for entry in answer.entries] == ["v"]
    (login,) = iam.requests
    assert login.line == "POST /v3/auth/tokens HTTP/1.1"
    assert json.loads(login.body) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"domain": {"name": "acme"}, "name": "robot", "password": PASSWORD}},
            },
            "scope": {"project": {"name": "eu-de"}},
        }
    }
    sent = ("content-type", "accept-encoding", "x-team", "x-auth-token", "authorization")
    assert [login.values(name) for name in sent] == [["application/json"], ["identity"], [], [], []]
    assert tokens(server) == [[f"{TOKEN}-1"]]


@pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/", "/v3/auth/tokens"])
async def test_iam_url_can_be_written_as_documented(path: str, clock: HastyClock) -> None:
    async with playing("iam-login", token=TOKEN, body="{}") as iam, playing("versions") as server:
        await fetch_list(pangu(server.address, f"http://{iam.address}{path}"), clock)
    assert iam.targets == ["/v3/auth/tokens"]


@pytest.mark.parametrize(
    ("body", "life"),
    [
        pytest.param(ends_at(HastyClock().time() + DAY), DAY, id="until it ends"),
        pytest.param("{}", 3600, id="an hour without an expiry"),
        pytest.param("no JSON", 3600, id="an hour with an unreadable body"),
        pytest.param('{"token":{"expires_at":"soon"}}', 3600, id="an hour without a time"),
        pytest.param('{"token":[]}', 3600, id="an hour with an unusual body"),
    ],
)
async def test_token_is_reused_until_shortly_before_it_expires(body: str, life: float, clock: HastyClock) -> None:
    async with playing("iam-login", token=TOKEN, body=body) as iam, playing("versions") as server:
        provider = pangu(server.address, f"http://{iam.address}")
        upstream = ListFetcher([provider], clock)
        for pause in (0, life - 301, 2):
            await clock.sleep(pause)
            await upstream(provider, 0)
    assert tokens(server) == [[f"{TOKEN}-1"], [f"{TOKEN}-1"], [f"{TOKEN}-2"]]
    assert len(iam.requests) == 2


async def test_rejected_token_is_renewed_once_and_the_request_repeated(clock: HastyClock) -> None:
    async with playing("iam-login", token=TOKEN, body="{}") as iam, playing("versions-at-second-token") as server:
        answer = await fetch_list(pangu(server.address, f"http://{iam.address}"), clock)
    assert ([entry.id for entry in answer.entries], answer.attempts) == (["v"], 1)
    assert tokens(server) == [[f"{TOKEN}-1"], [f"{TOKEN}-2"]]


async def test_second_rejected_token_fails_the_fetch(clock: HastyClock) -> None:
    body = '{"error_code":"PANGU.0001","error_msg":"not in this workspace"}'
    async with (
        playing("iam-login", token=TOKEN, body="{}") as iam,
        playing("status", status="401 Unauthorized", body=body) as server,
    ):
        error = await failure(pangu(server.address, f"http://{iam.address}"), clock)
    assert (error.kind, error.retryable, error.attempts) == ("unauthorized", False, 1)
    assert error.reason == "authentication failed (401: not in this workspace): check the provider's iam"
    assert (len(iam.requests), len(server.requests)) == (2, 2)


@pytest.mark.parametrize(
    ("status", "kind", "reason", "logins"),
    [
        pytest.param(
            401, "unauthorized", "authentication failed (401: wrong): check the provider's iam", 1, id="wrong password"
        ),
        pytest.param(
            403, "unauthorized", "permission denied (403: wrong): check the provider's iam", 1, id="forbidden"
        ),
        pytest.param(404, "status", "status 404: wrong", 1, id="not an IAM"),
        pytest.param(429, "rate_limited", "rate limit exceeded (429): wrong", 3, id="too many logins"),
        pytest.param(503, "status", "status 503: wrong", 3, id="not ready"),
        pytest.param(200, "invalid_response", "status 200 without a token", 1, id="no token"),
    ],
)
async def test_rejected_login_is_reported(status: int, kind: str, reason: str, logins: int, clock: HastyClock) -> None:
    body = '{"error":{"message":"wrong","code":1}}'
    async with playing("status", status=f"{status} No", body=body) as iam, playing("versions") as server:
        error = await failure(pangu(server.address, f"http://{iam.address}", retries=2), clock)
    assert (error.kind, error.reason) == (kind, f"IAM login failed: {reason}")
    assert (error.retryable, error.attempts, len(iam.requests)) == (logins > 1, logins, logins)
    assert server.requests == []


async def test_login_without_a_token_fails(clock: HastyClock) -> None:
    async with playing("iam-without-token") as iam, playing("versions") as server:
        error = await failure(pangu(server.address, f"http://{iam.address}"), clock)
    assert (error.kind, error.reason) == ("invalid_response", "IAM login failed: status 201 without a token")
    assert server.requests == []


async def test_login_retry_waits_for_retry_after(clock: HastyClock) -> None:
    async with playing("iam-busy", token=TOKEN) as iam, playing("versions") as server:
        await fetch_list(pangu(server.address, f"http://{iam.address}"), clock)
    assert (clock.slept, tokens(server)) == ([7.0], [[f"{TOKEN}-2"]])


async def test_login_does_not_follow_redirects(clock: HastyClock) -> None:
    async with (
        playing("iam-login", token=TOKEN, body="{}") as landing,
        playing("redirect", status="307 Elsewhere", location=f"http://{landing.address}/v3/auth/tokens") as iam,
        playing("versions") as server,
    ):
        error = await failure(pangu(server.address, f"http://{iam.address}"), clock)
    assert error.kind == "redirect"
    assert (landing.connections, server.connections) == (0, 0)


async def test_unreachable_iam_is_a_retryable_error(clock: HastyClock) -> None:
    async with playing("versions") as server:
        error = await failure(pangu(server.address, f"http://127.0.0.1:{closed_port()}", retries=2), clock)
    assert (error.kind, error.retryable, error.attempts) == ("connection_refused", True, 3)


async def test_hanging_iam_times_out_like_any_attempt(clock: HastyClock) -> None:
    async with playing("hang-before-headers") as iam, playing("versions") as server:
        error = await failure(pangu(server.address, f"http://{iam.address}", timeout="2400ms", retries=0), clock)
    assert (error.kind, error.reason) == ("timeout", "IAM login failed: timed out: no data for 0.8 s")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collects the records of all loggers at level DEBUG."""
    disable_http_logging()
    for name in ("", "httpx", *(name for name in logging.root.manager.loggerDict if name.startswith("httpcore"))):
        caplog.set_level(logging.DEBUG, logger=name or None)
    return caplog


def shown(*texts: str) -> set[str]:
    """The secrets that the texts contain, also the ends that remain of masked ones."""
    looks = {secret[:5] for secret in (PASSWORD, TOKEN)} | {PASSWORD[-4:], TOKEN[-4:], quote(PASSWORD)}
    return {look for look in looks if any(look in text for text in texts)}


def masked(secret: str) -> dict[str, str]:
    return {
        "raw": secret,
        "encoded": quote(secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "masked with stars": f"{secret[:5]}****{secret[-4:]}",
        "masked with dots": f"{secret[:5]}...{secret[-4:]}",
    }


STATUSES = ["401 Unauthorized", "500 Oops", "200 OK"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", masked(""))
async def test_password_repeated_by_the_iam_appears_nowhere(
    form: str, status: str, clock: HastyClock, log: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": {"message": f"wrong: {masked(PASSWORD)[form]}!"}})
    async with playing("status", status=status, body=body) as iam:
        provider = pangu(iam.address, f"http://{iam.address}", retries=0)
        error = await failure(provider, clock)
    assert provider.iam is not None
    texts = [repr(provider), repr(IamLogin(provider.iam, clock.time)), *traceback.format_exception(error)]
    assert shown(*texts, log.text) == set()


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", masked(""))
async def test_token_repeated_by_the_provider_appears_nowhere(
    form: str, status: str, clock: HastyClock, log: pytest.LogCaptureFixture
) -> None:
    # A 401 causes a second login, which returns a second token.
    token = f"{TOKEN}-2" if status.startswith("401") else f"{TOKEN}-1"
    body = json.dumps({"error": {"message": f"wrong: {masked(token)[form]}!"}})
    async with (
        playing("iam-login", token=TOKEN, body="{}") as iam,
        playing("status", status=status, body=body) as server,
    ):
        error = await failure(pangu(server.address, f"http://{iam.address}", retries=0), clock)
    assert shown(*traceback.format_exception(error), log.text) == set()


# -- OAuth client credentials ------------------------------------------------------------------------------------------

SECRET = "Qz7-canary +&=5$x7Wq"
MODELS: Mapping[str, Any] = {"status": "200 OK", "body": '{"data":[{"id":"m"}]}'}


def entra(address: str, token_url: str, **settings: object) -> Provider:
    """A provider with OAuth whose kind sends API keys in a special header."""
    provider = {
        "name": "entra",
        "kind": "azure",
        "base_url": f"http://{address}",
        "timeout": "20s",
        "headers": {"X-Team": "platform"},
        "oauth": {"url": token_url, "id": "proxy/1", "secret": SECRET, "scope": "api://models/.default"},
        **settings,
    }
    provider = {name: value for name, value in provider.items() if value is not None}
    return config_of(json.dumps({"providers": [provider]})).providers[0]


def bearers(server: FaultServer) -> list[str]:
    """The tokens in each request, without duplicates."""
    return [
        value.removeprefix(f"Bearer {TOKEN}")
        for request in server.requests
        for value in request.values("authorization")
    ]


async def test_client_credentials_are_sent_as_a_form_and_the_token_as_bearer(clock: HastyClock) -> None:
    async with playing("oauth-login", token=TOKEN, more="") as login, playing("status", **MODELS) as server:
        answer = await fetch_list(entra(server.address, f"http://{login.address}/tenant/oauth2/v2.0/token"), clock)
    assert [entry.id for entry in answer.entries] == ["m"]
    (request,) = login.requests
    assert request.line == "POST /tenant/oauth2/v2.0/token HTTP/1.1"
    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "client_credentials",
        "client_id": "proxy/1",
        "client_secret": SECRET,
        "scope": "api://models/.default",
    }
    sent = ("content-type", "accept", "accept-encoding", "x-team", "authorization", "cookie")
    assert [request.values(name) for name in sent] == [
        ["application/x-www-form-urlencoded"],
        ["application/json"],
        ["identity"],
        [],
        [],
        [],
    ]
    assert bearers(server) == ["-1"]
    assert server.requests[0].values("api-key") == []


async def test_scope_is_sent_only_if_it_is_set(clock: HastyClock) -> None:
    async with playing("oauth-login", token=TOKEN, more="") as login, playing("status", **MODELS) as server:
        oauth = {"url": f"http://{login.address}/token", "id": "proxy", "secret": SECRET}
        await fetch_list(entra(server.address, "http://unused.invalid", oauth=oauth), clock)
    assert b"scope" not in login.requests[0].body


@pytest.mark.parametrize(
    ("more", "renewed_before", "life"),
    [
        pytest.param(',"expires_in":86400', 300, DAY, id="a day"),
        pytest.param(',"expires_in":"7200"', 300, 7200, id="a string"),
        pytest.param(',"expires_in":400', 200, 400, id="short-lived: half of its life"),
        pytest.param(',"expires_in":2', 1, 2, id="a very short lifetime"),
        pytest.param("", 300, 3600, id="missing: an hour"),
        pytest.param(',"expires_in":"soon"', 300, 3600, id="not a number: an hour"),
        pytest.param(',"expires_in":-5', 300, 3600, id="negative: an hour"),
        pytest.param(',"expires_in":true', 300, 3600, id="a boolean: an hour"),
    ],
)
async def test_oauth_token_is_renewed_shortly_before_it_expires(
    more: str, renewed_before: float, life: float, clock: HastyClock
) -> None:
    async with playing("oauth-login", token=TOKEN, more=more) as login, playing("status", **MODELS) as server:
        provider = entra(server.address, f"http://{login.address}/token")
        upstream = ListFetcher([provider], clock)
        for pause in (0, life - renewed_before - 0.5, 1):
            await clock.sleep(pause)
            await upstream(provider, 0)
    assert bearers(server) == ["-1", "-1", "-2"]
    assert len(login.requests) == 2


async def test_rejected_oauth_token_is_renewed_once(clock: HastyClock) -> None:
    async with playing("oauth-login", token=TOKEN, more="") as login, playing("list-at-second-token") as server:
        answer = await fetch_list(entra(server.address, f"http://{login.address}/token"), clock)
    assert ([entry.id for entry in answer.entries], answer.attempts) == (["m"], 1)
    assert bearers(server) == ["-1", "-2"]


REFUSED = '{"error":"invalid_client","error_description":"wrong"}'


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason", "logins"),
    [
        pytest.param(
            400, REFUSED, "status", "status 400: invalid_client", 1, id="wrong secret, in the format of RFC 6749"
        ),
        pytest.param(
            401,
            REFUSED,
            "unauthorized",
            "authentication failed (401: invalid_client): check the provider's oauth",
            1,
            id="wrong secret",
        ),
        pytest.param(503, "", "status", "status 503", 3, id="not ready"),
        pytest.param(200, "<html>", "invalid_response", "status 200 without a token", 1, id="a page"),
        pytest.param(200, "{}", "invalid_response", "status 200 without a token", 1, id="no token"),
        pytest.param(
            200, '{"access_token":7}', "invalid_response", "status 200 without a token", 1, id="an invalid token"
        ),
        pytest.param(
            200,
            '{"access_token":"a\\r\\nX: y"}',
            "invalid_response",
            "status 200 without a token",
            1,
            id="a token with a line break",
        ),
    ],
)
async def test_rejected_client_credentials_are_reported(
    status: int, body: str, kind: str, reason: str, logins: int, clock: HastyClock
) -> None:
    async with playing("status", status=f"{status} X", body=body) as login, playing("status", **MODELS) as server:
        error = await failure(entra(server.address, f"http://{login.address}/token", retries=2), clock)
    assert (error.kind, error.reason) == (kind, f"OAuth login failed: {reason}")
    assert (error.retryable, len(login.requests), server.requests) == (logins > 1, logins, [])


async def test_hanging_token_url_times_out_like_any_attempt(clock: HastyClock) -> None:
    async with playing("hang-before-headers") as login, playing("status", **MODELS) as server:
        error = await failure(entra(server.address, f"http://{login.address}/", timeout="2400ms", retries=0), clock)
    assert (error.kind, error.reason) == ("timeout", "OAuth login failed: timed out: no data for 0.8 s")


async def test_client_credentials_are_not_sent_to_a_redirect_target(clock: HastyClock) -> None:
    async with (
        playing("oauth-login", token=TOKEN, more="") as landing,
        playing("redirect", status="308 Elsewhere", location=f"http://{landing.address}/token") as login,
    ):
        error = await failure(entra(login.address, f"http://{login.address}/token"), clock)
    assert (error.kind, landing.connections) == ("redirect", 0)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", masked(""))
async def test_secret_repeated_by_the_token_url_appears_nowhere(
    form: str, status: str, clock: HastyClock, log: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": f"wrong: {masked(SECRET)[form]}!"})
    async with playing("status", status=status, body=body) as login:
        provider = entra(login.address, f"http://{login.address}/token", retries=0)
        error = await failure(provider, clock)
    assert provider.oauth is not None
    text = "\n".join([repr(provider), repr(OAuthLogin(provider.oauth, clock.time)), *traceback.format_exception(error)])
    assert not [look for look in (SECRET[:5], SECRET[-4:], quote(SECRET)) if look in text + log.text]


@pytest.mark.parametrize("form", masked(""))
async def test_oauth_token_repeated_by_the_provider_appears_nowhere(
    form: str, clock: HastyClock, log: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": f"wrong: {masked(f'{TOKEN}-1')[form]}!"})
    async with (
        playing("oauth-login", token=TOKEN, more="") as login,
        playing("status", status="500 Oops", body=body) as server,
    ):
        error = await failure(entra(server.address, f"http://{login.address}/token", retries=0), clock)
    assert shown(*traceback.format_exception(error), log.text) == set()


# -- secrets in files --------------------------------------------------------------------------------------------------


def rewritten(path: Path, secret: str) -> None:
    path.write_text(secret)


def accepting(password: str, status: int) -> Script:
    """A login that grants a token for this password, and rejects all others with this status."""
    granted = replies({"access_token": TOKEN}, 201, {"X-Subject-Token": TOKEN})

    async def script(exchange: Exchange) -> None:
        refused = replies({"error": "invalid_client", "error_description": f"not {password}"}, status)
        await (granted if password.encode() in exchange.request.body else refused)(exchange)

    return script


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("login", ["oauth", "iam"])
async def test_login_with_a_new_secret_in_its_file_is_repeated(
    login: str, status: int, clock: HastyClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = "canary-old", "canary-new"
    file = tmp_path / "secret"
    rewritten(file, old)
    async with fake_provider(accepting(new, status)) as server, playing("versions") as api:
        settings: Mapping[str, Mapping[str, object]] = {
            "oauth": {"iam": None, "oauth": {"url": f"{server.url}/t", "id": "me", "secret_file": str(file)}},
            "iam": {"iam": {"url": server.url, "domain": "d", "user": "u", "project": "p", "password_file": str(file)}},
        }
        provider = pangu(api.address, "", **settings[login])
        with pytest.raises(UpstreamError) as raised:
            await fetch_list(provider, clock)
        assert len(server.requests) == 1
        rewritten(file, new)
        assert [entry.id for entry in (await fetch_list(provider, clock)).entries] == ["v"]
    assert [old.encode() in request.body for request in server.requests] == [True, True, False]
    assert "canary" not in f"{raised.value} {caplog.text}"


async def test_login_with_a_wrong_secret_in_its_file_is_sent_once(clock: HastyClock, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    rewritten(file, "canary-old")
    async with fake_provider(accepting("canary-new", 401)) as server:
        iam = {"url": server.url, "domain": "d", "user": "u", "project": "p", "password_file": str(file)}
        error = await failure(pangu("127.0.0.1:9", "", iam=iam), clock)
    assert (error.kind, len(server.requests)) == ("unauthorized", 1)

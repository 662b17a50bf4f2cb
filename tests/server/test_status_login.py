"""Log in to the status page with an admin key: sessions, forms, and what a session never is."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from proxy.access.attempts import MAX_ATTEMPTS
from proxy.access.sessions import SESSION_SECONDS, Sessions
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, digest, reply_to, started
from tests.server.status_browser import ADMIN, ADMITTED, BROWSER, FORM, HOST, INSIDE, REFUSED, Browser

pytestmark = pytest.mark.anyio

PLAIN, OTHER = "sk-canary-status-plain", "sk-canary-status-other"


def config_text(keys: str = "", more: str = "") -> str:
    own = f"{{name: root, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}"
    return f"""
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
keys:
  - {keys or own}
  - {{name: plain, hash: '{digest(PLAIN)}', models: ['*']}}
{more}
"""


def refusal(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error"]["code"]


# -- log in and log out ------------------------------------------------------------------------------------------------


async def test_an_admin_key_begins_a_session(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        assert not await browser.is_logged_in()
        reply = await browser.log_in()

        assert (reply.status, reply.header("location"), reply.body) == (303, "/status", b"")
        cookie = reply.header("set-cookie") or ""
        assert re.fullmatch(
            r"__Host-models-proxy-session=[\w-]+; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict; Secure", cookie
        )
        assert ADMIN not in cookie
        assert await browser.is_logged_in()


async def test_a_browser_without_a_session_is_sent_to_the_form(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        page = await browser.get("/status")
        form = await browser.get("/status/login")

        assert (page.status, page.header("location")) == (303, "/status/login")
        assert (form.status, form.header("content-type")) == (200, "text/html; charset=utf-8")
        assert b'<form method="post" class="stack" action="/status/login">' in form.body
        assert b'<label for="key">' in form.body


async def test_a_form_of_a_session_that_has_ended_leads_to_the_form(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        token = browser.csrf_token()
        clock.set_time(clock.time() + SESSION_SECONDS)
        reply = await browser.post("/status/reload", {"csrf": token})

        assert (reply.status, reply.header("location")) == (303, "/status/login")


async def test_programs_get_errors_instead_of_the_form(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        assert refusal(await reply_to(app, "/status.json", BROWSER)) == (401, "invalid_api_key")
        assert refusal(await reply_to(app, "/status", {"accept": "*/*"})) == (401, "invalid_api_key")
        plain = {"authorization": f"Bearer {PLAIN}"}
        reply = await reply_to(app, "/status/logout", plain, method="POST")
        assert refusal(reply) == (403, "insufficient_permissions")
        assert (await reply_to(app, INSIDE, {"authorization": f"Bearer {ADMIN}"})).status == ADMITTED


async def test_paths_begin_with_the_base_path(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text(more="server: {base_path: /llm}")), fetch, clock) as app:
        browser = Browser(app)
        page, form = await browser.get("/llm/status"), await browser.get("/llm/status/login")
        reply = await browser.post("/llm/status/login", {"key": ADMIN})

        assert page.header("location") == "/llm/status/login"
        assert b'action="/llm/status/login"' in form.body
        assert reply.header("location") == "/llm/status"
        assert (await browser.get("/llm" + INSIDE)).status == ADMITTED
        assert refusal(await browser.get("/status/login")) == (404, "not_found")


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        pytest.param("sk-canary-wrong", 401, b"not a valid key", id="an unknown key"),
        pytest.param("", 401, b"not a valid key", id="none"),
        pytest.param("k" * 5000, 401, b"not a valid key", id="a long one"),
        pytest.param("\0\x1b[2J\r\n<script>", 401, b"not a valid key", id="control characters"),
        pytest.param(PLAIN, 403, b"not an admin key", id="a key of another caller"),
    ],
)
async def test_other_keys_begin_no_session(
    key: str, status: int, text: bytes, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        reply = await Browser(app).log_in(key)

        assert (reply.status, reply.header("set-cookie")) == (status, None)
        assert text in reply.body
        assert not key or key.encode() not in reply.body
        assert not key or key not in caplog.text


async def test_each_attempt_leaves_a_line_in_the_log_without_the_key(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models_proxy")
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in("sk-canary-wrong")
        await browser.log_in(PLAIN)
        await browser.log_in()
        await browser.log_out()

        lines = [record.getMessage() for record in caplog.records if "status page" in record.getMessage()]
        assert lines == [
            "status page: login from 127.0.0.1 rejected: unknown key",
            "status page: login from 127.0.0.1 rejected: not an admin key",
            "admin: key root: login to the status page from 127.0.0.1",
            "admin: key root: logout from the status page",
        ]


async def test_a_session_ends_with_log_out_also_for_a_copy_of_its_cookie(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser, copy = Browser(app), Browser(app)
        await browser.log_in()
        copy.cookies = dict(browser.cookies)
        assert await copy.is_logged_in()
        reply = await browser.log_out()

        assert (reply.status, reply.header("location"), browser.cookies) == (303, "/status/login", {})
        assert reply.header("set-cookie") == (
            "__Host-models-proxy-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        )
        assert not await copy.is_logged_in()


async def test_a_session_expires(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        clock.set_time(clock.time() + SESSION_SECONDS)

        assert not await browser.is_logged_in()


async def test_each_log_in_begins_another_session(fetch: FakeFetch, clock: FakeClock) -> None:
    """Fixation: the session that a browser had before is not the one that it has after."""
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        before = dict(browser.cookies)
        await browser.log_in()

        assert browser.cookies.keys() == before.keys()
        assert browser.cookies != before


# -- the key of a session ----------------------------------------------------------------------------------------------

ROOT = f"name: root, hash: '{digest(ADMIN)}', models: ['*']"


@pytest.mark.parametrize(
    ("keys", "is_logged_in"),
    [
        pytest.param(f"{{{ROOT}, admin: true, limits: {{requests: 5/m}}}}", True, id="changed otherwise"),
        pytest.param(f"{{name: o, hash: '{digest(OTHER)}', models: ['*'], admin: true}}", False, id="removed"),
        pytest.param(f"{{{ROOT}}}", False, id="no admin key any more"),
        pytest.param(f"{{{ROOT}, admin: true, expires: 2020-01-01}}", False, id="expired"),
        pytest.param(f"{{{ROOT}, admin: true, allowed_ips: [192.0.2.1]}}", False, id="not from this address any more"),
        pytest.param(
            f"{{name: root, hash: '{digest(OTHER)}', models: ['*'], admin: true}}", False, id="another with its name"
        ),
        pytest.param(
            f"{{name: root, hashes: ['{digest(OTHER)}', '{digest(ADMIN)}'], models: ['*'], admin: true}}",
            True,
            id="rotated with an overlap",
        ),
    ],
)
async def test_a_session_is_valid_as_long_as_its_key_after_a_reload(
    keys: str, is_logged_in: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        await app.replace(config_of(config_text(keys)))

        assert await browser.is_logged_in() == is_logged_in


async def test_a_key_that_is_not_allowed_from_an_address_begins_no_session(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = f"{{{ROOT}, admin: true, allowed_ips: [192.0.2.1]}}"
    server = "server: {trusted_proxies: [127.0.0.1]}"
    async with started(config_of(config_text(keys, server)), fetch, clock) as app:
        elsewhere = Browser(app, {**FORM, "x-forwarded-for": "192.0.2.2"})
        allowed = Browser(app, {**FORM, "x-forwarded-for": "192.0.2.1"})

        assert [(await browser.log_in()).status for browser in (elsewhere, allowed)] == [401, 303]
        assert "key root was sent from 192.0.2.2, which is not in its `allowed_ips`" in caplog.text
        elsewhere.cookies = allowed.cookies
        assert [await browser.is_logged_in() for browser in (elsewhere, allowed)] == [False, True]


async def test_a_session_of_another_deployment_or_one_without_its_secret_is_none(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        forged = Sessions(clock.time)  # by someone who knows the configuration
        session = forged.begin(bytes.fromhex(digest(ADMIN).removeprefix("sha256:")), "root", float("inf"))
        browser.cookies = {"__Host-models-proxy-session": forged.cookie_of(session).value}
        assert not await browser.is_logged_in()

        sealed = app.shared.sessions.sealed  # by someone who knows the secret, but not the digest
        session = sealed.begin(b"d" * 32, "root", float("inf"))
        browser.cookies = {"__Host-models-proxy-session": sealed.cookie_of(session).value}
        assert not await browser.is_logged_in()


# -- what a session is not ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/admin/catalog", "/admin/usage", "/metrics", "/v1/usage", "/Status"])
async def test_a_session_is_no_credential_on_other_paths(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        with_session = await browser.get(path)
        browser.cookies = {}

        assert refusal(with_session) == (401, "invalid_api_key")
        assert with_session.body == (await browser.get(path)).body


async def test_a_key_in_a_header_counts_more_than_a_session(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        plain = await browser.post("/status/logout", {}, {"authorization": f"Bearer {PLAIN}"})
        wrong = await browser.get("/status.json", {"authorization": "Bearer sk-canary-wrong"})

        assert (refusal(plain), refusal(wrong)) == ((403, "insufficient_permissions"), (401, "invalid_api_key"))


async def test_a_cookie_that_is_sent_twice_does_not_count(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        [(name, value)] = browser.cookies.items()
        once, twice = f"other=1; {name}={value}; x", f"{name}={value}; {name}={value}"

        assert (await browser.get(INSIDE, {"cookie": once})).status == ADMITTED
        assert (await browser.get(INSIDE, {"cookie": twice})).status == REFUSED
        pairs = [(b"accept", b"text/html"), *[(b"cookie", f"{name}={value}".encode())] * 2]
        assert (await reply_to(app, INSIDE, pairs)).status == REFUSED


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "0" * 64, "of another session"])
async def test_a_form_without_the_token_of_the_session_changes_nothing(
    token: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser, other = Browser(app), Browser(app)
        await browser.log_in()
        await other.log_in()
        given = other.csrf_token() if token.startswith("of") else token
        reply = await browser.post("/status/logout", {"csrf": given} if given else {})

        assert refusal(reply) == (403, "cross_site_request")
        assert await browser.is_logged_in()


FOREIGN = (
    pytest.param({"sec-fetch-site": "cross-site"}, id="another site"),
    pytest.param({"sec-fetch-site": "same-site"}, id="a sibling host"),
    pytest.param({"sec-fetch-site": "none"}, id="no page"),
    pytest.param({"sec-fetch-site": "", "origin": "https://evil.example"}, id="an unknown value"),
)


@pytest.mark.parametrize("headers", FOREIGN)
async def test_forms_of_other_pages_are_rejected(
    headers: Mapping[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        assert refusal(await browser.post("/status/login", {"key": ADMIN}, headers)) == (403, "cross_site_request")
        await browser.log_in()
        reply = await browser.post("/status/logout", {"csrf": browser.csrf_token()}, headers)

        assert refusal(reply) == (403, "cross_site_request")
        assert await browser.is_logged_in()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"https://{HOST}", 303),
        (f"https://{HOST.upper()}", 303),
        (f"https://{HOST}:8443", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        (None, 403),
    ],
)
async def test_without_fetch_metadata_the_origin_decides(
    origin: str | None, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        headers = {name: value for name, value in FORM.items() if name not in ("sec-fetch-site", "origin")}
        browser = Browser(app, headers if origin is None else {**headers, "origin": origin})

        assert (await browser.log_in()).status == status


async def test_the_public_url_is_an_origin_of_this_server(fetch: FakeFetch, clock: FakeClock) -> None:
    text = config_text(more="server: {public_url: 'https://status.example.com'}")
    async with started(config_of(text), fetch, clock) as app:
        headers = {"host": "127.0.0.1:8000", "accept": "text/html", "origin": "https://status.example.com"}

        assert (await Browser(app, headers).log_in()).status == 303
        assert (await Browser(app, {**headers, "origin": "https://other.example.com"}).log_in()).status == 403


async def test_headers_that_are_repeated_are_those_of_no_browser(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        pairs = [(b"sec-fetch-site", b"same-origin")] * 2
        reply = await reply_to(app, "/status/login", pairs, method="POST", body=b"key=x")

        assert refusal(reply) == (403, "cross_site_request")


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"key=" + b"x" * 20_000, (413, "request_too_large")),
        (b"key=a&key=b", (400, "invalid_request")),
        (b"&".join(b"%d=" % number for number in range(30)), (400, "invalid_request")),
    ],
)
async def test_bodies_that_are_no_form_of_ours_are_rejected(
    body: bytes, refused: tuple[int, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        reply = await reply_to(app, "/status/login", FORM, method="POST", body=body)

        assert refusal(reply) == refused


# -- attempts ----------------------------------------------------------------------------------------------------------


async def test_attempts_are_limited_per_address(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = "server: {trusted_proxies: [127.0.0.1]}"
    async with started(config_of(config_text(more=server)), fetch, clock) as app:
        attacker, other = (Browser(app, {**FORM, "x-forwarded-for": f"192.0.2.{n}"}) for n in (1, 2))
        statuses = [(await attacker.log_in(f"sk-canary-guess-{number}")).status for number in range(MAX_ATTEMPTS)]
        limited = await attacker.log_in()

        assert statuses == [401] * MAX_ATTEMPTS
        assert (limited.status, limited.header("retry-after")) == (429, "60")
        assert b"Retry in 60 s" in limited.body
        await attacker.log_in()
        line = "status page: login from 192.0.2.1 rejected: too many attempts; further ones within a minute are not "
        assert [message for message in caplog.messages if "too many" in message] == [f"{line}logged"]
        assert (await other.log_in()).status == 303
        await clock.advance(60)
        assert (await attacker.log_in()).status == 303


async def test_a_client_at_the_address_of_a_trusted_proxy_cannot_evade_the_limit_of_attempts(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    server = "server: {trusted_proxies: [127.0.0.0/8]}"
    async with started(config_of(config_text(more=server)), fetch, clock) as app:
        statuses = [
            (await Browser(app, {**FORM, "x-forwarded-for": f"127.0.0.{number}"}).log_in("sk-canary-guess")).status
            for number in range(1, MAX_ATTEMPTS + 2)
        ]

        assert statuses == [401] * MAX_ATTEMPTS + [429]


async def test_attempts_are_divided_between_workers(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text(more="server: {workers: 4}")), fetch, clock) as app:
        statuses = [(await Browser(app).log_in("sk-canary-guess")).status for _ in range(4)]

        assert statuses == [401, 401, 401, 429]


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/status/login", "/status", "/status/unknown", "/status.json"])
async def test_every_response_has_the_headers_of_a_private_page(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        for headers in (BROWSER, {"authorization": f"Bearer {ADMIN}"}, {"authorization": "Bearer sk-canary-wrong"}):
            reply = await reply_to(app, path, headers)

            assert reply.header("cache-control") == "no-store"
            assert (reply.header("content-security-policy") or "").startswith("default-src 'none'; ")
            assert (reply.header("x-frame-options"), reply.header("referrer-policy")) == ("DENY", "same-origin")


async def test_other_paths_do_not_have_these_headers(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        for path in ("/v1/models", "/statusx", "/livez"):
            assert (await reply_to(app, path)).header("content-security-policy") is None


async def test_the_form_answers_head_without_a_body(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        reply = await reply_to(app, "/status/login", BROWSER, method="HEAD")

        assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("host", "origin", "name", "is_secure"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", "models-proxy-session", False),
        ("localhost:8000", "http://localhost:8000", "models-proxy-session", False),
        ("[::1]:8000", "http://[::1]:8000", "models-proxy-session", False),
        ("app.localhost", "http://app.localhost", "models-proxy-session", False),
        ("localhost:8443", "https://localhost:8443", "__Host-models-proxy-session", True),
        ("127.0.0.1:8000", "https://llm.example.com", "__Host-models-proxy-session", True),  # a reverse proxy
        ("192.0.2.1:8000", "http://192.0.2.1:8000", "__Host-models-proxy-session", True),
        ("localhost.evil.example", "http://localhost.evil.example", "__Host-models-proxy-session", True),
        ("[", "https://x.example", "__Host-models-proxy-session", True),
    ],
)
async def test_cookies_are_secure_except_on_loopback_addresses(
    host: str, origin: str, name: str, is_secure: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app, {**FORM, "host": host, "origin": origin})
        cookie = (await browser.log_in()).header("set-cookie") or ""

        assert (cookie.partition("=")[0], cookie.endswith("; Secure")) == (name, is_secure)
        assert await browser.is_logged_in()


async def test_a_cookie_without_the_prefix_does_not_count_off_loopback(fetch: FakeFetch, clock: FakeClock) -> None:
    """Another host of the same domain could have set it."""
    async with started(config_of(config_text()), fetch, clock) as app:
        browser = Browser(app)
        await browser.log_in()
        browser.cookies["models-proxy-session"] = browser.cookies.pop("__Host-models-proxy-session")

        assert not await browser.is_logged_in()


# -- without keys, and login proxies -----------------------------------------------------------------------------------


async def test_a_proxy_without_keys_needs_no_session_on_loopback(fetch: FakeFetch, clock: FakeClock) -> None:
    text = "{providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}], groups: {default: {models: ['*']}}}"
    async with started(config_of(text), fetch, clock) as app:
        browser = Browser(app, {"host": "localhost:8000", "accept": "text/html"})
        form = await browser.get("/status/login")

        assert (form.status, form.header("location")) == (303, "/status")
        assert (await browser.get(INSIDE)).status == ADMITTED
        rebound = await browser.get(INSIDE, {"host": "evil.example"})
        assert refusal(rebound) == (403, "host_not_allowed")
        assert refusal(await browser.post("/status/logout", {})) == (403, "cross_site_request")


async def test_an_administrator_of_a_login_proxy_needs_no_session_but_the_token_of_forms(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    more = """
groups: {admins: {models: ['*']}}
auth: {header: {name: x-groups, user: x-user, from: [127.0.0.1], groups: {a: admins}, admin: [a]}}
"""
    async with started(config_of(config_text(more=more)), fetch, clock) as app:
        user = Browser(app, {**FORM, "x-user": "canary-user", "x-groups": "a"})
        assert (await user.get(INSIDE)).status == ADMITTED
        assert refusal(await user.post("/status/logout", {})) == (403, "cross_site_request")
        token = app.shared.sessions.sealed.csrf_token(b"caller header:canary-user")
        assert (await user.post("/status/logout", {"csrf": token})).status == 303

"""Errors of providers: `Retry-After`, error messages, and exceptions of the HTTP library."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamError
from proxy.upstream.errors import from_exception, from_status, retry_after, timed_out
from proxy.upstream.redirects import Requested

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC, a Friday
KEY = "sk-canary-4f7Gq+Zx/9e=8zW1"


# -- Retry-After -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        pytest.param([], None, id="no header"),
        pytest.param(["0"], 0.0, id="immediately"),
        pytest.param(["120"], 120.0, id="seconds"),
        pytest.param([" 120 "], 120.0, id="seconds with blanks"),
        pytest.param(["3600"], 3600.0, id="an hour"),
        pytest.param(["3601"], 3600.0, id="more than an hour"),
        pytest.param(["9" * 400], 3600.0, id="the maximum"),
        pytest.param(["Fri, 15 Jan 2027 08:01:00 GMT"], 60.0, id="a date"),
        pytest.param(["Fri, 15 Jan 2027 09:01:00 +0100"], 60.0, id="a date with an offset"),
        pytest.param(["Friday, 15-Jan-27 08:01:00 GMT"], 60.0, id="an RFC 850 date"),
        pytest.param(["Fri Jan 15 08:01:00 2027"], 60.0, id="a date of asctime"),
        pytest.param(["Fri, 15 Jan 2027 07:00:00 GMT"], 0.0, id="a past date"),
        pytest.param(["Wed, 15 Jan 9999 00:00:00 GMT"], 3600.0, id="a date in the far future"),
        pytest.param(["5", "7"], 7.0, id="two headers"),
        pytest.param(["junk", "7"], 7.0, id="two headers, one invalid"),
        *[
            pytest.param([junk], None, id=f"{junk!r}")
            for junk in ("", "-5", "+5", "1.5", "1e9", "nan", "inf", "٣", "5s", "soon", "Fri, 99 Jan 2027 08:00:00 GMT")
        ],
    ],
)
def test_retry_after_accepts_seconds_and_dates_up_to_an_hour(values: list[str], seconds: float | None) -> None:
    assert retry_after(values, NOW) == seconds


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("date", ["Fri Jan 15 08:01:00 2027", "Fri, 15 Jan 2027 08:01:00 -0000"])
def test_retry_after_date_without_a_zone_is_gmt_in_every_local_time_zone(date: str) -> None:
    assert retry_after([date], NOW) == 60.0


def _pieces_of_dates() -> st.SearchStrategy[str]:
    words = ["Fri,", "Mon", "15", "99", "Jan", "Foo", "2027", "0", "99999", "08:01:00", "25:61:61", "GMT", "+9999"]
    piece = st.sampled_from([*words, "-0000", "(", ")", ",", ":", "-"])
    return st.lists(piece | st.text(max_size=3), max_size=8).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.text() | st.integers().map(str) | st.floats().map(str) | _pieces_of_dates(), max_size=3))
def test_retry_after_never_fails_and_is_bounded_for_any_value(values: list[str]) -> None:
    seconds = retry_after(values, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_retry_after_accepts_every_http_date(moment: int) -> None:
    assert retry_after([formatdate(moment, usegmt=True)], NOW) == min(max(0.0, moment - NOW), 3600.0)


# -- messages of providers --------------------------------------------------------------------------------------------


LIST = Requested("https://models.example/v1/models", "/models", missing="check base_url")
LOGIN = Requested("https://login.example/oauth/token", "", "oauth.url", "oauth")
HTML = "text/html"
NGINX = {"content-type": HTML, "server": "nginx"}
FIREWALL = (
    "; a firewall or proxy rejects the request: check base_url and the network, or set another `User-Agent` in "
    "`headers`"
)
PORTAL = "; a proxy or portal requires a login: check base_url and the network"


def error_of(
    status: int, body: str = "", headers: Mapping[str, str] | None = None, requested: Requested = LIST
) -> UpstreamError:
    return from_status(httpx.Response(status, headers=headers), body.encode(), [KEY], NOW, requested)


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason"),
    [
        pytest.param(
            403, "error code: 1010", {}, f"(status 403, plain text): error code: 1010{FIREWALL}", id="Cloudflare, text"
        ),
        pytest.param(
            403,
            "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><script>x</script></body></html>",
            {"server": "cloudflare", "cf-mitigated": "challenge"},
            f"(status 403, HTML page): Just a moment..., server: cloudflare{FIREWALL}",
            id="a challenge of Cloudflare",
        ),
        pytest.param(
            503,
            "<html><title>Checking your browser before accessing</title></html>",
            {"server": "cloudflare"},
            f"(status 503, HTML page): Checking your browser before accessing, server: cloudflare{FIREWALL}",
            id="an older challenge",
        ),
        pytest.param(
            403,
            '{"cloudflare_error":true,"error_code":1010,"title":"Error 1010: Access denied","status":403}',
            {},
            f"(status 403, JSON): Error 1010: Access denied{FIREWALL}",
            id="Cloudflare, JSON",
        ),
        pytest.param(
            429,
            "<html><title>Attention Required! | Example</title></html>",
            {},
            f"(status 429, HTML page): Attention Required! | Example{FIREWALL}",
            id="a page with status 429",
        ),
        pytest.param(202, "", {"x-amzn-waf-action": "challenge"}, f"(status 202, no body){FIREWALL}", id="AWS, 202"),
        pytest.param(405, "", {"x-amzn-waf-action": "captcha"}, f"(status 405, no body){FIREWALL}", id="AWS, 405"),
        pytest.param(
            403,
            "<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>Reference&#32;&#35;18</BODY></HTML>",
            {"server": "AkamaiGHost"},
            f"(status 403, HTML page): Access Denied, server: AkamaiGHost{FIREWALL}",
            id="Akamai",
        ),
        pytest.param(
            403, "<html><h1>403 Forbidden</h1>nginx</html>", NGINX,
            f"(status 403, HTML page): 403 Forbidden, server: nginx{FIREWALL}", id="nginx",
        ),
        pytest.param(403, "Forbidden", {}, f"(status 403, plain text): Forbidden{FIREWALL}", id="a word"),
        pytest.param(403, "", {}, f"(status 403, no body){FIREWALL}", id="nothing"),
        pytest.param(403, "\x00\ufffd", {}, f"(status 403, plain text): \ufffd{FIREWALL}", id="control characters"),
        pytest.param(
            403,
            '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access &amp; more</Message></Error>',
            {},
            f"(status 403, XML document): Access & more{FIREWALL}",
            id="XML",
        ),
        pytest.param(
            401,
            "<html><head><title>401 Authorization Required</title></head></html>",
            NGINX,
            f"(status 401, HTML page): 401 Authorization Required, server: nginx{PORTAL}",
            id="401 of a reverse proxy",
        ),
        pytest.param(
            404,
            "<html><title>Sign in to Example</title><input type=password></html>",
            {},
            f"(status 404, HTML page): Sign in to Example{PORTAL}",
            id="a login page",
        ),
        pytest.param(
            503, "<html><p>Hotel</p><input type='password'></html>", {},
            f"(status 503, HTML page): Hotel{PORTAL}", id="a form for a password",
        ),
        pytest.param(
            403, f"<title>No {KEY}</title>", {}, f"(status 403, HTML page): No ***{FIREWALL}", id="a page with the key"
        ),
    ],
)  # fmt: skip
def test_response_of_a_firewall_or_portal_is_not_a_rejected_credential(
    status: int, body: str, headers: Mapping[str, str], reason: str
) -> None:
    error = error_of(status, body, headers)
    assert (error.kind, error.reason, error.retryable) == ("blocked", f"blocked before the API {reason}", False)


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "reason"),
    [
        (401, '{"error":"bad key"}', {}, "unauthorized",
         "authentication failed (401: bad key): check the provider's api_key"),
        (401, "Unauthorized", {}, "unauthorized",
         "authentication failed (401: Unauthorized): check the provider's api_key"),
        (401, "", {}, "unauthorized", "authentication failed (401): check the provider's api_key"),
        (400, '[{"error":{"code":400,"message":"API key not valid. Please pass a valid one."}}]', {}, "unauthorized",
         "authentication failed (400: API key not valid. Please pass a valid one.): check the provider's api_key"),
        (400, '{"error":"api key is a required field"}', {}, "status", "status 400: api key is a required field"),
        (403, '{"message":"Forbidden"}', {}, "unauthorized",
         "permission denied (403: Forbidden): check the provider's api_key"),
        (403, "{}", {}, "unauthorized", "permission denied (403): check the provider's api_key"),
        (403, '{"error":{"message":"Country, region, or territory not supported"}}', {}, "unauthorized",
         "permission denied (403: Country, region, or territory not supported)"),
        (404, '{"detail":"Not Found"}', {}, "status",
         "no model list at this URL (status 404): Not Found; check base_url"),
        (404, "404 page not found", {}, "status",
         "no model list at this URL (status 404): 404 page not found; check base_url"),
        (405, "", {}, "status", "no model list at this URL (status 405); check base_url"),
        (501, "<html><h1>Not Implemented</h1>", NGINX, "status",
         "no model list at this URL (status 501, HTML page): Not Implemented, server: nginx; check base_url"),
        (400, "Client sent an HTTP request to an HTTPS server.", {}, "status",
         "status 400: Client sent an HTTP request to an HTTPS server."),
        (400, "<title>400 The plain HTTP request was sent to HTTPS port</title>", NGINX, "status",
         "status 400 (HTML page): 400 The plain HTTP request was sent to HTTPS port, server: nginx"),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", NGINX, "status",
         "status 502 (HTML page): 502 Bad Gateway, server: nginx"),
        (407, "<title>ERR</title>", {"server": "squid"}, "proxy",
         "egress proxy requires a login (status 407, HTML page): ERR, server: squid; check proxy"),
        (429, "error code: 1015", {}, "rate_limited", "rate limit exceeded (429): error code: 1015"),
        (429, "<title>Slow down</title>", {}, "rate_limited", "rate limit exceeded (429, HTML page): Slow down"),
    ],
)  # fmt: skip
def test_error_status_is_described_by_who_sent_it(
    status: int, body: str, headers: Mapping[str, str], kind: str, reason: str
) -> None:
    error = error_of(status, body, headers)
    assert (error.kind, error.reason) == (kind, reason)


def test_missing_login_endpoint_is_not_a_missing_list() -> None:
    assert error_of(404, "nothing here", requested=LOGIN).reason == "status 404: nothing here"


@settings(deadline=None)
@given(
    st.integers(200, 599),
    st.lists(st.sampled_from(["<html>", "<title>", "<h1", ">", "x", " ", "<p>", "&#1;", "</", "{"]), max_size=60),
    st.booleans(),
)
def test_any_page_is_described_without_secrets(status: int, parts: list[str], at_end: bool) -> None:
    body = "".join(parts)
    reason = error_of(status, body + KEY if at_end else KEY + body).reason
    assert KEY not in reason
    assert len(reason) < 600


def test_page_that_never_closes_its_elements_is_described_quickly() -> None:
    start = time.process_time()
    error_of(403, "<title>" * 9000)
    error_of(403, "<h1 " * 16_000)
    error_of(403, "<p>" + " " * 60_000)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param(
            "https://new.example/v1/models?page=1",
            "to https://new.example/v1/models not followed: set base_url to https://new.example/v1",
            id="another host",
        ),
        pytest.param(
            "https://new.example:8443/api/v1/models/",
            "to https://new.example:8443/api/v1/models/ not followed: set base_url to https://new.example:8443/api/v1",
            id="another host, with a slash",
        ),
        pytest.param(
            "https://user:pass@new.example/",
            "to https://new.example/ not followed: update base_url",
            id="with a login",
        ),
        pytest.param("//[::1]:80/x", "to https://[::1]:80/x not followed: update base_url", id="IPv6"),
        pytest.param(
            "/elsewhere", "to https://models.example/elsewhere not followed: update base_url", id="another path"
        ),
        pytest.param(
            "/v2/models;jsessionid=1",
            "to https://models.example/v2/models not followed: update base_url",
            id="with a session",
        ),
        pytest.param(
            "http://models.example/v2/models",
            "to http://models.example/v2/models not followed: its target is not encrypted, check base_url",
            id="without TLS",
        ),
        pytest.param(
            "/v1/models/",
            "to https://models.example/v1/models/ not followed: use kind `custom` with `list: {path: /models/}`",
            id="a slash, again",
        ),
        pytest.param(
            "/v1/models?cookie=1",
            "to the same URL not followed: a proxy or firewall in front of the API may require cookies or a login",
            id="the same URL",
        ),
        pytest.param(
            f"https://idp.example/start?next={KEY}",
            "to a login page (https://idp.example/start) not followed: a proxy or portal in front of the API requires "
            "a login, or base_url is wrong",
            id="the host of a login",
        ),
        pytest.param(
            "/ui/login?next=/v1/models",
            "to a login page (https://models.example/ui/login) not followed: a proxy or portal in front of the API "
            "requires a login, or base_url is wrong",
            id="the path of a login",
        ),
        pytest.param("", "without a target: check base_url", id="nothing"),
        pytest.param("https://[nowhere/", "to an invalid URL not followed: check base_url", id="an invalid address"),
        pytest.param("file:///etc/passwd", "to an invalid URL not followed: check base_url", id="a file"),
        pytest.param("/" + "a" * 9000, "to an invalid URL not followed: check base_url", id="too long"),
        pytest.param(
            "https://a\x1b;b.example/", "to https://ab.example/ not followed: update base_url", id="control characters"
        ),
        pytest.param(
            f"https://new.example/{quote(KEY)}/models",
            "to https://new.example/***/***/models not followed: update base_url",
            id="the key in the path",
        ),
    ],
)
def test_redirect_error_names_the_target_and_the_setting_without_secrets(location: str, reason: str) -> None:
    error = error_of(302, headers={"location": location})
    assert (error.kind, error.reason, error.retryable) == ("redirect", f"redirect (302) {reason}", False)


def test_redirect_of_a_login_names_the_url_of_the_login() -> None:
    error = error_of(308, headers={"location": "/oauth2/token"}, requested=LOGIN)
    assert error.reason == (
        "redirect (308) to https://login.example/oauth2/token not followed: "
        "set oauth.url to https://login.example/oauth2/token"
    )


def test_status_error_contains_retry_after() -> None:
    error = error_of(503, '{"detail":"busy"}', {"retry-after": "9999"})
    assert (error.kind, error.reason, error.retryable, error.retry_after) == ("status", "status 503: busy", True, 3600)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (httpx.ConnectError("x"), "proxy", "egress proxy: connection failed; check proxy"),
        (httpx.ReadTimeout("x"), "timeout", "timed out: no data for 1 s"),
    ],
)
def test_egress_proxy_is_named_where_no_connection_leads_to_the_provider(
    error: Exception, kind: str, reason: str
) -> None:
    shown = from_exception(error, 1.0, via_proxy=True)
    assert (shown.kind, shown.reason) == (kind, reason)


# -- exceptions --------------------------------------------------------------------------------------------------------


def led_to(error: Exception, *causes: BaseException) -> Exception:
    """`error` as httpx raises it: its causes are in `__context__`."""
    last: BaseException = error
    for cause in causes:
        last.__context__ = cause
        last = cause
    return error


REQUEST = httpx.Request("GET", f"https://models.example/?key={KEY}")


@pytest.mark.parametrize(
    ("error", "kind", "reason", "retryable"),
    [
        pytest.param(
            led_to(httpx.ConnectError("x"), OSError(), ExceptionGroup("x", [ConnectionRefusedError()])),
            "connection_refused",
            "connection refused",
            True,
            id="refused on every address",
        ),
        pytest.param(httpx.ConnectError("x"), "connection_refused", "connection failed", True, id="unreachable"),
        pytest.param(led_to(httpx.ConnectError("x"), socket.gaierror()), "dns", "DNS lookup failed", True, id="dns"),
        pytest.param(
            led_to(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x")),
            "tls",
            "TLS handshake failed: protocol error",
            False,
            id="not TLS",
        ),
        pytest.param(
            led_to(httpx.ConnectError("x"), ssl.SSLEOFError()),
            "connection_reset",
            "connection closed during the TLS handshake",
            True,
            id="closed during the handshake",
        ),
        pytest.param(
            led_to(httpx.ConnectTimeout("x"), TimeoutError(), ssl.SSLWantReadError()),
            "timeout",
            "timed out: no connection after 3.33 s",
            True,
            id="a connection timeout",
        ),
        pytest.param(httpx.ReadTimeout("x"), "timeout", "timed out: no data for 3.33 s", True, id="silence"),
        pytest.param(
            led_to(httpx.ReadError("x"), ConnectionResetError(), ssl.SSLWantReadError()),
            "connection_reset",
            "connection closed before the response was complete",
            True,
            id="connection_reset",
        ),
        pytest.param(
            httpx.RemoteProtocolError("Server disconnected without sending a response."),
            "connection_reset",
            "connection closed before the response was complete",
            True,
            id="closed without a response",
        ),
        pytest.param(
            httpx.RemoteProtocolError("illegal status line"),
            "invalid_response",
            "returned an invalid HTTP response (malformed, or too many headers)",
            False,
            id="not HTTP",
        ),
        pytest.param(
            httpx.LocalProtocolError(f"Illegal header value b'{KEY} '"),
            "invalid_response",
            "request not sent: invalid header value; check headers and api_key",
            False,
            id="a header that cannot be sent",
        ),
        pytest.param(
            httpx.ProxyError("407 Proxy Authentication Required"),
            "proxy",
            "egress proxy refused the connection (status 407)",
            False,
            id="a proxy that requires a login",
        ),
        pytest.param(
            httpx.ProxyError("502 Bad Gateway"),
            "proxy",
            "egress proxy refused the connection (status 502)",
            True,
            id="502",
        ),
        pytest.param(httpx.ProxyError("x"), "proxy", "egress proxy refused the connection", True, id="a proxy"),
        pytest.param(
            OSError(5, KEY), "connection_reset", "connection closed before the response was complete", True, id="I/O"
        ),
        pytest.param(
            httpx.InvalidURL(KEY), "invalid_response", "request failed (InvalidURL)", False, id="an invalid URL"
        ),
        pytest.param(ValueError(KEY), "invalid_response", "request failed (ValueError)", False, id="anything"),
    ],
)
def test_exception_is_described_by_its_class_and_never_by_its_text(
    error: Exception, kind: str, reason: str, retryable: bool
) -> None:
    if isinstance(error, httpx.RequestError):
        error.request = REQUEST
    shown = from_exception(error, 10 / 3)
    assert (shown.kind, shown.reason, shown.retryable) == (kind, reason, retryable)


def test_certificate_error_quotes_the_reason_of_openssl() -> None:
    refusal = ssl.SSLCertVerificationError()
    refusal.verify_message = "certificate has expired"
    shown = from_exception(led_to(httpx.ConnectError("x"), refusal), 1.0)
    assert (shown.kind, shown.reason) == ("tls", "TLS certificate verification failed: certificate has expired")
    assert not shown.retryable


def test_cyclic_exception_chain_is_handled() -> None:
    first, second = httpx.ReadError("x"), OSError()
    first.__context__, second.__cause__ = second, first
    assert from_exception(first, 1.0).kind == "connection_reset"


def test_timeout_error_shows_its_limit() -> None:
    error = timed_out(10 / 3, "response")
    assert isinstance(error, UpstreamError)
    assert (error.kind, error.reason, error.retryable) == (
        "timeout",
        "timed out: response incomplete after 3.33 s",
        True,
    )

"""Errors of providers: `Retry-After`, error messages, and exceptions of the HTTP library."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamError
from proxy.upstream.errors import from_exception, from_status, retry_after, timed_out

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


@pytest.mark.parametrize(
    ("location", "place"),
    [
        pytest.param("https://login.example:8443/x?key=1", "to login.example:8443", id="a host and a port"),
        pytest.param("https://user:secret@login.example/", "to login.example", id="with a login"),
        pytest.param("//[::1]:80/", "to [::1]:80", id="IPv6"),
        pytest.param("/elsewhere", "to another path", id="a path"),
        pytest.param("", "to another path", id="nothing"),
        pytest.param("https://[nowhere/", "to an invalid URL", id="an invalid address"),
        pytest.param("https://a\x1b;b.example/", "to ab.example", id="control characters"),
        pytest.param(f"https://{KEY}.example/", "to a host that contains a secret", id="the API key"),
    ],
)
def test_redirect_error_shows_only_the_target_host(location: str, place: str) -> None:
    error = from_status(httpx.Response(302, headers={"location": location}), b"", [KEY], NOW)
    assert (error.kind, error.retryable) == ("redirect", False)
    assert error.reason == f"redirect (302) {place} not followed: update base_url"


def test_status_error_contains_retry_after() -> None:
    error = from_status(httpx.Response(503, headers={"retry-after": "9999"}), b'{"detail":"busy"}', [], NOW)
    assert (error.kind, error.reason, error.retryable, error.retry_after) == ("status", "status 503: busy", True, 3600)


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

"""Map failures of HTTP and responses other than 2xx to UpstreamError: one sentence without secrets."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from proxy.dialects import error_message_in
from proxy.errors import UpstreamError
from proxy.upstream.redaction import contains_secret, redact

MAX_COOL_DOWN = 3600.0
"""Seconds; a longer `Retry-After` is capped here."""
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
# Texts of httpcore and h11 for a connection that the peer closed: one exception class covers this and invalid HTTP.
_CLOSED_TEXTS = ("disconnected", "closed connection")


def retry_after(values: Iterable[str], now: float) -> float | None:
    """Seconds to wait from `Retry-After` headers, 0 to an hour; None if none is a whole number or a date.

    `now` is Unix seconds. A date in the past means now; with several headers the longest wait counts.
    """
    waits = [seconds for value in values if (seconds := _seconds_to_wait(value.strip(), now)) is not None]
    return min(max(waits), MAX_COOL_DOWN) if waits else None


def _seconds_to_wait(value: str, now: float) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # HTTP dates are in GMT, with or without a zone (the asctime format has none).
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def from_status(
    response: httpx.Response, body: bytes, secrets: Sequence[str], now: float, *, credential: str = "api_key"
) -> UpstreamError:
    """The error for a response other than 2xx; `body` is what could be read of it.

    `credential` is the setting to check if the provider rejects the request with 401 or 403.
    """
    status = response.status_code
    if 300 <= status < 400:
        target = _redirect_target(response.headers.get("location", ""), secrets)
        return UpstreamError("redirect", f"redirect ({status}) to {target} not followed: update base_url")
    message = redact(error_message_in(body), secrets)
    suffix = f": {message}" if message else ""
    if status in (401, 403):
        what = "authentication failed" if status == 401 else "permission denied"
        return UpstreamError("unauthorized", f"{what} ({status}{suffix}): check the provider's {credential}")
    is_limited = status == 429
    return UpstreamError(
        "rate_limited" if is_limited else "status",
        f"{'rate limit exceeded (429)' if is_limited else f'status {status}'}{suffix}",
        retryable=status in _RETRYABLE,
        retry_after=retry_after(response.headers.get_list("retry-after"), now),
    )


def from_exception(error: Exception, limit: float) -> UpstreamError:
    """The error for a failed request, from exception classes alone: their texts may contain a URL."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UpstreamError("tls", f"TLS certificate verification failed: {cause.verify_message}")
        if isinstance(cause, ssl.SSLEOFError):
            reason = "connection closed during the TLS handshake"
            return UpstreamError("connection_reset", reason, retryable=True)
        if isinstance(cause, ssl.SSLError):
            return UpstreamError("tls", f"TLS handshake failed: {getattr(cause, 'reason', None) or 'protocol error'}")
        if isinstance(cause, socket.gaierror):
            return UpstreamError("dns", "DNS lookup failed", retryable=True)
        if isinstance(cause, ConnectionRefusedError):
            return UpstreamError("connection_refused", "connection refused", retryable=True)
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamError("timeout", f"timed out: no connection after {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.TimeoutException):
        return UpstreamError("timeout", f"timed out: no data for {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.ProxyError):
        status = re.match(r"[0-9]{3}", str(error))  # "407 Proxy Authentication Required"
        note, retryable = (f" (status {status[0]})", int(status[0]) in _RETRYABLE) if status else ("", True)
        return UpstreamError("proxy", f"egress proxy refused the connection{note}", retryable=retryable)
    if isinstance(error, httpx.ConnectError):
        return UpstreamError("connection_refused", "connection failed", retryable=True)
    if isinstance(error, httpx.LocalProtocolError):
        reason = "request not sent: invalid header value; check headers and api_key"
        return UpstreamError("invalid_response", reason)
    if isinstance(error, httpx.RemoteProtocolError) and not any(text in str(error) for text in _CLOSED_TEXTS):
        reason = "returned an invalid HTTP response (malformed, or too many headers)"
        return UpstreamError("invalid_response", reason)
    if isinstance(error, httpx.TransportError | OSError):
        return UpstreamError("connection_reset", "connection closed before the response was complete", retryable=True)
    return UpstreamError("invalid_response", f"request failed ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all its causes. httpcore raises `from None`, so contexts are included."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        cause = pending.pop()
        if id(cause) in seen or isinstance(cause, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            continue  # not a failure: TLS waits for more data
        seen.add(id(cause))
        yield cause
        pending += [inner for inner in (cause.__cause__, cause.__context__) if inner is not None]
        pending += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def timed_out(limit: float, what: str) -> UpstreamError:
    """The error for a response, login or list (`what`) that was not complete after `limit` seconds."""
    return UpstreamError("timeout", f"timed out: {what} incomplete after {limit:.3g} s", retryable=True)


def _redirect_target(url: str, secrets: Sequence[str]) -> str:
    host = _host(url)
    if not host:
        return "another path"
    return "a host that contains a secret" if contains_secret(host, secrets) else host


def _host(url: str) -> str:
    """Host and port of an untrusted URL, without user info and characters invalid in a host; "" if it has no host."""
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        return "an invalid URL"
    return re.sub(r"[^A-Za-z0-9.:\[\]-]", "", netloc.rpartition("@")[2])[:100]

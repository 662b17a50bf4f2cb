"""Failures of HTTP and responses other than 2xx -> UpstreamError, in one sentence without secrets."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from proxy.dialects import reason_in
from proxy.errors import UpstreamError
from proxy.upstream.redaction import contains_secret, redact

MAX_COOL_DOWN = 3600.0
"""Seconds; a longer `Retry-After` is cut to it."""
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
# In texts of httpcore and h11: the peer closed the connection. They have one class for this and for invalid HTTP.
_CLOSED = ("disconnected", "closed connection")


def retry_after(values: Iterable[str], now: float) -> float | None:
    """Seconds to wait from `Retry-After` headers, 0 to an hour; None where none is a whole number or a date.

    `now` is Unix seconds. A date in the past means now; of several headers the longest counts.
    """
    waits = [seconds for value in values if (seconds := _seconds_to_wait(value.strip(), now)) is not None]
    return min(max(waits), MAX_COOL_DOWN) if waits else None


def _seconds_to_wait(value: str, now: float) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # Dates of HTTP are in GMT, with or without a zone (asctime's form has none).
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def from_status(response: httpx.Response, body: bytes, secrets: Sequence[str], now: float) -> UpstreamError:
    """The error for a response other than 2xx; `body` is what could be read of it."""
    status = response.status_code
    if 300 <= status < 400:
        host = _host(response.headers.get("location", ""))
        place = "to another path" if not host else "to a host that names our credential"
        if host and not contains_secret(host, secrets):
            place = f"to {host}"
        return UpstreamError("redirect", f"redirects ({status}) {place}, which is never followed; mend base_url")
    message = redact(reason_in(body), secrets)
    reason = f"status {status}{f': {message}' if message else ''}"
    if status in (401, 403):
        return UpstreamError("unauthorized", f"our credential was refused, {reason}")
    return UpstreamError(
        "rate_limited" if status == 429 else "status",
        reason,
        retryable=status in _RETRYABLE,
        retry_after=retry_after(response.headers.get_list("retry-after"), now),
    )


def from_exception(error: Exception, limit: float) -> UpstreamError:
    """The error for a failed exchange, from the classes of exceptions alone: their texts may contain a URL."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UpstreamError("tls", f"its certificate is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLEOFError):
            reason = "broke the connection off during the TLS handshake"
            return UpstreamError("connection_reset", reason, retryable=True)
        if isinstance(cause, ssl.SSLError):
            return UpstreamError("tls", f"no TLS connection: {getattr(cause, 'reason', None) or 'protocol error'}")
        if isinstance(cause, socket.gaierror):
            return UpstreamError("dns", "its host name cannot be found", retryable=True)
        if isinstance(cause, ConnectionRefusedError):
            return UpstreamError("connection_refused", "refuses connections", retryable=True)
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamError("timeout", f"no connection within {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.TimeoutException):
        return UpstreamError("timeout", f"sent nothing for {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.ProxyError):
        status = re.match(r"[0-9]{3}", str(error))  # "407 Proxy Authentication Required"
        note, retryable = (f" (status {status[0]})", int(status[0]) in _RETRYABLE) if status else ("", True)
        return UpstreamError("proxy", f"the proxy refused to connect{note}", retryable=retryable)
    if isinstance(error, httpx.ConnectError):
        return UpstreamError("connection_refused", "cannot be reached", retryable=True)
    if isinstance(error, httpx.LocalProtocolError):
        return UpstreamError("invalid_response", "cannot be asked: a header that is to be sent is not valid")
    if isinstance(error, httpx.RemoteProtocolError) and not any(words in str(error) for words in _CLOSED):
        return UpstreamError("invalid_response", "answered something that is no HTTP, or far too many headers")
    if isinstance(error, httpx.TransportError | OSError):
        return UpstreamError("connection_reset", "broke the connection off before its answer was whole", retryable=True)
    return UpstreamError("invalid_response", f"cannot be asked or understood ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything that led to it. (httpcore raises `from None`, so contexts count, too.)"""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen or isinstance(cause, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            continue  # not a failure: TLS waits for data
        seen.add(id(cause))
        yield cause
        waiting += [inner for inner in (cause.__cause__, cause.__context__) if inner is not None]
        waiting += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def timed_out(limit: float, what: str) -> UpstreamError:
    """The error for a response that did not end within `limit` seconds."""
    return UpstreamError("timeout", f"{what} took longer than {limit:.3g} s", retryable=True)


def _host(url: str) -> str:
    """Host and port of an untrusted URL, without a login and without characters that no host has; "" if none."""
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        return "an address that is none"
    return re.sub(r"[^A-Za-z0-9.:\[\]-]", "", netloc.rpartition("@")[2])[:100]

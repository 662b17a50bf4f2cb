"""Map failures of HTTP and responses other than 2xx to UpstreamError: one sentence without secrets."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from proxy.dialects import ErrorBody, describe_body, rejects_key
from proxy.errors import ListErrorKind, UpstreamError
from proxy.upstream.redaction import redact
from proxy.upstream.redirects import Requested, describe_redirect

MAX_COOL_DOWN = 3600.0
"""Seconds; a longer `Retry-After` is capped here."""
_MAX_WAIT = 1e9  # seconds; a number of hundreds of digits is infinite
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_NOTHING_THERE = frozenset({404, 405, 410, 501})
# Cloudflare, AWS WAF, Vercel. AWS sends its challenges with status 202 and 405.
_FIREWALL_HEADERS = frozenset({"cf-mitigated", "x-amzn-waf-action", "x-vercel-mitigated"})
_BLOCKED = {
    False: "a firewall or proxy rejects the request: check base_url and the network, or set another `User-Agent` in "
    "`headers`",
    True: "a proxy or portal requires a login: check base_url and the network",
}
"""What to do about a blocked request, by whether the response requires a login."""
# Messages of APIs that reject a request with 403 whatever its credential.
_NOT_THE_CREDENTIAL = re.compile(
    r"\b(?:country|region|territory|location|ip address|your ip|whitelist|allowlist|billing|balance|overdue|arrears?|"
    r"suspended)\b",
    re.IGNORECASE,
)
# Reasons of OpenSSL for a peer that does not use TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
# Texts of httpcore and h11 for a connection that the peer closed: one exception class covers this and invalid HTTP.
_CLOSED_TEXTS = ("disconnected", "closed connection")


def retry_after(values: Iterable[str], now: float) -> float | None:
    """Seconds to wait from `Retry-After` headers, 0 to an hour; None if none is a whole number or a date.

    `now` is Unix seconds. A date in the past means now; with several headers the longest wait counts.
    """
    seconds = seconds_to_wait(values, now)
    return None if seconds is None else min(seconds, MAX_COOL_DOWN)


def seconds_to_wait(values: Iterable[str], now: float) -> float | None:
    """`retry_after` as the provider sent it, however long."""
    waits = [seconds for value in values if (seconds := _seconds_to_wait(value.strip(), now)) is not None]
    return min(max(waits), _MAX_WAIT) if waits else None


def _seconds_to_wait(value: str, now: float) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # HTTP dates are in GMT, with or without a zone (the asctime format has none).
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def is_blocked(response: httpx.Response) -> bool:
    """Whether a firewall marked this response, of any status, as its own."""
    return not _FIREWALL_HEADERS.isdisjoint(response.headers)


def from_status(
    response: httpx.Response, body: bytes, secrets: Sequence[str], now: float, requested: Requested
) -> UpstreamError:
    """The error for a response other than a list; `body` is what could be read of it.

    The credential is reported as the cause only if the API itself rejects it.
    """
    status = response.status_code
    content = describe_body(body)
    kind, reason = _describe(response, content, secrets, requested)
    return UpstreamError(
        kind,
        reason,
        retryable=status in _RETRYABLE and kind != "blocked",
        retry_after=retry_after(response.headers.get_list("retry-after"), now),
    )


def _describe(
    response: httpx.Response, content: ErrorBody, secrets: Sequence[str], requested: Requested
) -> tuple[ListErrorKind, str]:
    status = response.status_code
    if 300 <= status < 400:
        return "redirect", describe_redirect(status, response.headers.get("location", ""), requested, secrets)
    quoted = _quoted(response, content, secrets)
    form = f", {content.form}" if content.is_markup else ""
    if _comes_from_elsewhere(response, content):
        hint = _BLOCKED[content.is_login or status == 401]
        return "blocked", f"blocked before the API (status {status}, {content.form}){quoted}; {hint}"
    if status == 401 or (status == 400 and rejects_key(content.text)):
        return "unauthorized", f"authentication failed ({status}{quoted}): check the provider's {requested.credential}"
    if status == 403:
        return "unauthorized", f"permission denied (403{quoted}){_permission_hint(content.text, requested)}"
    if status == 407:
        return "proxy", f"egress proxy requires a login (status 407{form}){quoted}; check proxy"
    if status == 429:
        return "rate_limited", f"rate limit exceeded (429{form}){quoted}"
    if status in _NOTHING_THERE and requested.missing:
        return "status", f"no model list at this URL (status {status}{form}){quoted}; {requested.missing}"
    return "status", f"status {status}{f' ({content.form})' if form else ''}{quoted}"


def _comes_from_elsewhere(response: httpx.Response, content: ErrorBody) -> bool:
    """Whether a firewall, a proxy or a portal sent the response, not the API."""
    if is_blocked(response) or content.is_firewall or (content.is_markup and content.is_login):
        return True
    return content.is_markup if response.status_code == 401 else response.status_code == 403 and content.form != "JSON"


def _quoted(response: httpx.Response, content: ErrorBody, secrets: Sequence[str]) -> str:
    """The text of the body; with pages also the name of the server that sent them."""
    server = re.sub(r"[^!-~]+", " ", response.headers.get("server", ""))[:40].strip() if content.is_markup else ""
    parts = [content.text, f"server: {server}" if server else ""]
    shown = redact(", ".join(filter(None, parts)), secrets)
    return f": {shown}" if shown else ""


def _permission_hint(message: str, requested: Requested) -> str:
    if _NOT_THE_CREDENTIAL.search(message):
        return ""
    return f": check the provider's {requested.credential}"


def from_exception(error: Exception, limit: float, *, via_proxy: bool = False) -> UpstreamError:
    """The error for a failed request, from exception classes alone: their texts may contain a URL.

    `via_proxy`: the connection leads to an egress proxy, so what prevents it is not the provider.
    """
    failure = _of_exception(error, limit)
    if via_proxy and failure.kind in ("dns", "connection_refused"):
        return UpstreamError("proxy", f"egress proxy: {failure.reason}; check proxy", retryable=failure.retryable)
    return failure


def _of_exception(error: Exception, limit: float) -> UpstreamError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UpstreamError("tls", f"TLS certificate verification failed: {cause.verify_message}")
        if isinstance(cause, ssl.SSLEOFError):
            reason = "connection closed during the TLS handshake"
            return UpstreamError("connection_reset", reason, retryable=True)
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "reason", None) or "protocol error"
            hint = "; the port does not use TLS, check the scheme of the URL" if reason in _NOT_TLS else ""
            return UpstreamError("tls", f"TLS handshake failed: {reason}{hint}")
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

"""Why a provider could not be asked or its answer not be used, in one sentence that holds no secret."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from proxy.dialects import reason_in
from proxy.errors import UpstreamError

LONGEST_COOL_DOWN = 3600.0
"""Seconds; a longer `Retry-After` is not believed."""
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


def retry_after(values: Iterable[str], now: float) -> float | None:
    """Seconds to wait from `Retry-After` headers, 0 to an hour; None where none is a whole number or a date.

    `now` is Unix seconds. A date in the past means now; of several headers the longest counts.
    """
    waits = [seconds for value in values if (seconds := _seconds_to_wait(value.strip(), now)) is not None]
    return min(max(waits), LONGEST_COOL_DOWN) if waits else None


def _seconds_to_wait(value: str, now: float) -> float | None:
    if re.fullmatch(r"[0-9]{1,18}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def refused(response: httpx.Response, secrets: Sequence[str], now: float) -> UpstreamError:
    """Why an answer other than 2xx was given."""
    status = response.status_code
    if 300 <= status < 400:
        host = urlsplit(response.headers.get("location", "")).netloc.rpartition("@")[2]
        place = f"to {_one_word(host)}" if host else "to another path"
        return UpstreamError("redirect", f"redirects ({status}) {place}, which is never followed; mend base_url")
    said = scrubbed(reason_in(response.content), secrets)
    reason = f"status {status}{f': {said}' if said else ''}"
    if status in (401, 403):
        return UpstreamError("unauthorized", f"our credential was refused, {reason}")
    return UpstreamError(
        "rate_limited" if status == 429 else "status",
        reason,
        retryable=status in _RETRYABLE,
        retry_after=retry_after(response.headers.get_list("retry-after"), now),
    )


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """A provider's text without what looks like a credential: our own, whole or masked, and any long random word."""
    hints = [part for secret in secrets if len(secret) >= 8 for part in (secret[:5], secret[-4:])]

    def word(match: re.Match[str]) -> str:
        found = match[0]
        random = len(found) >= 20 and re.search(r"[0-9]", found) and re.search(r"[A-Za-z]", found)
        return "***" if "**" in found or random or any(hint in found for hint in hints) else found

    return re.sub(r"[A-Za-z0-9_\-*.+/=~]+", word, text)


def failed(error: Exception, limit: float) -> UpstreamError:
    """Why there was no answer at all, told by classes: texts of foreign exceptions may hold a URL."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UpstreamError("tls", f"its certificate is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return UpstreamError("tls", f"no TLS connection: {cause.reason or 'protocol error'}")
        if isinstance(cause, socket.gaierror):
            return UpstreamError("dns", "its host name cannot be found", retryable=True)
        if isinstance(cause, ConnectionRefusedError):
            return UpstreamError("refused", "refuses connections", retryable=True)
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamError("timeout", f"no connection within {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.TimeoutException):
        return UpstreamError("timeout", f"sent nothing for {limit:.3g} s", retryable=True)
    if isinstance(error, httpx.ProxyError):
        return UpstreamError("proxy", "the proxy refused to connect", retryable=True)
    if isinstance(error, httpx.ConnectError):
        return UpstreamError("refused", "cannot be reached", retryable=True)
    if isinstance(error, httpx.TransportError | OSError):
        return UpstreamError("reset", "broke the connection off before its answer was whole", retryable=True)
    return UpstreamError("garbled", f"cannot be asked or understood ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [inner for inner in (cause.__cause__, cause.__context__) if inner is not None]
        waiting += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def timed_out(limit: float, what: str, attempts: int) -> UpstreamError:
    error = UpstreamError("timeout", f"{what} took longer than {limit:.3g} s", retryable=True)
    error.attempts = attempts
    return error


def _one_word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.:\[\]-]", "", text)[:100]

"""Cookies of the status page.

On HTTPS, the name of a cookie begins with `__Host-`: no other host, and no page without HTTPS, can set it. Browsers
accept such names and `Secure` on HTTPS only, apart from some on loopback addresses, so cookies have other names there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from urllib.parse import urlsplit

from proxy.asgi import Header
from proxy.config.addresses import is_loopback

SESSION = "models-proxy-session"
LOGIN = "models-proxy-login"
"""The state of a login at an issuer."""
_PREFIX = "__Host-"


def cookie_value(headers: Iterable[Header], name: str) -> bytes | None:
    """Return the value of one of these cookies, None if it is missing or repeated. `name`: without the prefix."""
    headers = [*headers]
    names = [_PREFIX + name, name] if is_on_loopback(headers) else [_PREFIX + name]
    cookies = b";".join(value for header, value in headers if header == b"cookie")
    for each in names:
        if values := _values_of(each).findall(cookies):
            return bytes(values[0]) if len(values) == 1 else None
    return None


@cache
def _values_of(name: str) -> re.Pattern[bytes]:
    """Finds the values of a cookie: in one pass, because clients can send thousands of others."""
    return re.compile(rb"(?:^|;)[ \t]*%b=([^;]*)" % re.escape(name.encode()))


def set_cookie(name: str, value: str, seconds: int, *, secure: bool, is_strict: bool = True) -> Header:
    """Return the header that sets a cookie for this host, or deletes it (0 seconds).

    `is_strict`: whether it is sent with navigations from this site only.
    """
    prefix, suffix = (_PREFIX, "; Secure") if secure else ("", "")
    same_site = "Strict" if is_strict else "Lax"
    text = f"{prefix}{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{suffix}"
    return b"set-cookie", text.encode()


def is_on_loopback(headers: Iterable[Header]) -> bool:
    """Whether a request was sent to a loopback address or name, by its header `Host`."""
    hosts = [value for name, value in headers if name == b"host"]
    return len(hosts) == 1 and _is_loopback_host(hosts[0])


def has_secure_cookies(headers: Iterable[Header]) -> bool:
    """Whether cookies are set for HTTPS: always, unless the page is one of a loopback address without it.

    The header `Origin` of the page has precedence over `Host`, which a reverse proxy may have replaced.
    """
    headers = [*headers]
    origins = [value for name, value in headers if name == b"origin"]
    if len(origins) == 1 and origins[0] != b"null":
        scheme, _, host = origins[0].partition(b"://")
        return scheme != b"http" or not _is_loopback_host(host)
    return not is_on_loopback(headers)


def _is_loopback_host(value: bytes) -> bool:
    try:
        host = urlsplit("//" + value.decode("latin-1")).hostname or ""
    except ValueError:
        return False
    host = host.removesuffix(".")
    return host.endswith(".localhost") or is_loopback(host)

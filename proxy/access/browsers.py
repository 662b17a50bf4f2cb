"""Protect from web pages what browsers can send for them without a key.

A proxy without keys: any page that its user visits can send requests to loopback addresses.

A page of a foreign origin cannot read responses, but some requests are sent all the same; and a page whose host name
resolves to a loopback address (DNS rebinding) has the origin of the proxy. With keys none of this is a risk: a page
does not have a key, and browsers do not add it.

Behind a login proxy: it adds the identity or a token of the user to all requests of the browser, also to those of a
foreign page.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.asgi import Header
from proxy.config.addresses import is_loopback
from proxy.config.server import Server
from proxy.errors import ContentTypeRequired, HostNotAllowed, OriginNotAllowed

_NAMES = (b"sec-fetch-site", b"origin", b"host")
_SIMPLE_TYPES = (b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data")
"""Content types that pages of any origin can send (Fetch, 2.2.2, CORS-safelisted request headers)."""


class BrowserGuard:
    """Rejects requests to a proxy without keys that a foreign web page may have sent."""

    def __init__(self, server: Server) -> None:
        self._origins = frozenset(origin.encode() for origin in server.cors)
        self._hosts = frozenset(server.allowed_hosts)
        # A page cannot have the origin of an address that is not its own, so addresses are no risk.
        self._allows_addresses = server.allow_anonymous
        # Bounded, because clients control its keys.
        self._allows_host = lru_cache(maxsize=256)(self._is_allowed)

    def check(self, headers: Iterable[Header]) -> None:
        """Raises HostNotAllowed and OriginNotAllowed. A request without `Host` is no browser's."""
        for name, value in headers:
            if name == b"host":
                if not self._allows_host(value):
                    raise HostNotAllowed(_host_name(value))
            elif name == b"origin" and value not in self._origins:
                raise OriginNotAllowed

    @staticmethod
    def check_content_type(headers: Iterable[Header]) -> None:
        """Raises ContentTypeRequired for a body that pages can send without the permission of the proxy (CORS)."""
        content_types = [value for name, value in headers if name == b"content-type"]
        media_type = _media_type(content_types[0]) if len(content_types) == 1 else b""
        is_json = media_type == b"application/json" or media_type.endswith(b"+json")
        if not is_json and media_type != b"multipart/form-data":
            raise ContentTypeRequired

    def _is_allowed(self, value: bytes) -> bool:
        host = _host_name(value)
        if host in self._hosts or host.endswith(".localhost") or is_loopback(host):
            return True
        return self._allows_addresses and _is_address(host)


def check_page(method: str, headers: Iterable[Header], server: Server, *, has_credential: bool) -> None:
    """Raises OriginNotAllowed for a request of a page of another origin, unless that is in `server.cors`.

    `has_credential`: whether a header contains one. A page can set it only in requests for which its browser sends a
    preflight.
    """
    headers = [*headers]
    if has_credential and not _is_sent_without_preflight(method, headers):
        return
    if is_of_another_origin(headers, server.public_url):
        origins = [value for name, value in headers if name == b"origin"]
        if len(origins) != 1 or origins[0].decode("latin-1") not in server.cors:
            raise OriginNotAllowed(
                "requests with a user's login are accepted only from web pages of the proxy and of configured origins"
            )


def is_of_another_origin(headers: Iterable[Header], public_url: str | None, *, must_be_known: bool = False) -> bool:
    """Whether a browser has sent a request for a page of another origin.

    `public_url`: the URL of this server. `must_be_known`: the result without `Sec-Fetch-Site` and `Origin`, which all
    browsers send.
    """
    given: dict[bytes, list[bytes]] = {name: [] for name in _NAMES}
    for name, value in headers:
        if name in given:
            given[name].append(value)
    sites, origins, hosts = given.values()
    if any(len(values) > 1 for values in (sites, origins, hosts)):
        return True
    if sites:  # sent on HTTPS and loopback only
        return sites[0] != b"same-origin"
    if origins:
        own = {hosts[0].lower()} if hosts else set()
        if public_url:
            own.add(urlsplit(public_url).netloc.encode().lower())
        return origins[0].partition(b"://")[2].lower() not in own
    return must_be_known


def _is_sent_without_preflight(method: str, headers: Iterable[Header]) -> bool:
    """Whether a browser sends a request for a page of any origin without a preflight."""
    types = [_media_type(value) for name, value in headers if name == b"content-type"] or [b""]
    return method == "POST" and any(each in _SIMPLE_TYPES for each in types)


def _media_type(value: bytes) -> bytes:
    """`text/plain; charset=UTF-8` -> `text/plain`."""
    return value.partition(b";")[0].strip().lower()


def _host_name(value: bytes) -> str:
    """`LocalHost.:8000` -> `localhost`, `[::1]:8000` -> `::1`."""
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

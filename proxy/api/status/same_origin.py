"""Protect requests that change something from other web pages (CSRF)."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from proxy.asgi import Header
from proxy.errors import CrossSiteRequest

_NAMES = (b"sec-fetch-site", b"origin", b"host")


def check_same_origin(headers: Iterable[Header], public_url: str | None, *, must_be_known: bool = False) -> None:
    """Raises CrossSiteRequest for a request that a browser has sent for a page of another origin.

    `public_url`: the URL of this server. `must_be_known`: reject requests without an origin; all browsers send it.
    """
    given: dict[bytes, list[bytes]] = {name: [] for name in _NAMES}
    for name, value in headers:
        if name in given:
            given[name].append(value)
    sites, origins, hosts = given.values()
    if any(len(values) > 1 for values in (sites, origins, hosts)):
        raise CrossSiteRequest
    if sites:  # sent on HTTPS and loopback only
        if sites[0] != b"same-origin":
            raise CrossSiteRequest
    elif origins:
        own = {hosts[0].lower()} if hosts else set()
        if public_url:
            own.add(urlsplit(public_url).netloc.encode().lower())
        if origins[0].partition(b"://")[2].lower() not in own:
            raise CrossSiteRequest
    elif must_be_known:
        raise CrossSiteRequest

"""Protect requests that change something from other web pages (CSRF)."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.access.browsers import is_of_another_origin
from proxy.asgi import Header
from proxy.errors import CrossSiteRequest


def check_same_origin(headers: Iterable[Header], public_url: str | None, *, must_be_known: bool = False) -> None:
    """Raises CrossSiteRequest for a request that a browser has sent for a page of another origin.

    `public_url`: the URL of this server. `must_be_known`: reject requests without an origin; all browsers send it.
    """
    if is_of_another_origin(headers, public_url, must_be_known=must_be_known):
        raise CrossSiteRequest

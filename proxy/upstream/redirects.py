"""Redirects: which one is followed, and where all others lead. No text of a redirect is used in a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from proxy.upstream.redaction import redact_url

_FOLLOWED = frozenset({301, 302, 307, 308})
_LOGIN_PATH = re.compile(r"log-?in|sign-?in|signon|sso|saml|oauth|authorize|captive|portal", re.IGNORECASE)
_LOGIN_HOST = re.compile(r"(?:log-?in|sign-?in|sso|auth|accounts|idp|portal)\.", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 8192
"""Characters; a longer `Location` is invalid."""


@dataclass(frozen=True)
class Requested:
    """A request, as messages describe it."""

    url: str
    """Without query."""
    path: str
    """The end of `url` that is not in the setting `address`."""
    address: str = "base_url"
    """The setting with the URL."""
    credential: str = "api_key"
    """The setting to check if the credential is rejected."""
    missing: str = ""
    """What to do if there is nothing at this URL."""


def path_with_or_without_slash(status: int, location: str, url: str) -> str | None:
    """The path of `url` with a slash added at its end, or removed, if a redirect leads there; otherwise None.

    The scheme may differ: behind a TLS terminator, servers write `http`. The request is repeated at the own origin.
    """
    target = _target(location, url) if status in _FOLLOWED else None
    if target is None:
        return None
    requested = urlsplit(url)
    is_same_host = target.hostname == requested.hostname and (
        _port(target) == _port(requested) or _is_downgrade(requested, target)
    )
    is_slash = target.path in (requested.path + "/", requested.path.removesuffix("/")) and target.path != requested.path
    return target.path if is_same_host and is_slash else None


def describe_redirect(status: int, location: str, requested: Requested, secrets: Sequence[str]) -> str:
    """Where a redirect leads, and what to do, without secrets."""
    if not location:
        return f"redirect ({status}) without a target: check {requested.address}"
    target = _target(location, requested.url)
    if target is None:
        return f"redirect ({status}) to an invalid URL not followed: check {requested.address}"
    requested_url = urlsplit(requested.url)
    if (_origin(target), target.path) == (_origin(requested_url), requested_url.path):
        reason = "a proxy or firewall in front of the API may require cookies or a login"
        return f"redirect ({status}) to the same URL not followed: {reason}"
    shown = redact_url(_clean(target, target.path), secrets)
    is_login = _LOGIN_PATH.search(target.path) or _LOGIN_HOST.match(target.hostname or "")
    if is_login and requested.address == "base_url":
        reason = f"a proxy or portal in front of the API requires a login, or {requested.address} is wrong"
        return f"redirect ({status}) to a login page ({shown}) not followed: {reason}"
    return f"redirect ({status}) to {shown} not followed: {_hint(target, requested, secrets)}"


def _hint(target: SplitResult, requested: Requested, secrets: Sequence[str]) -> str:
    """The value to set, if it can be derived from the target."""
    if (urlsplit(requested.url).scheme, target.scheme) == ("https", "http"):
        return f"its target is not encrypted, check {requested.address}"
    path = target.path.removesuffix("/")
    if not path.endswith(requested.path):
        return f"update {requested.address}"
    if _clean(target, path) == requested.url:
        return f"use kind `custom` with `list: {{path: {requested.path}/}}`"
    url = redact_url(_clean(target, path.removesuffix(requested.path)), secrets)
    return f"update {requested.address}" if "***" in url else f"set {requested.address} to {url}"


def _target(location: str, url: str) -> SplitResult | None:
    """The absolute target of a redirect from `url`, None if it is not a valid HTTP URL."""
    try:
        target = urlsplit(urljoin(url, location[: MAX_LENGTH + 1]))
        is_valid = target.scheme in _PORTS and target.hostname and target.port != 0
    except ValueError:
        return None
    return target if location and is_valid and len(location) <= MAX_LENGTH else None


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)


def _is_downgrade(requested: SplitResult, target: SplitResult) -> bool:
    return (requested.scheme, target.scheme) == ("https", "http") and target.port in (None, 80, requested.port)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, _port(url)


def _clean(url: SplitResult, path: str) -> str:
    """A URL with a path, without user info, query and characters that are invalid."""
    host = re.sub(r"[^A-Za-z0-9.:\[\]-]", "", url.netloc.rpartition("@")[2])[:100]
    return f"{url.scheme}://{host}{re.sub(r'[^!-~]', '', path.partition(';')[0])[:100]}"

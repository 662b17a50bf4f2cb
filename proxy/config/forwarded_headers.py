"""`forward_headers`: patterns of further headers that are forwarded, and headers that never are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from proxy.patterns import Matcher, matcher

_PATTERN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~?-]+")
_NEVER: Mapping[str, tuple[str, ...]] = {
    "it can contain a credential": (
        *("*authorization*", "*authenticat*", "*-auth", "*-auth-*", "*cookie*", "*secret*", "*password*", "*jwt*"),
        *("*api-key*", "*apikey*", "*access-key*", "*subscription-key*", "*virtual-key*", "*litellm-key*"),
        *("token", "*-token", "*credential*", "*assertion*", "*signature*"),
    ),
    "it identifies an account, and all callers share the provider's account": (
        "*organization*",
        "*project*",
        "*account*",
    ),
    "callers share the provider's account, so only `idempotency-key` is forwarded, hashed": ("*idempotency*",),
    "it can select a model, a provider or another upstream, which keys do not restrict": (
        *("*model*", "*deployment*", "*provider*", "*upstream*", "*target*", "*fallback*", "*config*"),
        *("*base-url*", "*api-base*", "host", "x-host", "x-original-*", "x-rewrite-*", "*method-override*"),
        "x-http-method",
    ),
    "it contains addresses of clients": (
        "forwarded",
        "x-forwarded-*",
        "via",
        "*real-ip",
        "*client-ip",
        "*connecting-ip",
    ),
    "it applies to one connection only": (
        *("connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "expect"),
        *("http2-settings", "proxy", "proxy-*", "alt-svc", "sec-*"),
    ),
    "it removes fields from the response, such as the numbers of tokens used": ("*field-mask", "*fieldmask"),
    "it describes the body, which the proxy can change": ("content-*", "*digest", "accept-encoding", "range", "if-*"),
    "the proxy sets it for its own responses": (
        *("x-request-id", "request-id", "x-served-by", "x-models-*", "date", "server", "allow", "origin"),
        *("access-control-*", "cross-origin-*", "strict-transport-security", "x-frame-options", "clear-site-data"),
        *("cache-control", "*-cache-control", "surrogate-*", "expires", "pragma", "etag", "last-modified", "age"),
        "x-content-type-options",
        *("vary", "location", "refresh", "link", "x-accel-*", "x-sendfile*", "nel", "report-to", "reporting-endpoints"),
    ),
}
"""Reason -> patterns over names in lower case with `-` instead of `_`, which many servers treat alike."""


# Compiled at first use, because few deployments forward further headers: that would take 5 ms of each start.
@cache
def _reasons() -> Sequence[tuple[str, Matcher]]:
    return [(reason, matcher(patterns)) for reason, patterns in _NEVER.items()]


@cache
def _forbidden() -> Matcher:
    return matcher(pattern for patterns in _NEVER.values() for pattern in patterns)


def forwardable(pattern: str) -> str:
    """Return a pattern of `forward_headers` in lower case. Raises ValueError if it can only match forbidden headers."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("must be a header name or a pattern, like x-session-id or x-session-*")
    name = _unified(pattern)
    # A wildcard of the pattern must match a wildcard here, so a match of the text holds for every name it matches.
    for reason, is_forbidden in _reasons():
        if is_forbidden(name):
            raise ValueError(f"cannot be forwarded, because {reason}")
    return pattern.lower()


def header_matcher(patterns: Iterable[str], credentials: Iterable[str]) -> Matcher:
    """Return a function that returns whether a header, by its lower-case name, is forwarded.

    `credentials`: names of headers that contain the provider's own.
    """
    is_wanted = matcher(patterns)
    own = frozenset(map(_unified, credentials))

    def is_forwarded(name: str) -> bool:
        return is_wanted(name) and _unified(name) not in own and not _forbidden()(_unified(name))

    return is_forwarded


def _unified(name: str) -> str:
    return name.lower().replace("_", "-")

"""Select the provider's headers that are relayed to the client."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from proxy.asgi import Header
from proxy.inference.response.rename import is_own
from proxy.patterns import Matcher
from proxy.wire.limit_headers import PROVIDER_PREFIXES

_TYPE = b"content-type"
_OF_BODIES = frozenset({_TYPE, b"content-disposition"})
_RELAYED = _OF_BODIES | {
    b"retry-after",
    b"retry-after-ms",
    b"x-should-retry",
    b"openai-processing-ms",
    b"openai-version",
    b"x-codex-turn-state",
    b"x-reasoning-included",
}
_MODEL = b"openai-model"
_OTHER_TYPE = b"application/octet-stream"
_PASSED_TYPE = re.compile(
    rb"""
    (?: (?:application|text)/(?:[\w.+-]+\+)?json | application/(?:octet-stream|(?:x-)?(?:ndjson|jsonl(?:ines)?))
      | text/(?:event-stream|plain) | multipart/(?!x-mixed-replace)[\w.+-]+
      | (?:audio|video|image)/(?![\w.+-]*(?:svg|xml))[\w.+-]+ )
    [ ]* (?: ; (?: [^,"] | "[^"]*" )* )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Types that browsers do not run as a page or a script of this origin. Of a list, they use the last type."""
_MAX_TYPE = 256  # bytes, because types are cached
_MIN_SECRET = 8  # characters; values of configured headers, such as `true`, occur in other headers


def relayed_headers(
    raw_headers: Iterable[Header], *, own_id: str | None, model: str, has_limits: bool = False
) -> Iterator[Header]:
    """Yield the headers that are relayed with a response, with names in lower case.

    A content type that browsers run becomes `application/octet-stream`: the provider must not act as this origin.
    `own_id` is the provider's id of the requested `model`, None for any. A header with another model id is dropped,
    because it would reveal the model of an alias. `has_limits`: the caller has limits of this proxy, and gets these
    instead of the proxy's limits at the provider.
    """
    name_of = _relayed_name_without_limits if has_limits else _relayed_name
    for raw_name, value in raw_headers:
        name = name_of(raw_name)
        if not name:  # most headers of most responses
            continue
        if name == _TYPE:
            yield name, _passed_type(value[:_MAX_TYPE])
        elif name == _MODEL:
            if is_own(value.decode("latin-1"), own_id) and _is_printable(model.encode()):
                yield name, model.encode()
        elif _is_printable(value):
            yield name, value


def relayed_error_headers(raw_headers: Iterable[Header], *, own_id: str | None, model: str) -> Iterator[Header]:
    """Yield the headers that are relayed with an error: the same, without those that describe the provider's body."""
    headers = relayed_headers(raw_headers, own_id=own_id, model=model)
    return (header for header in headers if header[0] not in _OF_BODIES)


def further_headers(raw_headers: Iterable[Header], forwards: Matcher, secrets: Sequence[str]) -> Iterator[Header]:
    """Yield the headers that a provider's `forward_headers` selects, with names in lower case.

    `secrets`: of the provider; a header that contains one is dropped.
    """
    for raw_name, value in raw_headers:
        name = raw_name.lower()
        if not _relayed_name(raw_name) and forwards(name.decode("latin-1")) and _is_printable(value):
            text = value.decode()
            if not any(secret in text for secret in secrets if len(secret) >= _MIN_SECRET):
                yield name, value


@lru_cache(maxsize=1024)
def _relayed_name(raw_name: bytes) -> bytes:
    """Return the name of a header that may be relayed in lower case, b"" for any other.

    Cached, because providers send the same headers with every response.
    """
    name = raw_name.lower()
    return name if name in _RELAYED or name == _MODEL or name.startswith(PROVIDER_PREFIXES) else b""


@lru_cache(maxsize=1024)
def _relayed_name_without_limits(raw_name: bytes) -> bytes:
    name = _relayed_name(raw_name)
    return b"" if name.startswith(PROVIDER_PREFIXES) else name


@lru_cache(maxsize=256)
def _passed_type(value: bytes) -> bytes:
    return value if _PASSED_TYPE.fullmatch(value) and _is_printable(value) else _OTHER_TYPE


def _is_printable(value: bytes) -> bool:
    return value.isascii() and value.decode().isprintable()

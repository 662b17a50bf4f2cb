"""Select the caller's headers that are used, and those that are forwarded to the provider."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256

from proxy.asgi import Header
from proxy.patterns import Matcher

_CODING = b"content-encoding"
_READ = frozenset({b"content-type", b"content-length", _CODING})
_IDEMPOTENCY_KEY = "idempotency-key"
_FORWARDED = {
    name.encode(): name
    for name in (
        "accept",
        "openai-beta",
        "anthropic-beta",
        "anthropic-version",
        "x-session-id",
        "x-session-affinity",
        "session_id",  # Codex writes it with an underscore
        "x-grok-conv-id",
        "x-codex-turn-state",
        "http-referer",
        "x-title",
        "x-openrouter-title",
        "x-openrouter-categories",
        _IDEMPOTENCY_KEY,
        "traceparent",
        "tracestate",
        "baggage",
    )
}
_LISTS = frozenset({"accept", "openai-beta", "anthropic-beta", "tracestate", "baggage"})
"""Forwarded headers whose value is a list, which clients can send in several lines (RFC 9110, 5.3)."""

_BINARY = re.compile("protobuf|grpc", re.IGNORECASE)
"""Binary formats of Google's APIs: the proxy cannot read the tokens and the model of such responses."""


def split_headers(headers: Iterable[Header], key: str) -> tuple[Mapping[bytes, bytes], Mapping[str, str]]:
    """Return the headers that describe the body, and those that are forwarded, by lower-case names.

    `key` is the name of the caller's key.
    """
    read: dict[bytes, bytes] = {}
    forwarded: dict[str, str] = {}
    for name, value in headers:
        if name in _READ:
            read[name] = read[name] + b", " + value if name == _CODING and name in read else value
        elif name in _FORWARDED and (text := _forwardable(name, value)):
            _add(forwarded, _FORWARDED[name], text)
    if _IDEMPOTENCY_KEY in forwarded:
        # Callers share the proxy's account: equal idempotency keys would return another caller's response.
        forwarded[_IDEMPOTENCY_KEY] = sha256(f"{key} {forwarded[_IDEMPOTENCY_KEY]}".encode()).hexdigest()
    return read, forwarded


def further_headers(headers: Iterable[Header], forwards: Matcher) -> Mapping[str, str]:
    """Return the headers that a provider's `forward_headers` selects, by lower-case names. Several lines are joined."""
    further: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1")
        if forwards(name) and (text := _forwardable(raw_name, value)):
            further[name] = f"{further[name]}, {text}" if name in further else text
    return further


def without(headers: Sequence[Header], names: Collection[bytes]) -> Sequence[Header]:
    """Return the headers except those with one of these names, in lower case with `-` instead of `_`."""
    return [header for header in headers if header[0].replace(b"_", b"-") not in names] if names else headers


def _forwardable(name: bytes, value: bytes) -> str:
    """The text of a value, "" if it is not printable ASCII, or requests a binary format."""
    if not value.isascii() or not (text := value.decode()).isprintable():
        return ""
    return "" if name == b"accept" and _BINARY.search(text) else text


def _add(forwarded: dict[str, str], name: str, value: str) -> None:
    """Add a header. Lines of a list are joined; of other headers the last line counts."""
    forwarded[name] = f"{forwarded[name]}, {value}" if name in _LISTS and name in forwarded else value

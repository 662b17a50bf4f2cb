"""Select the caller's headers that are used, and those that are forwarded to the provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from proxy.asgi import Header

_READ = frozenset({b"content-type", b"content-encoding", b"content-length"})
_FORWARDED = {
    name.lower().encode(): name
    for name in ("Accept", "OpenAI-Beta", "Anthropic-Version", "Anthropic-Beta", "Idempotency-Key", "Traceparent")
}


def split_headers(headers: Iterable[Header], key: str) -> tuple[Mapping[bytes, bytes], Mapping[str, str]]:
    """Return the headers that describe the body, by lower-case names, and those that are forwarded.

    `key` is the name of the caller's key.
    """
    read: dict[bytes, bytes] = {}
    forwarded: dict[str, str] = {}
    for name, value in headers:
        if name in _READ:
            read[name] = value
        elif name in _FORWARDED and value.isascii() and (text := value.decode()).isprintable():
            forwarded[_FORWARDED[name]] = text
    if "Idempotency-Key" in forwarded:
        # Callers share the proxy's account: equal idempotency keys would return another caller's response.
        forwarded["Idempotency-Key"] = sha256(f"{key} {forwarded['Idempotency-Key']}".encode()).hexdigest()
    return read, forwarded

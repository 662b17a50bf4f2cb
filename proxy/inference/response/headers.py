"""Select the provider's headers that are relayed to the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.asgi import Header

_RELAYED = frozenset(
    {
        b"content-type", b"content-disposition", b"retry-after", b"retry-after-ms", b"x-should-retry",
        b"openai-processing-ms", b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-requests", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-requests",
        b"x-ratelimit-reset-tokens",
    }
)  # fmt: skip


def relayed_headers(raw_headers: Iterable[Header]) -> Iterator[Header]:
    """Yield the headers that are relayed, with names in lower case."""
    for raw_name, value in raw_headers:
        name = raw_name.lower()
        if name in _RELAYED and value.isascii() and value.decode().isprintable():
            yield name, value

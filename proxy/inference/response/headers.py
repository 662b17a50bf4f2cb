"""Select the provider's headers that are relayed to the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proxy.asgi import Header
from proxy.inference.response.rename import is_own
from proxy.patterns import Matcher

_OF_BODIES = frozenset({b"content-type", b"content-disposition"})
_RELAYED = _OF_BODIES | {
    b"retry-after",
    b"retry-after-ms",
    b"x-should-retry",
    b"openai-processing-ms",
    b"openai-version",
    b"x-codex-turn-state",
    b"x-reasoning-included",
}
_RATE_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-")
_MODEL = b"openai-model"
_MIN_SECRET = 8  # characters; values of configured headers, such as `true`, occur in other headers


def relayed_headers(raw_headers: Iterable[Header], *, own_id: str | None, model: str) -> Iterator[Header]:
    """Yield the headers that are relayed with a response, with names in lower case.

    `own_id` is the provider's id of the requested `model`, None for any. A header with another model id is dropped,
    because it would reveal the model of an alias.
    """
    for raw_name, value in raw_headers:
        name = raw_name.lower()
        if name in _RELAYED or name.startswith(_RATE_LIMITS):
            if _is_printable(value):
                yield name, value
        elif name == _MODEL and is_own(value.decode("latin-1"), own_id) and _is_printable(model.encode()):
            yield name, model.encode()


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
        is_built_in = name in _RELAYED or name.startswith(_RATE_LIMITS) or name == _MODEL
        if not is_built_in and forwards(name.decode("latin-1")) and _is_printable(value):
            text = value.decode()
            if not any(secret in text for secret in secrets if len(secret) >= _MIN_SECRET):
                yield name, value


def _is_printable(value: bytes) -> bool:
    return value.isascii() and value.decode().isprintable()

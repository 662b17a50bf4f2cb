"""What stays the same in all calls of one conversation, so that they can be sent to the same provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from proxy.asgi import Header
from proxy.decoding import decode_or_none
from proxy.inference.request.json_spans import Span

_SESSION_HEADERS = (
    b"x-session-id",
    b"x-session-affinity",
    b"session_id",  # Codex
    b"session-id",
    b"x-grok-conv-id",
    b"x-claude-code-session-id",
)
_MAX_MESSAGES = 32
"""Messages before the first one of the user, such as system prompts."""
_MAX_BEGINNING = 16 * 1024  # bytes
_MAX_VALUES = 20_000
"""Commas in messages that are decoded one by one."""
_VARYING = frozenset({"cache_control", "id", "role", "status", "type"})
"""Fields of a message that can change while the conversation goes on."""


class _Fields(Struct):
    prompt_cache_key: Raw = Raw(b"null")
    messages: Raw = Raw(b"null")
    input: Raw = Raw(b"null")
    prompt: Raw = Raw(b"null")


_decode_fields = msgspec.json.Decoder(_Fields).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


def session_of(headers: Iterable[Header]) -> str:
    """Return the value of the first header that names a session, "" without any."""
    values = dict(headers)
    return next((values[name].decode("latin-1") for name in _SESSION_HEADERS if values.get(name)), "")


def beginning_of(body: bytes, values: Mapping[str, Span]) -> bytes:
    """Return a short JSON object in which a conversation has the same key, or begins alike, in all its calls.

    For a long body: the first bytes of its messages are one text.
    """
    beginnings: dict[str, object] = {}
    for name, (start, end) in values.items():
        if name == "prompt_cache_key" and end - start <= _MAX_BEGINNING:
            beginnings[name] = Raw(body[start:end])
        elif name in ("messages", "input", "prompt"):
            beginnings[name] = body[start : start + _MAX_BEGINNING].decode("latin-1")
    return msgspec.json.encode(beginnings)


def cache_key_of(body: bytes) -> str:
    """Return `prompt_cache_key` of a JSON object, "" without one."""
    key = decode_or_none(bytes(_fields_of(body).prompt_cache_key))
    return key if isinstance(key, str) else ""


def first_messages_of(body: bytes) -> str:
    """Return the texts up to the first message of the user, or of the input; "" if there are none."""
    fields = _fields_of(body)
    for value in map(bytes, (fields.messages, fields.input, fields.prompt)):
        if value != b"null":
            return "\n".join(_texts(list(_first_messages(value))))
    return ""


def _fields_of(body: bytes) -> _Fields:
    try:
        return _decode_fields(body)
    except (ValueError, RecursionError):
        return _Fields()


def _first_messages(value: bytes) -> Iterator[Any]:
    """Yield the messages of an array until one is the user's, or a value that is not an array."""
    if not value.startswith(b"["):
        yield decode_or_none(value)
        return
    if value.count(b",") > _MAX_VALUES:
        yield value[:_MAX_BEGINNING].decode("latin-1")
        return
    for raw in _decode_list(value)[:_MAX_MESSAGES]:
        message = decode_or_none(bytes(raw))
        yield message
        if isinstance(message, dict) and message.get("role") == "user":
            return


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value. Not recursive: a body can be deeply nested."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += (item[name] for name in sorted(item, reverse=True) if name not in _VARYING)
        elif isinstance(item, list):
            rest += reversed(item)
        elif item is not None:
            yield str(item)

"""Errors in a stream of a virtual model that are too long to be redacted."""

from __future__ import annotations

import json

import pytest

from proxy.inference.error_redaction import Redaction
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.long_errors import REPLACEMENT

LONG = "x" * 1_200_000
MANY = "[" + "1," * 60_000 + "1]"
BEFORE, AFTER = b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"


def sent(stream: bytes, size: int = 65_536) -> bytes:
    """What a client of the virtual model `smart` gets of the stream of a provider's `gpt-9`."""
    texts = ErrorTexts(Redaction([], [], {"smart": "gpt-9"}, hides_forms=True))
    events = EventStreamRenamer(None, "smart", error_texts=texts)
    parts = [events.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    return b"".join((*parts, events.rest()))


@pytest.mark.parametrize(
    "event",
    [
        f'data: {{"error": {{"message": "gpt-9 failed {LONG}"}}}}\n\n',
        f'data: {{"id": "1", "created": 1.5e3, "ok": false, "error": "gpt-9 failed {LONG}"}}\n\n',
        f'data: {{"type": "error", "details": "gpt-9 {LONG}"}}\n\n',
        f'data: {{"errors": {MANY}, "model": "gpt-9"}}\n\n',
        f'event: error\ndata: {{"message": "gpt-9 failed {LONG}"}}\n\n',
        f"event: error\ndata: gpt-9 failed {LONG}\n\n",
    ],
    ids=["object", "after other members", "type", "many values", "name", "text"],
)
def test_it_is_replaced(event: str) -> None:
    received = sent(BEFORE + event.encode() + AFTER)
    name = b"event: error\n" if event.startswith("event") else b""
    assert received == BEFORE + name + b"data: " + REPLACEMENT + b"\n\n" + AFTER
    assert json.loads(REPLACEMENT)["error"]["message"] == "The provider sent an error that is too long to be passed on."


@pytest.mark.parametrize(
    "event",
    [
        f'data: {{"type": "image", "b64_json": "{LONG}"}}\n\n',
        f'data: {{"text": "\\"error\\": {{gpt-9 {LONG}"}}\n\n',
        f'data: {{"error": null, "b64_json": "{LONG}"}}\n\n',
        f"data: gpt-9 {LONG}\n\n",
    ],
)
def test_other_long_events_stay_byte_for_byte(event: str) -> None:
    stream = BEFORE + event.encode() + AFTER
    assert sent(stream) == stream


def test_shorter_ones_are_redacted() -> None:
    event = f'data: {{"error": {{"message": "gpt-9 failed {LONG[:10_000]}"}}}}\n\n'.encode()
    assert sent(event) == event.replace(b"gpt-9", b"smart").replace(b'": ', b'":').replace(b'{"error":', b'{"error": ')

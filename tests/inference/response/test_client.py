"""The response to a client: when its head is sent, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from proxy.asgi import Message
from proxy.inference.deadline import CallScope, DeadlineTimer
from proxy.inference.response.client import ClientResponse
from proxy.telemetry import CallRecord

pytestmark = pytest.mark.anyio
IDS = [(b"x-request-id", b"id-0")]
LINES, LIMIT = b"\r\nx-ratelimit-limit-requests: 5", (b"x-ratelimit-limit-requests", b"5")


def response(sent: list[Message], waiting: float | None = None) -> ClientResponse:
    async def send(message: Message) -> None:
        sent.append(message)

    scope = CallScope(DeadlineTimer(), lambda on_disconnect: lambda: None, 60)
    record = CallRecord("id-0", "POST", "/v1/chat/completions", "openai", "", "", b"", 0.0)
    return ClientResponse(send, None, scope, record, lambda: 0.0, id_headers=IDS, lines=LINES, waiting=waiting)


async def test_the_head_is_sent_with_the_first_bytes() -> None:
    sent: list[Message] = []
    client = response(sent)
    client.prepare(201, [(b"a", b"b")])
    assert (sent, client.has_started) == ([], False)

    await client.send(b"one")
    await client.send(b"", more=False)
    assert client.has_started
    assert sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"a", b"b"), LIMIT]},
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]


async def test_a_head_that_was_sent_is_not_replaced() -> None:
    sent: list[Message] = []
    client = response(sent)
    await client.start()
    client.prepare(201, [(b"a", b"b")])
    await client.start()

    assert [message["status"] for message in sent] == [200]


async def test_a_closed_response_is_released_without_a_garbage_collection() -> None:
    client = response([], waiting=60)
    released: weakref.ref[Any] = weakref.ref(client)
    gc.disable()
    try:
        client.close()
        del client
        await asyncio.sleep(0)
        assert released() is None
    finally:
        gc.enable()

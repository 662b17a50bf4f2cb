"""A fast provider of calls in a separate process: `python -m tests.providers.bulk_calls PORT`.

`/json/...` returns a JSON object of 1 KB, `/openai/...` the same with the headers of OpenAI's API, `/sse/...` a stream
of 200 events, each written separately, `/paced/...` one of 50 events at intervals of 10 ms, and `/bare/...` the same
without usage. It parses only the path, to use as little CPU as possible.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

from benchmarks.harness import LOAD_CORE, pin
from tests.providers.bulk_lists import MAKERS
from tests.providers.server import CONTENT_LENGTH

MODELS = {"json": f"{MAKERS[0]}/model-0-0", "sse": f"{MAKERS[1]}/model-1-0"}
"""The provider's model id for each format: the first models of two providers of `tests.providers.bulk_lists`."""
EVENTS, PACED_EVENTS = 200, 50
INTERVAL = 0.01
"""Seconds between two events of a paced stream, as models generate them."""
_HEADERS = b"""Date: Mon, 30 Nov 2026 00:00:00 GMT
openai-organization: an-organization
openai-processing-ms: 512
openai-project: proj_0123456789abcdef
openai-version: 2020-10-01
x-ratelimit-limit-requests: 10000
x-ratelimit-limit-tokens: 2000000
x-ratelimit-remaining-requests: 9999
x-ratelimit-remaining-tokens: 1999800
x-ratelimit-reset-requests: 6ms
x-ratelimit-reset-tokens: 6ms
x-request-id: req_0123456789abcdef0123456789abcdef
strict-transport-security: max-age=31536000; includeSubDomains; preload
x-content-type-options: nosniff
"""
"""As OpenAI's API sends them."""
_USAGE = {"prompt_tokens": 160, "completion_tokens": 199, "total_tokens": 359}


def call_body(model: str, *, streamed: bool) -> bytes:
    """The body of a call, about 1 KB."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant. " * 10},
        {"role": "user", "content": "Write a poem about the sea, in as many words as you like. " * 10},
    ]
    more = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    return json.dumps({"model": model, "messages": messages, "temperature": 0.2, **more}).encode()


def completion_body() -> bytes:
    """The body of a complete response, about 1 KB."""
    message = {"role": "assistant", "content": "The sea is wide, and so is this answer. " * 18, "refusal": None}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    payload = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1_700_000_000, "model": MODELS["json"]}
    return json.dumps({**payload, "choices": choices, "usage": _USAGE}).encode()


def events() -> list[bytes]:
    """The events of a chat completion stream: words, usage, end."""
    words = [
        _event(choices=[{"index": 0, "delta": {"content": f" word {n}"}, "finish_reason": None}])
        for n in range(EVENTS - 2)
    ]
    return [*words, _event(choices=[], usage=_USAGE), b"data: [DONE]\n\n"]


def _event(**more: object) -> bytes:
    payload = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODELS["sse"]}
    return b"data: %b\n\n" % json.dumps({**payload, **more}, separators=(",", ":")).encode()


class Connection(asyncio.Protocol):
    """One connection with sequential calls."""

    _BODY = completion_body()
    _HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(_BODY)
    _RESPONSE = b"%b\r\n%b" % (_HEAD, _BODY)
    _OF_OPENAI = b"%b%b\r\n%b" % (_HEAD, _HEADERS.replace(b"\n", b"\r\n"), _BODY)
    _STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    _CHUNKS = (*(b"%x\r\n%b\r\n" % (len(event), event) for event in events()), b"0\r\n\r\n")
    _PACED = _CHUNKS[-PACED_EVENTS - 1 :]
    _WITHOUT_USAGE = (*_PACED[:-3], *_PACED[-2:])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._received = b""
        if head.startswith((b"POST /json", b"POST /openai")):
            self._transport.write(self._RESPONSE if head.startswith(b"POST /json") else self._OF_OPENAI)
            return
        self._transport.write(self._STREAM_HEAD)
        self._is_paced = not head.startswith(b"POST /sse")
        paced = self._PACED if head.startswith(b"POST /paced") else self._WITHOUT_USAGE
        self._chunks = iter(paced if self._is_paced else self._CHUNKS)
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Write one chunk per event loop iteration, or per interval, so that each is sent separately."""
        data = next(self._chunks, None)
        if data is not None and not self._transport.is_closing():
            self._transport.write(data)
            if self._is_paced:
                self._loop.call_later(INTERVAL, self._next)
            else:
                self._loop.call_soon(self._next)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    pin(LOAD_CORE)
    uvloop.run(serve(int(sys.argv[1])))

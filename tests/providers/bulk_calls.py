"""A provider that answers calls at once, in a process of its own: `python -m tests.providers.bulk_calls PORT`.

`/json/...` answers with one JSON object of 1 KB, `/sse/...` with a stream of 200 events, each written by itself. It
reads nothing but the path, because only what is in front of it is measured.
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
"""The provider's id of the model that is answered so: the first models of two of `tests.providers.bulk_lists`."""
EVENTS = 200
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
    """A whole response, about 1 KB."""
    message = {"role": "assistant", "content": "The sea is wide, and so is this answer. " * 18, "refusal": None}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    payload = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1_700_000_000, "model": MODELS["json"]}
    return json.dumps({**payload, "choices": choices, "usage": _USAGE}).encode()


def events() -> list[bytes]:
    """A stream as chat completions have it: words, the usage, the end."""
    words = [
        _event(choices=[{"index": 0, "delta": {"content": f" word {n}"}, "finish_reason": None}])
        for n in range(EVENTS - 2)
    ]
    return [*words, _event(choices=[], usage=_USAGE), b"data: [DONE]\n\n"]


def _event(**more: object) -> bytes:
    payload = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODELS["sse"]}
    return b"data: %b\n\n" % json.dumps({**payload, **more}, separators=(",", ":")).encode()


class Connection(asyncio.Protocol):
    """One connection, on which one call follows the other."""

    _BODY = completion_body()
    _WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
    _BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    _PIECES = (*(b"%x\r\n%b\r\n" % (len(event), event) for event in events()), b"0\r\n\r\n")

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
        if not head.startswith(b"POST /sse"):
            self._transport.write(self._WHOLE)
            return
        self._transport.write(self._BEGIN)
        self._pieces = iter(self._PIECES)
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        """A piece each turn of the loop: what was written goes out before the next is."""
        piece = next(self._pieces, None)
        if piece is not None and not self._transport.is_closing():
            self._transport.write(piece)
            self._loop.call_soon(self._next)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    pin(LOAD_CORE)
    uvloop.run(serve(int(sys.argv[1])))

"""The providers of the run, good and hostile, in a process of their own: `python -m reliability.providers PORT`.

The first segment of a path selects the behavior; see `LISTS` and `CALLS`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Awaitable, Callable, Mapping

from benchmarks.harness import LOAD_CORE, pin
from reliability.canaries import PROVIDER_KEY
from tests.providers.bulk_calls import completion_body, events
from tests.providers.bulk_lists import body
from tests.providers.server import Request, Server, chunk, read_request, reset, response_head

MODELS = 500
_MIB = 1024 * 1024
_STREAM = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
_JSON = {"Content-Type": "application/json"}
_BOMB = gzip.compress(b" " * (150 * _MIB), 9)

Send = Callable[[bytes], Awaitable[None]]
Answer = Callable[[Request, Send], Awaitable[None]]


def whole(content: bytes, headers: Mapping[str, str] = _JSON, status: int = 200) -> bytes:
    """A complete response."""
    return response_head(status, {**headers, "Content-Length": str(len(content))}) + content


async def good_list(request: Request, send: Send) -> None:
    await send(whole(body(MODELS, int(request.path.split("/")[2]))))


async def good_call(request: Request, send: Send) -> None:
    if b'"stream": true' not in request.body:
        await send(whole(completion_body()))
        return
    await send(response_head(200, _STREAM))
    for event in events():
        await send(chunk(event))
        await asyncio.sleep(0.005)
    await send(chunk(b""))


async def silent(request: Request, send: Send) -> None:
    await asyncio.sleep(3600)


async def resets(request: Request, send: Send) -> None:
    raise ConnectionResetError


async def fails(request: Request, send: Send) -> None:
    await send(whole(b'{"error":{"message":"no worker"}}', status=502))


async def tells_its_key(request: Request, send: Send) -> None:
    message = {"error": {"message": f"Incorrect API key {PROVIDER_KEY} at http://10.1.2.3/"}}
    await send(whole(json.dumps(message).encode(), status=400))


async def one_byte_chunks(request: Request, send: Send) -> None:
    await send(response_head(200, _STREAM))
    piece = b"".join(chunk(bytes([byte])) for byte in events()[0])
    while True:
        await send(piece * 200)


async def wide_events(request: Request, send: Send) -> None:
    await send(response_head(200, _STREAM))
    members = ",".join(f'"m{n}":{n}' for n in range(50_000))
    while True:
        await send(chunk(b'data: {"model":"x","choices":[{"delta":{"content":"a"}}],%b}\n\n' % members.encode()))


async def informational(request: Request, send: Send) -> None:
    while True:
        await send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)


async def bomb(request: Request, send: Send) -> None:
    await send(whole(_BOMB, {**_JSON, "Content-Encoding": "gzip"}))


async def deep_list(request: Request, send: Send) -> None:
    await send(whole(b'{"data":' + b"[" * 8 * _MIB))


async def many_arrays(request: Request, send: Send) -> None:
    await send(whole(b'{"data":[' + b"[]," * (2 * _MIB) + b"[]]}"))


async def huge_fields(request: Request, send: Send) -> None:
    entry = ",".join(f'"field-{n}":[{",".join(["0"] * 40)}]' for n in range(60))
    await send(whole(b'{"data":[' + b",".join(b'{"id":"h-%d",%b}' % (n, entry.encode()) for n in range(2000)) + b"]}"))


LISTS: Mapping[str, Answer] = {
    "good": good_list,
    "silent": silent,
    "resets": resets,
    "fails": fails,
    "bomb": bomb,
    "deep": deep_list,
    "arrays": many_arrays,
    "huge": huge_fields,
}
CALLS: Mapping[str, Answer] = {
    "good": good_call,
    "silent": silent,
    "resets": resets,
    "fails": fails,
    "tells": tells_its_key,
    "bytes": one_byte_chunks,
    "wide": wide_events,
    "1xx": informational,
    "bomb": bomb,
}


class Providers(Server):
    """All providers of the run: `/LIST/NUMBER/CALL/...`."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        while True:
            request = await read_request(reader)
            _, lists, _, calls, *_ = request.path.split("/")
            try:
                await (LISTS[lists] if request.method == "GET" else CALLS[calls])(request, send)
            except ConnectionResetError:
                reset(writer)
                return
            self.requests.clear()


async def main(port: int) -> None:
    pin(LOAD_CORE)
    server = Providers()
    await server.start(port=port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

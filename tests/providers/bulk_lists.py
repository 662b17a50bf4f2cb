"""Fast providers of lists in a separate process: `python -m tests.providers.bulk_lists PORT MODELS DELAY`.

`/v/N/K/models` lists MODELS models of edition K of provider N after DELAY seconds; `/one-differs/...` does the same,
but one model changes with each request; `/hang/...` never responds; `/huge/...` sends 50 MB without a content length.
Calls return an empty completion.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cache
from itertools import count

from benchmarks.harness import LOAD_CORE, pin
from tests.providers.server import CONTENT_LENGTH

MAKERS = ("openai", "anthropic", "google", "meta-llama", "qwen", "deepseek", "mistralai", "cohere")
HUGE = 50 * 1024 * 1024
COMPLETION = b'{"object":"chat.completion","choices":[]}'


def base_url(port: int, provider: int, edition: int = 0, mode: str = "v") -> str:
    return f"http://127.0.0.1:{port}/{mode}/{provider}/{edition}"


@cache
def body(models: int, provider: int, edition: int = 0) -> bytes:
    """A list like that of a gateway, with about 440 bytes per model."""
    return json.dumps({"object": "list", "data": [_model(provider, edition, n) for n in range(models)]}).encode()


def first_model(provider: int) -> str:
    """The id of a provider's first model."""
    return str(_model(provider, 0, 0)["id"])


def _model(provider: int, edition: int, number: int) -> dict[str, object]:
    maker = MAKERS[(provider + number) % len(MAKERS)]
    return {
        "id": f"{maker}/model-{provider}-{number}",
        "object": "model",
        "created": 1_700_000_000 + 60 * number,
        "owned_by": maker,
        "name": f"{maker.title()}: Model {provider}-{number}",
        "context_length": 131_072 + edition,
        "architecture": {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.00000025", "completion": "0.000001"},
        "top_provider": {"max_completion_tokens": 16_384, "is_moderated": False},
    }


async def serve(port: int, models: int, delay: float) -> None:
    times = count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    await reader.readexactly(int(CONTENT_LENGTH.findall(head)[0]))
                    writer.write(_response(COMPLETION))
                    continue
                _, mode, provider, edition, _ = head.split(b" ", 2)[1].decode().split("/")
                if mode == "hang":
                    await asyncio.sleep(3600)
                await asyncio.sleep(delay)
                if mode == "huge":
                    await _huge(writer)
                payload = body(models, int(provider), int(edition))
                if mode == "one-differs":
                    payload = payload.replace(b'"name": "', b'"name": "%d, ' % next(times), 1)
                writer.write(_response(payload))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def _huge(writer: asyncio.StreamWriter) -> None:
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(HUGE // 0x10000):
        writer.write(piece)
        await writer.drain()
    raise ConnectionError


if __name__ == "__main__":
    pin(LOAD_CORE)
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

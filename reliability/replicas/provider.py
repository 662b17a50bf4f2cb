"""A provider in a process of its own: `python -m reliability.replicas.provider PORT`.

It lists models, and answers calls of them whole or as a stream of half a second. `/fetches` returns how often it was
asked for its list.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, FakeProvider

MODELS = tuple(f"model-{number}" for number in range(50))
_EVENTS, _BETWEEN = 5, 0.1
_LIST = msgspec.json.encode(
    {"data": [{"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "openai"} for model in MODELS]}
)


async def serve(port: int) -> None:
    async def answer(exchange: Exchange) -> None:
        request = exchange.request
        if request.method == "GET":
            await exchange.reply(_LIST)
        elif b'"stream"' not in request.body:
            await exchange.reply(msgspec.json.encode(completion(request.json["model"])))
        else:
            await exchange.stream()
            for _ in range(_EVENTS):
                await exchange.chunk(chunk_event(request.json["model"], "word "))
                await asyncio.sleep(_BETWEEN)
            await exchange.chunk(DONE)
            await exchange.end()

    await FakeProvider(answer).start(port=port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

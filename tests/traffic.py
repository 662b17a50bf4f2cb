"""Clients that send lists, calls and streams one after the other until they are stopped, and record what fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec

from tests.fakes import digest
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange

STREAM_SECONDS = 1.0
CALL = "/v1/chat/completions"
KEY = "sk-fake-of-a-client"
KEYS = f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*']}}]\n"
KINDS = ("list", "call", "stream")


async def provider(exchange: Exchange) -> None:
    """A provider of the model `m`, whose streams take `STREAM_SECONDS`."""
    if exchange.request.line.startswith("GET "):
        await exchange.reply(b'{"object":"list","data":[{"id":"m","object":"model"}]}')
        return
    if b'"stream"' not in exchange.request.body:
        await exchange.reply(msgspec.json.encode(completion("m")))
        return
    await exchange.stream()
    for _ in range(5):
        await exchange.chunk(chunk_event("m", "a"))
        await asyncio.sleep(STREAM_SECONDS / 5)
    await exchange.chunk(DONE)
    await exchange.end()


@dataclass
class Traffic:
    """What was sent, and what went wrong."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def flowing(self, client: httpx.AsyncClient, kinds: Sequence[str] = KINDS * 2) -> AsyncIterator[None]:
        """Send requests while the context is entered: each kind one after the other, all kinds at the same time."""
        done = asyncio.Event()

        async def load(kind: str) -> None:
            while not done.is_set():
                self.sent += 1
                if failure := await _request(client, kind):
                    self.failures.append(failure)

        client.headers["authorization"] = f"Bearer {KEY}"
        clients = [asyncio.create_task(load(kind)) for kind in kinds]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*clients)


async def _request(client: httpx.AsyncClient, kind: str) -> str:
    """Send one request. Returns what went wrong, "" if nothing did."""
    try:
        match kind:
            case "list":
                response = await client.get("/v1/models")
            case "call":
                response = await client.post(CALL, json={"model": "m", "messages": []})
            case _:
                response = await client.post(CALL, json={"model": "m", "messages": [], "stream": True})
    except httpx.HTTPError as error:
        return f"{kind}: {error!r}"
    if response.status_code != 200:
        return f"{response.request.method} {response.status_code} {response.text[:200]}"
    return "a stream without an end" if kind == "stream" and "[DONE]" not in response.text else ""

"""7. The latency of one key while another one floods a provider that is at its concurrency limit."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.harness import LOAD_CORE, begin, folder, percentile, pin, ratio, table, verdict
from benchmarks.servers import Server, config_text, ours, wait_until_listed
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider

PLACES = 20  # max_in_flight
FLOOD = 64  # calls of the flooding key at a time: beyond the places, they wait
SECONDS_PER_CALL = (0.1, 0.3)  # of the provider, uniformly distributed
CALLS = 50  # of the other key per round, one at a time
ROUNDS = 5
GOAL = 1.5
Flood = Callable[[aiohttp.ClientSession, Server], AbstractAsyncContextManager[None]]
SINGLE, FLOODING = "mp-benchmark-single-0000000000000000", "mp-benchmark-flood-00000000000000000"


def main() -> None:
    begin("Calls of one key while another one floods the provider")
    pin(LOAD_CORE)
    alone, flooded = asyncio.run(rounds())
    head = ["", "calls", "p50 ms", "p99 ms", "p99 / alone", "goal", "met"]
    print(table(head, [row("alone", alone, alone), row(f"with {FLOOD} calls of another key", flooded, alone)]))


async def rounds(
    limits: Mapping[str, str] | None = None, flood: Flood | None = None
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the seconds of each call of the single key, by round: alone, and with the flood.

    `limits`: further settings of the keys `single` and `flooding`; `flood`: what is sent meanwhile, instead of calls of
    the flooding key by this process.
    """
    alone, flooded = [], []
    chance = random.Random(1)  # noqa: S311  # not for secrets

    async def answers(exchange: Exchange) -> None:
        await asyncio.sleep(chance.uniform(*SECONDS_PER_CALL))
        await exchange.reply(msgspec.json.encode(completion("m")))

    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        async with fake_provider(answers) as provider:
            server = await asyncio.to_thread(_serve, stack, where, provider.url, limits or {})
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as client:
                for _ in range(ROUNDS + 1):
                    alone.append(await _single(client, server))
                    async with (flood or _calls)(client, server):
                        await asyncio.sleep(2 * SECONDS_PER_CALL[1])  # until the queue is full
                        flooded.append(await _single(client, server))
    return alone[1:], flooded[1:]  # after a warm-up round


def _serve(stack: ExitStack, where: Path, provider: str, limits: Mapping[str, str]) -> Server:
    keys = [
        f"  - {{name: {name}, hash: 'sha256:{hashlib.sha256(key.encode()).hexdigest()}', models: ['*'], "
        f"{limits.get(name, '')}}}"
        for name, key in (("single", SINGLE), ("flooding", FLOODING))
    ]
    line = f"  - {{name: a, base_url: '{provider}/v1', models: [m], max_in_flight: {PLACES}}}"
    server = stack.enter_context(ours(where, config_text([line], "keys:\n" + "\n".join(keys))))
    wait_until_listed(server, 1, {"Authorization": f"Bearer {SINGLE}"})
    return server


async def _single(client: aiohttp.ClientSession, server: Server) -> list[float]:
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        status = await call(client, server, SINGLE)
        if status != 200:
            raise SystemExit(f"error: a call of the single key got status {status}")
        seconds.append(time.perf_counter() - began)
    return seconds


@asynccontextmanager
async def _calls(client: aiohttp.ClientSession, server: Server) -> AsyncIterator[None]:
    """Repeat calls of the flooding key."""
    flood = [asyncio.create_task(_forever(client, server)) for _ in range(FLOOD)]
    try:
        yield
    finally:
        for task in flood:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*flood)


async def _forever(client: aiohttp.ClientSession, server: Server) -> None:
    while True:
        await call(client, server, FLOODING)


async def call(client: aiohttp.ClientSession, server: Server, key: str) -> int:
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {key}"}
    async with client.post(url, json={"model": "m", "messages": []}, headers=headers) as response:
        await response.read()
        return response.status


def row(name: str, runs: Sequence[Sequence[float]], alone: Sequence[Sequence[float]], goal: float = GOAL) -> list[str]:
    """Return a row of the table: `runs` compared with `alone`, each the seconds of the calls of each round."""
    p99 = [percentile(seconds, 99) * 1000 for seconds in runs]
    p50 = [percentile(seconds, 50) * 1000 for seconds in runs]
    share = ratio(p99, [percentile(seconds, 99) * 1000 for seconds in alone])
    middle = len(runs) // 2
    return [
        name,
        f"{sum(map(len, runs))}",
        f"{sorted(p50)[middle]:.1f}",
        f"{sorted(p99)[middle]:.1f}",
        f"{share:.2f}",
        f"<= {goal}",
        verdict(share <= goal),
    ]


if __name__ == "__main__":
    main()

"""A soak: clients that leave, providers that close, failover and 429s, for minutes; then nothing may be left.

`.venv/bin/python -m benchmarks.soak --seconds 600` prints the outcomes, and what is left: tasks, descriptors, places in
queues, and slots of circuits. The exit status is 1 if anything is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.leaks import Held
from tests.listening import Served, circuit_of, post, serving, until
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, Script, fake_provider, not_http, replies, resets

CLIENTS = 24
PROVIDERS = "abc"
SETTINGS = (
    "{max_in_flight: 4, queue: {size: 8, timeout: 200ms}, first_byte_timeout: 300ms, idle_timeout: 300ms, "
    "connect_timeout: 1s}"
)


@dataclass
class Left:
    """What a soak left behind, and how its calls ended."""

    held: Held
    in_flight: dict[str, int]
    queued: dict[str, int]
    open_connections: int
    outcomes: Counter[str] = field(compare=False, default_factory=Counter)


NOTHING = Left(Held(), dict.fromkeys(PROVIDERS, 0), dict.fromkeys(PROVIDERS, 0), 0)


async def slow_stream(exchange: Exchange) -> None:
    await exchange.stream()
    for word in ("one", "two", "three"):
        await exchange.chunk(chunk_event("m", word))
        await asyncio.sleep(0.01)
    await exchange.chunk(DONE)
    await exchange.end()


async def interrupted(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(chunk_event("m", "one"))
    exchange.reset()


async def comments_then_an_error(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(b": waits\n\n")
    await asyncio.sleep(0.01)
    await exchange.chunk(b'data: {"error":{"message":"no worker"}}\n\n')
    await exchange.closed()


async def closes_later(exchange: Exchange) -> None:
    await replies(completion("m"))(exchange)
    exchange.keep = False


async def silent(exchange: Exchange) -> None:
    await exchange.closed()


SCRIPTS: list[Script] = [
    *[replies(completion("m")), slow_stream] * 6,
    *(replies({"error": {"message": "no"}}, status) for status in (400, 401, 402, 404, 429, 500, 503, 529)),
    replies({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"}),
    replies({"error": {"message": "no worker", "code": 502}}),
    streams(),
    streams(DONE),
    interrupted,
    comments_then_an_error,
    closes_later,
    silent,
    resets,
    not_http,
]


async def soak(seconds: float = float("inf"), calls: float = float("inf"), seed: int = 7) -> Left:
    """Run clients against faulty providers for this long, or for this many calls. Returns what is left afterwards."""
    chance = random.Random(seed)  # noqa: S311
    clock, fetch = FakeClock(), FakeFetch()
    async with AsyncExitStack() as stack:

        async def any_script(exchange: Exchange) -> None:
            await chance.choice(SCRIPTS)(exchange)

        providers = [await stack.enter_async_context(fake_provider(any_script)) for _ in PROVIDERS]
        text = f"server: {{sse_keepalive: 20ms}}\ndefaults: {SETTINGS}\nproviders:\n"
        for name, provider in zip(PROVIDERS, providers, strict=True):
            text += f'  - {{name: {name}, base_url: "{provider.url}/v1"}}\n'
            fetch.lists(name, "m")
        text += "groups: {default: {models: ['*'], call: true}}\n"
        served = await stack.enter_async_context(serving(config_of(text), fetch, clock))
        await served.app.deployment.inference()
        before = Held.now()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        counted: Counter[str] = Counter()

        def goes_on() -> bool:
            return loop.time() < ends_at and counted.total() < calls

        async def client() -> None:
            while goes_on():
                counted[await _call(served, chance)] += 1

        async def time_passes() -> None:
            while goes_on():
                await asyncio.sleep(0.05)
                await clock.advance(2)  # circuits close, and models cool down

        await asyncio.gather(time_passes(), *(client() for _ in range(CLIENTS)))
        circuits = {name: circuit_of(served.app, name) for name in PROVIDERS}
        with suppress(AssertionError):
            await until(lambda: not any(circuit.in_flight for circuit in circuits.values()))
        assert served.app.deployment.forwarder is not None
        for endpoint in served.app.deployment.forwarder.endpoints.values():
            await endpoint.close()  # idle connections are kept
        with suppress(AssertionError):
            await until(lambda: not any(provider.open for provider in providers))
        gc.collect()
        return Left(
            await before.left(),
            {name: circuit.in_flight for name, circuit in circuits.items()},
            {name: circuit.queued for name, circuit in circuits.items()},
            sum(provider.open for provider in providers),
            counted,
        )


async def _call(served: Served, chance: random.Random) -> str:
    """Send one call, and leave at some moment or read the response. Returns how it ended."""
    body = b'{"model":"m","stream":true}' if chance.random() < 0.6 else b'{"model":"m"}'
    async with served.raw(post(body, Connection="close")) as (reader, _):
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.05)
            return "left"
        try:
            answer = await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return "connection closed"
    return answer[9:12].decode() or "connection closed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    left = asyncio.run(soak(parser.parse_args().seconds))
    print("calls:", ", ".join(f"{outcome}: {count}" for outcome, count in sorted(left.outcomes.items())))
    print("nothing is left" if left == NOTHING else f"left: {left}")
    raise SystemExit(left != NOTHING)


if __name__ == "__main__":
    main()

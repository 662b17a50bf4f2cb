"""21. Limits of callers: their cost with 10,000 keys, how exact they are over several processes, and fairness."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp
import msgspec

from benchmarks import fairness
from benchmarks.alternating import Blocks, blocks_of, share
from benchmarks.harness import (
    LOAD_CORE,
    ROOT,
    begin,
    folder,
    free_port,
    pin,
    process,
    python,
    table,
    tool,
    verdict,
    wait_for,
)
from benchmarks.servers import Server, config_text, ours, wait_until_listed
from tests.providers.bulk_calls import call_body
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider
from tests.valkey_servers import ValkeyServer

KEYS, CALLERS = 10_000, 1_000
"""Of each kind; and how many of them make calls, so that each one calls several times: the last ones, because the first
ones of the first kind have rows of their own in metrics, which takes less time."""
GOAL = 1.1
SERVERS = 6
"""One after another: two processes of one program differ by 1 to 2 %, because their memory is placed differently."""
LIMITS = "requests: [600/m, 10k/d], tokens: 2M/d, concurrent: 20"
KINDS = {
    "without limits": "",
    "with one limit": "requests: 600/m",
    "with two limits": "requests: 600/m, tokens: 2M/d",
    "with four limits": LIMITS,
    "with limits of lists": f"{LIMITS}, list_requests: 1M/h",
}
"""The limits of each kind of key."""
CALLED = ("without limits", "with four limits")


class Compared(NamedTuple):
    """Requests of several kinds of keys."""

    kinds: Sequence[str]
    """The first one is the reference."""
    size: int
    """Requests in a block: what takes 0.1 to 0.2 s. The CPU time of another process is known to 4 ms."""
    seconds: float
    """Of each server."""
    model: str = ""
    """The path of the provider that is called, which is also the model; "" for lists."""


COMPARED = {
    "lists": Compared(("without limits", "with four limits", "with limits of lists"), 4096, 10),
    "calls": Compared(("without limits", "with one limit", "with two limits", "with four limits"), 640, 30, "json"),
    "calls with OpenAI's headers": Compared(CALLED, 640, 15, "openai"),
    "streams": Compared(CALLED, 192, 15, "sse"),
    "paced streams without usage": Compared(CALLED, 128, 20, "bare"),
}

LIMIT, CLIENTS, CALLS = 100, 32, 8
"""Calls per minute; clients at the same time, and calls of each."""

FAIRNESS_GOAL = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["cost", "exact", "fairness"], help="cost, exact, fairness")
    parts = parser.parse_args().parts
    begin("Limits of callers")
    if "cost" in parts:
        head = ["", "CPU us", "CPU / without", "error", "goal", "met"]
        print(table(head, _costs()), flush=True)
    pin(LOAD_CORE)
    if "exact" in parts:
        head = [f"{CLIENTS} clients, {CLIENTS * CALLS} calls", "admitted of 100/m", "goal", "met"]
        print("\n" + table(head, asyncio.run(_exact())), flush=True)
    if "fairness" in parts:
        head = ["", "calls", "p50 ms", "p99 ms", "p99 / alone", "goal", "met"]
        print("\n" + table(head, asyncio.run(_fairness())), flush=True)


def _entry(name: str, secret: str, more: str) -> str:
    return f"  - {{name: {name}, hash: 'sha256:{hashlib.sha256(secret.encode()).hexdigest()}', {more}}}"


# -- the cost with 10,000 keys -------------------------------------------------------------------------------------


def _costs() -> list[list[str]]:
    """Lists of 10,000 keys of each kind in rotation, and calls of 1,000 of them.

    Each server has keys of all kinds: only blocks of the same server are compared.
    """
    measured: dict[str, list[Blocks]] = {what: [] for what in COMPARED}
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        port = free_port()
        provider = stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(port)), LOAD_CORE))
        wait_for(port, provider)
        for _ in range(SERVERS):
            with ExitStack() as running:
                server = with_keys(running, where, port, KINDS, _numbers)
                for what, compared in COMPARED.items():
                    measured[what].append(_blocks(server, where, compared))
    return [
        _cost(what, number, measured[what])
        for what, compared in COMPARED.items()
        for number in range(len(compared.kinds))
    ]


def _blocks(server: Server, where: Path, compared: Compared) -> Blocks:
    """Measure one server."""
    files = [where / f"{_group(kind)}.keys" for kind in compared.kinds]
    for kind, file in zip(compared.kinds, files, strict=True):
        numbers = range(KEYS - CALLERS if compared.model else 0, KEYS)
        file.write_text("".join(f"{key(kind, number)}\n" for number in numbers))
    body = None
    if model := compared.model:
        body = where / "body"
        body.write_bytes(call_body(model, streamed=model in ("sse", "bare")))
    return blocks_of(
        server.pid,
        server.url("/v1/chat/completions" if body else "/v1/models"),
        files,
        body,
        results=where / "blocks",
        size=compared.size,
        seconds=compared.seconds,
    )


def _group(kind: str) -> str:
    return kind.replace(" ", "-")


def key(kind: str, number: int) -> str:
    return f"mp-benchmark-{_group(kind)}-{number:020d}"


def _numbers(kind: str) -> range:
    return range(0 if kind in COMPARED["lists"].kinds else KEYS - CALLERS, KEYS)


def with_keys(
    stack: ExitStack,
    where: Path,
    port: int,
    kinds: Mapping[str, str],
    numbers: Callable[[str], range],
    tool: Sequence[str] = (),
) -> Server:
    """Run the proxy with keys of all kinds. `kinds`: their limits, "" for none; `numbers`: of the keys of a kind.

    `port`: of the provider; `tool`: a command that runs the proxy.
    """
    groups = "".join(f"  {_group(kind)}: {{models: ['*'], limits: {{{limits}}}}}\n" for kind, limits in kinds.items())
    entries = "\n".join(
        _entry(f"{_group(kind)}-{number}", key(kind, number), f"group: {_group(kind)}")
        for kind in kinds
        for number in numbers(kind)
    )
    others = ", ".join(f"m{number}" for number in range(60))
    lines = [
        f"  - {{name: {model}, kind: static, models: [{model}, {others}], max_in_flight: 10000, "
        f"call: {{base_url: 'http://127.0.0.1:{port}/{model}'}}}}"
        for *_, model in COMPARED.values()
        if model
    ]
    server = stack.enter_context(ours(where, config_text(lines, f"groups:\n{groups}keys:\n{entries}"), tool=tool))
    wait_until_listed(server, 64, {"Authorization": f"Bearer {key('without limits', numbers('without limits')[0])}"})
    return server


def _cost(what: str, number: int, servers: Sequence[Blocks]) -> list[str]:
    """The row of a kind of keys, by its number. `servers`: the blocks of each."""
    kind = COMPARED[what].kinds[number]
    ratio, error = share(servers, number)
    microseconds = median(each for blocks in servers for each in blocks[number])
    has_goal = kind != "with limits of lists"  # these are counted themselves
    goal = (f"<= {GOAL}", verdict(ratio <= GOAL)) if has_goal else ("", "")
    return [f"{what}, {kind}", f"{microseconds:.1f}", f"{ratio:.3f}", f"{error:.3f}", *goal]


# -- exactness over several processes ------------------------------------------------------------------------------


async def _exact() -> list[list[str]]:
    async def answers(exchange: Exchange) -> None:
        await exchange.reply(msgspec.json.encode(completion("m")))

    rows = []
    async with AsyncExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        provider = await stack.enter_async_context(fake_provider(answers))
        valkey = await asyncio.to_thread(stack.enter_context, ValkeyServer())
        store = f"store: {{valkey: '{valkey.url}', namespace: benchmark}}"
        for name, texts, most in (
            ("one process", [""], LIMIT),
            ("two workers", ["server: {workers: 2}"], LIMIT + 1),
            ("two replicas with Valkey", [store, store], LIMIT + 1),
            ("two replicas of two workers with Valkey", [f"{store}\nserver: {{workers: 2}}"] * 2, LIMIT + 1),
        ):
            with ExitStack() as running:
                start = [_limited(running, where, provider.url, text, most) for text in texts]
                admitted = await _admitted(start)
            valkey.client.flushall()
            rows.append([name, f"{admitted}", f"{LIMIT} to {most}", verdict(LIMIT <= admitted <= most)])
    return rows


def _limited(stack: ExitStack, where: Path, provider: str, more: str, most: int) -> Server:
    entry = _entry("k", fairness.SINGLE, f"models: ['*'], limits: {{requests: {LIMIT}/m}}")
    line = f"  - {{name: a, base_url: '{provider}/v1', kind: static, models: [m], call: {{base_url: '{provider}/v1'}}}}"
    server = stack.enter_context(ours(where, config_text([line], f"{more}\nkeys:\n{entry}")))
    wait_until_listed(server, 1, {"Authorization": f"Bearer {fairness.SINGLE}"})
    return server


async def _admitted(servers: Sequence[Server]) -> int:
    """The calls that were admitted, of many clients at a time, each with a connection of its own."""

    async def client(number: int) -> int:
        async with aiohttp.ClientSession() as session:
            call = fairness.call
            statuses = [await call(session, servers[number % len(servers)], fairness.SINGLE) for _ in range(CALLS)]
        if unexpected := {*statuses} - {200, 429}:
            raise SystemExit(f"error: a call got status {unexpected}")
        return statuses.count(200)

    return sum(await asyncio.gather(*map(client, range(CLIENTS))))


@contextmanager
def _wrk(server: Server, body: Path) -> Iterator[None]:
    """Repeat calls of the flooding key in a separate process: most are rejected, and repeated, immediately."""
    command = ["wrk", "-t1", f"-c{fairness.FLOOD}", "-d60s", "-s", str(ROOT / "benchmarks" / "call.lua")]
    command += [f"-HAuthorization: Bearer {fairness.FLOODING}", server.url("/v1/chat/completions"), "--", str(body)]
    with process(command, LOAD_CORE):
        yield


# -- fairness ------------------------------------------------------------------------------------------------------


async def _fairness() -> list[list[str]]:
    """Measure one key alone, and while another one repeats calls above its limit without a pause."""
    limits = {"flooding": "limits: {requests: 10/m}"}
    with folder() as where:
        body = where / "body"
        body.write_bytes(call_body("m", streamed=False))

        @asynccontextmanager
        async def flood(client: aiohttp.ClientSession, server: Server) -> AsyncIterator[None]:
            with _wrk(server, body):
                yield

        alone, flooded = await fairness.rounds(limits, flood if tool("wrk", "the load is slower") else None)
    rows = [("alone", alone), (f"with {fairness.FLOOD} clients of a key at its limit", flooded)]
    return [fairness.row(name, runs, alone, FAIRNESS_GOAL) for name, runs in rows]


if __name__ == "__main__":
    main()

"""15. Reloads of the configuration, half of them with a bad file, under load of lists, calls and streams."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import (
    LOAD_CORE,
    begin,
    folder,
    free_port,
    mebibytes,
    percentile,
    pin,
    process,
    python,
    ratio,
    table,
    verdict,
    wait_for,
)  # fmt: skip
from benchmarks.servers import Server, config_text, ours, upstreams, wait_until_listed
from tests.providers.bulk_calls import MODELS, call_body
from tests.providers.bulk_lists import base_url

RELOADS = 100
PROVIDERS, LISTED = 20, 50
PER_ROUND = 10
QUIET_SECONDS = 5.0  # before the reloads of each round
LIST_GOAL, MEMORY_GOAL = 1.2, 1.05
OPERATOR, CALLER = "mp-benchmark-operator-00000000", "mp-benchmark-caller-0000000000"
OTHER = "mp-benchmark-other-00000000000"
_BETWEEN = 0.5
"""Seconds between two reloads. Changes of files are applied after at least twice as long."""
_PAUSE = 0.01  # seconds between two requests of a client: the load is far below saturation


@dataclass
class Results:
    """What the clients got."""

    lists: list[float] = field(default_factory=list)
    """Milliseconds of each list in this round."""
    listed: int = 0
    calls: int = 0
    streams: int = 0
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=RELOADS)
    reloads = parser.parse_args().reloads
    begin(f"{reloads} reloads, half of them rejected, with {PROVIDERS} providers and {PROVIDERS * LISTED:,} models")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        lists = stack.enter_context(upstreams(LISTED))
        calls = free_port()
        wait_for(calls, stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(calls)), LOAD_CORE)))
        server = stack.enter_context(ours(where, _config(lists, calls, 0)))
        wait_until_listed(server, PROVIDERS * LISTED, _authorization(CALLER))
        pin(LOAD_CORE)
        write = (where / f"{server.port}.yaml").write_text
        asyncio.run(_run(server, write, lambda turn: _config(lists, calls, turn), reloads))


def _config(lists: int, calls: int, turn: int) -> str:
    """The configuration of one turn: keys, owners, access rules and providers differ; `CALLER` sees 1,000 models."""
    forwarded = {0: "json", 1: "sse"}
    entries = [
        f"  - {{name: p{n}, base_url: '{base_url(lists, n)}', "
        + (f"call: {{base_url: 'http://127.0.0.1:{calls}/{forwarded[n]}'}}, " if n in forwarded else "")
        + f"owner: owner-{turn % 3}}}"
        for n in range(PROVIDERS)
    ]
    if turn % 4 == 2:
        entries.append(f"  - {{name: added-{turn}, base_url: '{base_url(lists, PROVIDERS + turn % 7)}'}}")
    keys = [
        ("caller", CALLER, ""),
        ("operator", OPERATOR, ", admin: true"),
        (f"k{turn}", f"mp-benchmark-{turn:020d}", ""),
    ]
    lines = [f"  - {{name: {name}, hash: '{_digest(key)}', models: ['*']{more}}}" for name, key, more in keys]
    lines.append(f"  - {{name: other, hash: '{_digest(OTHER)}', models: ['*', '!*-{turn % 10}']}}")
    return config_text(entries, "keys:\n" + "\n".join(lines))


def _digest(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _authorization(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _run(server: Server, write: Callable[[str], object], config: Callable[[int], str], reloads: int) -> None:
    """Alternate quiet rounds with rounds of reloads."""
    memory: dict[int, float] = {}
    results = Results()
    quiet: list[float] = []
    loaded: list[float] = []

    async def reload(turn: int) -> None:
        is_bad = turn % 2 == 1
        write(config(turn) + ("unknown_setting: 1\n" if is_bad else ""))
        status, _ = await _request(server.port, "POST", "/admin/reload", OPERATOR)
        if status != (422 if is_bad else 200):
            results.failures.append(f"reload {turn}: status {status}")
        await asyncio.sleep(_BETWEEN)

    async def rounds() -> None:
        for first in range(1, reloads + 1, PER_ROUND):
            results.lists.clear()
            await asyncio.sleep(QUIET_SECONDS)
            quiet.append(percentile(results.lists, 99))
            results.lists.clear()
            last = min(first + PER_ROUND - 1, reloads)
            for turn in range(first, last + 1):
                await reload(turn)
            loaded.append(percentile(results.lists, 99))
            memory[last] = mebibytes(server.pid, "VmRSS")

    await _under_load(server.port, results, rounds)
    _report(results, quiet, loaded, memory)


def _report(results: Results, quiet: Sequence[float], loaded: Sequence[float], memory: Mapping[int, float]) -> None:
    (first, early), *_, (last, late) = memory.items()
    slower = ratio(loaded, quiet)
    failures = results.failures
    rows = [
        ["failed requests", str(len(failures)), "0", verdict(not failures)],
        ["lists", f"{results.listed:,}", "", ""],
        ["calls, streams", f"{results.calls:,}, {results.streams:,}", "", ""],
        ["list p99 ms, quiet", f"{median(quiet):.2f}", "", ""],
        ["list p99 ms, with reloads", f"{median(loaded):.2f}", "", ""],
        ["ratio", f"{slower:.2f}", f"{LIST_GOAL}", verdict(slower <= LIST_GOAL)],
        [f"memory MiB after reload {first}", f"{early:.1f}", "", ""],
        [f"memory MiB after reload {last}", f"{late:.1f}", "", ""],
        ["ratio", f"{late / early:.3f}", f"{MEMORY_GOAL}", verdict(late <= MEMORY_GOAL * early)],
    ]
    print(table(["", "result", "goal", "met"], rows))
    for failure in failures[:10]:
        print(f"\n{failure}")


async def _under_load(port: int, results: Results, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clients = [
        *(asyncio.create_task(_lists(port, results)) for _ in range(4)),
        *(asyncio.create_task(_calls(port, results, "json")) for _ in range(2)),
        *(asyncio.create_task(_calls(port, results, "sse")) for _ in range(2)),
    ]
    await work()
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


async def _lists(port: int, results: Results) -> None:
    while True:
        began = time.perf_counter()
        status, body = await _request(port, "GET", "/v1/models", CALLER)
        results.lists.append((time.perf_counter() - began) * 1000)
        results.listed += 1
        if status != 200 or body.count(b'"object":"model"') < PROVIDERS * LISTED:
            results.failures.append(f"list: status {status}, {len(body)} bytes")
        await asyncio.sleep(_PAUSE)


async def _calls(port: int, results: Results, kind: str) -> None:
    body = call_body(MODELS[kind], streamed=kind == "sse")
    while True:
        status, answer = await _request(port, "POST", "/v1/chat/completions", CALLER, body)
        if status != 200 or (kind == "sse" and b"data: [DONE]" not in answer):
            results.failures.append(f"{kind} call: status {status}, {answer[:200]!r}")
        elif kind == "sse":
            results.streams += 1
        else:
            results.calls += 1
        await asyncio.sleep(_PAUSE)


async def _request(port: int, method: str, path: str, key: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own. A lost connection has the status 0."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        raw = await reader.read()
        writer.close()
    except OSError as error:
        return 0, str(error).encode()
    answer, _, rest = raw.partition(b"\r\n\r\n")
    return int(answer[9:12] or b"0"), rest


if __name__ == "__main__":
    main()

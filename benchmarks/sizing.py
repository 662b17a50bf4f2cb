"""17. What grows with keys, models, providers, connections and calls in progress; what limits cost a shared store."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from msgspec.structs import replace
from pydantic import SecretStr

from benchmarks.harness import (
    LOAD_CORE,
    begin,
    cpu_seconds,
    folder,
    free_port,
    measured,
    mebibytes,
    process,
    python,
    table,
    wait_for,
)
from benchmarks.servers import Server, config_text, ours, providers, upstreams, wait_until_listed
from proxy.clock import SystemClock
from proxy.config.store import StoreSettings
from proxy.limits.claims import Claim
from proxy.sharing.valkey import Valkey
from reliability.http import call, request
from tests.valkey_servers import ValkeyServer

MODELS = 500
"""Of each provider."""
SIZES = ((10, 2), (10_000, 2), (10, 40), (10_000, 40))
"""Numbers of keys and providers."""
ROUNDS = 3
CONNECTIONS, SECONDS = 32, 1.0
OPEN = 1_000
"""Connections, and calls in progress."""
CLAIMS, CALLERS = 20_000, 400
"""Calls of callers with limits that a shared store decides on."""
_MINUTE = Claim("", "requests", "m", 10**9, 1)
LIMITS: Mapping[str, Sequence[Claim]] = {
    "one limit": [_MINUTE],
    "four limits": [
        _MINUTE,
        Claim("", "requests", "d", 10**9, 1),
        Claim("", "tokens", "d", 10**9, 1),
        Claim("", "concurrent", "", 10**9, 1),
    ],
}


@dataclass(frozen=True)
class Size:
    """One server."""

    listening: float
    """Seconds."""
    memory: float
    """MiB with the list in memory."""
    cpu: float
    """Seconds until the list is complete, without the start of Python and the configuration."""
    plain: int
    compressed: int
    """Bytes of the list."""
    gzip_us: float
    unchanged_us: float
    """CPU of a list."""


def main() -> None:
    begin(f"What grows, with {MODELS} models of each provider")
    with folder() as where, upstreams(MODELS) as port:
        rows = [_row(where, port, keys, count) for keys, count in SIZES]
    head = ["keys", "models", "listening s", "memory MiB", "first refresh CPU s", "list KiB", "gzip KiB"]
    print(table([*head, "gzip CPU us", "304 CPU us"], rows))
    with folder() as where:
        rows = [[name, f"{_open(where, data):.1f}"] for name, data in _KEPT_OPEN.items()]
    print("\n" + table([f"{OPEN:,} of each", "KiB each"], rows))
    rows = [[name, f"{asyncio.run(_claims(limits)):.1f}"] for name, limits in LIMITS.items()]
    print("\n" + table(["calls of callers with limits", "CPU us of Valkey each"], rows))


def _row(where: Path, port: int, keys: int, count: int) -> list[str]:
    sizes = [_size(where, port, keys, count) for _ in range(ROUNDS)]

    def middle(name: str) -> float:
        return float(median(getattr(size, name) for size in sizes))

    return [
        f"{keys:,}",
        f"{count * MODELS:,}",
        f"{middle('listening'):.2f}",
        f"{middle('memory'):.1f}",
        f"{middle('cpu'):.2f}",
        f"{middle('plain') / 1024:,.0f}",
        f"{middle('compressed') / 1024:,.0f}",
        f"{middle('gzip_us'):.1f}",
        f"{middle('unchanged_us'):.1f}",
    ]


def _size(where: Path, port: int, keys: int, count: int) -> Size:
    began = time.monotonic()
    with ours(where, config_text(providers(port, count), _keys(keys))) as server:
        before = cpu_seconds(server.pid)
        wait_until_listed(server, count * MODELS, _credential(0))
        cpu = cpu_seconds(server.pid) - before
        compressed = server.get(headers={**_credential(0), "Accept-Encoding": "gzip"})
        plain = server.get(headers=_credential(0))
        memory = mebibytes(server.pid, "VmRSS")
        gzip = _cpu_us(server)
        unchanged = _cpu_us(server, f"If-None-Match: {compressed.header('etag')}")
    return Size(server.listening_at - began, memory, cpu, len(plain.body), len(compressed.body), gzip, unchanged)


_KEPT_OPEN = {
    "idle connections": request("GET", "/healthz", "none"),
    "calls that wait for their provider": call("openai/model-0-0", "none"),
}


def _open(where: Path, data: bytes) -> float:
    """KiB of each connection on which these bytes were sent."""
    port = free_port()
    with process(python("-m", "reliability.providers", str(port)), LOAD_CORE) as running, ExitStack() as stack:
        wait_for(port, running)
        line = f"  - {{name: silent, base_url: 'http://127.0.0.1:{port}/good/0/silent', max_in_flight: {2 * OPEN}}}"
        server = stack.enter_context(ours(where, config_text([line], "groups: {default: {models: ['*'], call: true}}")))
        wait_until_listed(server, MODELS)
        opened = [_opened(stack, server, data) for _ in range(OPEN // 10)]  # what only the first need
        time.sleep(1.0)
        before = mebibytes(server.pid, "VmRSS")
        opened += [_opened(stack, server, data) for _ in range(OPEN)]
        time.sleep(1.0)
        return (mebibytes(server.pid, "VmRSS") - before) * 1024 / OPEN


async def _claims(limits: Sequence[Claim]) -> float:
    """CPU of Valkey for each call, in microseconds: the decision, and the end of a call in progress."""
    with ValkeyServer() as server:
        store = Valkey(StoreSettings(valkey=SecretStr(server.url), namespace="benchmark"), SystemClock())
        running = asyncio.create_task(store.run())

        async def decide(number: int) -> None:
            claims = [replace(claim, scope=f"key-{number % CALLERS}") for claim in limits]
            decision = await store.limits.claim(claims)
            assert decision, "the store responds"
            store.limits.report([claim.with_amount(-1) for claim in claims if claim.kind == "concurrent"])

        await decide(0)
        before = cpu_seconds(server.pid)
        for first in range(0, CLAIMS, 8):
            await asyncio.gather(*map(decide, range(first, first + 8)))
        await store.limits.flush()
        result = (cpu_seconds(server.pid) - before) / CLAIMS * 1_000_000
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return result


def _opened(stack: ExitStack, server: Server, data: bytes) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
    connection.sendall(data)
    return connection


def _cpu_us(server: Server, *headers: str) -> float:
    sent = [f"{name}: {value}" for name, value in _credential(0).items()]
    run = measured(
        server.pid,
        server.url(),
        connections=CONNECTIONS,
        seconds=SECONDS,
        headers=["Accept-Encoding: gzip", *sent, *headers],
    )
    return float(run.cpu_us)


def _key(number: int) -> str:
    return f"mp-benchmark-sizing-{number:032d}"


def _credential(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {_key(number)}"}


def _keys(count: int) -> str:
    digests = (hashlib.sha256(_key(number).encode()).hexdigest() for number in range(count))
    return "keys:\n" + "\n".join(
        f"  - {{name: key-{number}, hash: 'sha256:{digest}', models: ['*']}}" for number, digest in enumerate(digests)
    )


if __name__ == "__main__":
    main()

"""17. What grows with keys, models and providers: start, memory, refresh, and the bytes and the cost of the list."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import begin, cpu_seconds, folder, measured, mebibytes, table
from benchmarks.servers import Server, config_text, ours, providers, upstreams, wait_until_listed

MODELS = 500
"""Of each provider."""
SIZES = ((10, 2), (10_000, 2), (10, 40), (10_000, 40))
"""Numbers of keys and providers."""
ROUNDS = 3
CONNECTIONS, SECONDS = 32, 1.0


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

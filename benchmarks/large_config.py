"""12. Pauses of the event loop while a configuration with 10,000 keys is read: in a thread, and by the server."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.harness import begin, table, verdict
from proxy.config import Config, read
from proxy.server.config_process import load

KEYS = (500, 1000, 10_000)
ROUNDS = 7
TICK = 0.0005
GOAL = 20.0  # ms


class Reading(NamedTuple):
    """One reading of a configuration beside a running event loop."""

    pause: float
    """The longest, in ms."""
    seconds: float
    cpu: float
    """Of the process with the event loop, in ms."""


def main() -> None:
    begin("Pauses while a large configuration is read")
    rows = [row for count in KEYS for row in _rows(count)]
    print(table(["keys", "read", "longest pause ms", "CPU of the server ms", "s", "goal", "met"], rows))


def _rows(count: int) -> list[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(_text(count), encoding="utf-8")
        config = read(path)
        ways: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "in a thread": lambda: _complete(read(path)),
            "by the server": lambda: _complete(load(path, config.sources)),
        }
        rounds = [{name: asyncio.run(_reading(way)) for name, way in ways.items()} for _ in range(ROUNDS)]
    rows = []
    for name in ways:
        pause, seconds, cpu = (median(values) for values in zip(*(each[name] for each in rounds), strict=True))
        goal = [f"< {GOAL:g}", verdict(pause < GOAL)] if name == "by the server" else ["-", "-"]
        rows.append([f"{count:,}", name, f"{pause:.1f}", f"{cpu:.0f}", f"{seconds:.2f}", *goal])
    return rows


def _complete(config: Config) -> str:
    """With what a reload compares first."""
    return config.generation


async def _reading(work: Callable[[], object]) -> Reading:
    cpu, began = time.process_time(), time.perf_counter()
    reading = asyncio.create_task(asyncio.to_thread(work))
    pause, before = 0.0, time.perf_counter()
    while not reading.done():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        pause, before = max(pause, now - before - TICK), now
    return Reading(pause * 1000, time.perf_counter() - began, (time.process_time() - cpu) * 1000)


def _text(count: int) -> str:
    lines = [
        "providers: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]",
        "groups: {staff: {models: ['*', '!*-preview']}}",
        "keys:",
    ]
    for number in range(count):
        digest = hashlib.sha256(b"key-%d" % number).hexdigest()
        lines.append(f"  - {{name: key-{number}, hash: 'sha256:{digest}', group: staff}}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

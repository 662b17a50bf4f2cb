"""3. The cost of a refresh: CPU time and pauses of the event loop.

The first refresh, up to the encoded list; a later one with unchanged lists, the common case; and a later one in which
one model of each provider has changed.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import uvloop

from benchmarks.harness import ROUNDS, SERVER_CORE, begin, pin, table, verdict
from benchmarks.servers import config_text, providers, upstreams
from proxy.access import Policy
from proxy.config import parse
from proxy.server.app import Proxy

SIZES = ((20, 500), (50, 2000))
CPU_GOAL, PAUSE_GOAL = 150.0, 20.0
LINEAR = 1.25
"""Maximum ratio of CPU per model, of the larger to the smaller refresh, to count as linear."""


class Pauses:
    """Measures how long the event loop is blocked."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now


async def refresh(text: str, models: int) -> tuple[float, float, float]:
    """Milliseconds from separate runs: CPU of a first refresh with a view, its longest pause, CPU of a later one."""
    return (await _cpu(text, models), await _pause(text, models), await _cpu_of_later_refresh(text, models))


async def _cpu_of_later_refresh(text: str, models: int, rounds: int = 1) -> float:
    """CPU milliseconds of the last of several refreshes, each half a TTL after the previous one."""
    pause = 2.0 if models <= 10_000 else 6.0  # seconds between two refreshes, longer than a refresh
    app = Proxy(parse(f"cache: {{ttl: {2 * pause}s}}\n{text}"))
    policy = Policy(["*"])
    async with app.lifespan():
        await asyncio.sleep(0)
        await app.deployment.store.wait_until_warmed_up()
        await app.deployment.store.prepare(policy)  # the list of the first refresh is rendered and cached
        cpu = 0.0
        for turn in range(rounds):
            before = time.process_time()
            await asyncio.sleep(pause * (1.2 if turn == 0 else 1.0))
            await app.deployment.store.prepare(policy)
            assert len(app.deployment.store.view(policy).catalog.models) == models
            assert all(report.age is not None and report.age < pause for report in app.deployment.store.reports()), (
                "not refreshed"
            )
            cpu = (time.process_time() - before) * 1000
        return cpu


async def _cpu(text: str, models: int) -> float:
    app = Proxy(parse(text))
    before = time.process_time()
    await _run(app, models)
    return (time.process_time() - before) * 1000


async def _pause(text: str, models: int) -> float:
    app = Proxy(parse(text))
    pauses = Pauses()
    watching = asyncio.create_task(pauses.watch())
    await asyncio.sleep(0)
    await _run(app, models)
    watching.cancel()
    return pauses.longest * 1000


async def _run(app: Proxy, models: int) -> None:
    policy = Policy(["*"])
    async with app.lifespan():
        await asyncio.sleep(0)
        await app.deployment.store.wait_until_warmed_up()
        await app.deployment.store.prepare(policy)
        assert len(app.deployment.store.view(policy).catalog.models) == models


@contextmanager
def as_when_serving() -> Iterator[None]:
    """Exclude existing objects from garbage collection, as `serve` does."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def main() -> None:
    begin("A refresh")
    pin(SERVER_CORE)
    rows: list[list[str]] = []
    for_each: list[float] = []
    with as_when_serving():
        for count, models in SIZES:
            with upstreams(models) as port:
                text = _config(port, count)
                rounds = [uvloop.run(refresh(text, count * models)) for _ in range(ROUNDS + 1)][1:]
            cpu, pause, later = (median(figures) for figures in zip(*rounds, strict=True))
            for_each.append(cpu / count / models * 1000)
            rows.append([f"{count} x {models:,}", f"{cpu:.0f}", f"{for_each[-1]:.1f}", f"{pause:.1f}", f"{later:.0f}"])
        changed = _cpu_of_a_change(*SIZES[0])
    rows[0] += [f"{changed:.0f}"]
    rows[1] += ["-"]
    growth = for_each[1] / for_each[0]
    rows[0] += [f"CPU < {CPU_GOAL:.0f}: first {verdict(cpu_of(rows[0]) < CPU_GOAL)}, "]
    rows[0][-1] += f"later {verdict(float(rows[0][4]) < CPU_GOAL)}, "
    rows[0][-1] += f"changed {verdict(changed < CPU_GOAL)}; "
    rows[0][-1] += f"pause < {PAUSE_GOAL:.0f}: {verdict(float(rows[0][3]) < PAUSE_GOAL)}"
    rows[1] += [f"linear (<= {LINEAR} of the first, per model): {growth:.2f}, {verdict(growth <= LINEAR)}"]
    print(
        table(
            [
                "providers x models",
                "CPU ms",
                "us per model",
                "longest pause ms",
                "later: CPU ms",
                "changed",
                "goals, met",
            ],
            rows,
        )
    )


def _config(port: int, count: int, mode: str = "v") -> str:
    return "defaults: {timeout: 60s, initial_wait: 60s}\n" + config_text(providers(port, count, mode=mode))


def _cpu_of_a_change(count: int, models: int) -> float:
    """CPU of a later refresh in which one model of each provider has changed, not for the first time."""
    with upstreams(models) as port:
        text = _config(port, count, "one-differs")
        again = [uvloop.run(_cpu_of_later_refresh(text, count * models, rounds=2)) for _ in range(ROUNDS + 1)]
    return median(again[1:])


def cpu_of(row: list[str]) -> float:
    return float(row[1])


if __name__ == "__main__":
    main()

"""Three replicas behind nginx, under load: `.venv/bin/python -m reliability.replicas`, about two minutes.

A replica, the store, nginx's worker and each provider are killed or stopped in turn. A request that fails must have
been under way at the process that was killed. The exit status is 1 if another one failed, or if a list was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import begin, folder, mebibytes, table, verdict
from reliability.replicas.load import Load, Request
from reliability.replicas.rig import REPLICAS, Process, Rig, rig

_AWAY = 4.0
"""Seconds for which a process is away."""
_AFTER = 4.0
"""Seconds until the next event."""


class Event(NamedTuple):
    """What happens: `begin` returns when the process is killed or stopped, `end` when it is there again."""

    name: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    kills: bool


def killed(process: Process) -> Event:
    async def kill() -> None:
        process.kill()

    return Event(f"{process.name} killed, restarted after {_AWAY:g} s", kill, process.start, kills=True)


def stopped(process: Process) -> Event:
    async def send(number: signal.Signals) -> None:
        process.send(number)

    stop, go_on = partial(send, signal.SIGSTOP), partial(send, signal.SIGCONT)
    return Event(f"{process.name} stopped for {_AWAY:g} s", stop, go_on, kills=False)


def events(rig: Rig) -> Sequence[Event]:
    async def nothing() -> None:
        return None

    async def kill_worker() -> None:
        os.kill(rig.nginx_worker(), signal.SIGKILL)

    both = [*rig.replicas, rig.store, *rig.providers]
    return [
        Event("nothing", nothing, nothing, kills=False),
        *(killed(process) for process in both),
        Event("nginx's worker killed", kill_worker, nothing, kills=True),
        *(stopped(process) for process in both[REPLICAS - 1 :]),
    ]


class Outcome(NamedTuple):
    """What the clients experienced from the beginning of one event to that of the next."""

    requests: Sequence[Request]
    killed_at: float | None

    def _under_way(self, request: Request) -> bool:
        return self.killed_at is not None and request.began <= self.killed_at <= request.ended

    @property
    def under_way(self) -> Sequence[Request]:
        return [request for request in self.requests if request.failure and self._under_way(request)]

    @property
    def failed(self) -> Sequence[Request]:
        return [request for request in self.requests if request.failure and not self._under_way(request)]

    def cells(self) -> Sequence[str]:
        counts = Counter(request.kind for request in self.requests)
        waits = [(request.ended - request.began) * 1000 for request in self.requests if request.kind == "list"]
        return [
            *(f"{counts[kind]:,}" for kind in ("list", "call", "stream")),
            f"{max(waits, default=0):,.0f}",
            f"{len(self.under_way)}",
            f"{len(self.failed)}",
            verdict(not self.failed),
        ]


async def run(where: Path) -> bool:
    with rig(where) as made:
        await made.start()
        load = Load(made.port)
        load.start()
        await asyncio.sleep(_AFTER)
        load.take()
        rows, failures = [], []
        for event in events(made):
            began = time.monotonic()
            await event.begin()
            await asyncio.sleep(_AWAY)
            await event.end()
            await asyncio.sleep(_AFTER)
            outcome = Outcome(load.take(), began if event.kills else None)
            rows.append([event.name, *outcome.cells()])
            failures += [f"{event.name}: {request.kind}: {request.failure}" for request in outcome.failed]
        await load.stop()
        memory = max(mebibytes(replica.pid, "VmHWM") for replica in made.replicas)
    head = ["event", "lists", "calls", "streams", "slowest list ms", "failed: under way", "failed: others", "met"]
    print(table(head, rows))
    print(f"\nMemory of a replica: at most {memory:.1f} MiB.")
    for failure in failures[:20]:
        print(f"\n{failure}")
    return not failures


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    begin(f"{REPLICAS} replicas behind nginx with a shared store, under load")
    with folder() as where:
        met = asyncio.run(run(where))
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()

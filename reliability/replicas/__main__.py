"""Three replicas behind nginx, under load: `.venv/bin/python -m reliability.replicas`, about two minutes.

A replica, the store, nginx's worker and each provider are killed or stopped in turn; `--short` leaves some of it out. A
request that fails must have been in progress when a replica, nginx's worker, or, for calls, a provider was killed. The
exit status is 1 if another one failed, if a list was wrong, or if a replica needed too much memory.
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
from reliability.replicas.load import Kind, Load, Request
from reliability.replicas.rig import REPLICAS, Process, Rig, rig

_AWAY, _SHORT = 4.0, 1.5
"""Seconds for which a process is away, and then until the next event: of the long and of the short form."""
_MAX_MEMORY = 110.0
"""MiB of a replica."""
_CALLS: Sequence[Kind] = ("call", "stream")
_ALL: Sequence[Kind] = ("list", *_CALLS)
_MAX_PRINTED = 20
"""Kinds of failures."""


class Event(NamedTuple):
    """What happens: `begin` returns when the process is killed or stopped, `end` when it is there again."""

    name: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    may_fail: Sequence[Kind] = ()
    """Requests that may fail if they are in progress when it begins."""


def killed(process: Process, may_fail: Sequence[Kind]) -> Event:
    async def kill() -> None:
        process.kill()

    return Event(f"{process.name} killed and restarted", kill, process.start, may_fail)


def stopped(process: Process) -> Event:
    async def send(number: signal.Signals) -> None:
        process.send(number)

    stop, go_on = partial(send, signal.SIGSTOP), partial(send, signal.SIGCONT)
    return Event(f"{process.name} stopped, continued", stop, go_on)


def events(rig: Rig, *, is_short: bool) -> Sequence[Event]:
    async def nothing() -> None:
        return None

    async def kill_worker() -> None:
        os.kill(rig.nginx_worker(), signal.SIGKILL)

    replicas = [killed(replica, _ALL) for replica in rig.replicas]
    kills = [replicas[-1], killed(rig.store, ()), *(killed(provider, _CALLS) for provider in rig.providers)]
    kills.append(Event("nginx's worker killed", kill_worker, nothing, _ALL))
    if is_short:
        return kills
    stops = map(stopped, [rig.replicas[-1], rig.store, *rig.providers])
    return [Event("nothing", nothing, nothing), *replicas[:-1], *kills, *stops]


class Outcome(NamedTuple):
    """What the clients experienced from the beginning of one event to that of the next."""

    requests: Sequence[Request]
    began: float
    may_fail: Sequence[Kind]

    def _in_progress(self, request: Request) -> bool:
        return request.kind in self.may_fail and request.began <= self.began <= request.ended

    @property
    def in_progress(self) -> Sequence[Request]:
        return [request for request in self.requests if request.failure and self._in_progress(request)]

    @property
    def failed(self) -> Sequence[Request]:
        return [request for request in self.requests if request.failure and not self._in_progress(request)]

    def cells(self) -> Sequence[str]:
        counts = Counter(request.kind for request in self.requests)
        waits = [(request.ended - request.began) * 1000 for request in self.requests if request.kind == "list"]
        return [
            *(f"{counts[kind]:,}" for kind in ("list", "call", "stream")),
            f"{max(waits, default=0):,.0f}",
            f"{len(self.in_progress)}",
            f"{len(self.failed)}",
            verdict(not self.failed),
        ]


async def run(where: Path, *, is_short: bool) -> bool:
    seconds = _SHORT if is_short else _AWAY
    with rig(where) as made:
        await made.start()
        load = Load(made.port)
        load.start()
        await asyncio.sleep(seconds)
        load.take()
        rows, failures = [], Counter[str]()
        for event in events(made, is_short=is_short):
            began = time.monotonic()
            await event.begin()
            await asyncio.sleep(seconds)
            await event.end()
            await asyncio.sleep(seconds)
            outcome = Outcome(load.take(), began, event.may_fail)
            rows.append([event.name, *outcome.cells()])
            failures.update(f"{event.name}: {request.kind}: {request.failure}" for request in outcome.failed)
        await load.stop()
        memory = max(mebibytes(replica.pid, "VmHWM") for replica in made.replicas)
    head = ["event", "lists", "calls", "streams", "slowest list ms", "failed: in progress", "failed: others", "met"]
    print(table(head, rows))
    is_small = memory < _MAX_MEMORY
    print(f"\nMemory of a replica: at most {memory:.1f} MiB (goal: below {_MAX_MEMORY:g}; met: {verdict(is_small)}).")
    for failure, count in failures.most_common(_MAX_PRINTED):
        print(f"\n{count} times: {failure}")
    return not failures and is_small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    is_short = parser.parse_args().short
    begin(f"{REPLICAS} replicas behind nginx with a shared store, under load")
    with folder() as where:
        met = asyncio.run(run(where, is_short=is_short))
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()

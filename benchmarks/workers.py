"""18. Lists, calls and streams over 128 connections: two workers, compared with one process.

The servers may use both cores. On a machine with two cores, load and providers share one of them, so the rate of two
workers is not meaningful; the CPU per request, and the distribution of connections, do not depend on that.

CPU seconds can be compared if both servers make the same reads: a busy process finds several events of a stream at
once, two workers that wait for the provider read each event separately. The streams with a goal are paced: their events
arrive at intervals, as models generate them. Streams at full speed are shown, too, with the reads per request.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from time import sleep
from typing import NamedTuple

from benchmarks.harness import (
    LOAD_CORE,
    ROOT,
    Load,
    begin,
    cpu_seconds,
    folder,
    free_port,
    load,
    process,
    python,
    ratio,
    table,
    verdict,
    wait_for,
)
from benchmarks.servers import Server, config_text, upstreams, wait_until_listed
from tests.providers.bulk_calls import MODELS, call_body
from tests.providers.bulk_lists import MAKERS, base_url

LISTED = 60
CONNECTIONS = 128
ROUNDS = 7
SECONDS = 1.0  # per round
PACED_SECONDS = 3.0  # per round: six streams of each connection
GOAL = 0.9
SHARES = (0.35, 0.65)


MODES = {**MODELS, "paced": f"{MAKERS[len(MODELS)]}/model-{len(MODELS)}-0"}
"""Provider -> the model that is called."""


class Request(NamedTuple):
    name: str
    path: str
    body: Path | None
    seconds: float = SECONDS
    has_goal: bool = True


class Result(NamedTuple):
    """One round with one server."""

    load: Load
    cpu: float
    """Seconds of all processes."""
    connections: Sequence[int]
    """Of each worker, in the middle of the round."""
    reads: int
    """System calls of all processes that read."""

    @property
    def per_cpu_second(self) -> float:
        return self.load.requests / self.cpu


def main() -> None:
    begin("Workers")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        calls = free_port()
        wait_for(calls, stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(calls)), LOAD_CORE)))
        lists = stack.enter_context(upstreams(LISTED))
        servers = {workers: stack.enter_context(_serving(where, config(lists, calls, workers))) for workers in (1, 2)}
        rows = [row_of(request, _measure(servers, request)) for request in _requests(where)]
        head = [
            "request",
            "reads each, 1 process",
            "2 workers",
            "per CPU s, 1 process",
            "2 workers",
            "ratio",
            "goal",
            "met",
        ]
        head += ["connections of each worker", "goal", "met", "req/s, 1 process", "2 workers"]
        print(table(head, rows))
        print("\n" + table(["server", "process", "RSS MiB", "PSS MiB"], [*_memory(servers)]))


def config(lists: int, calls: int, workers: int) -> str:
    lines = [
        f"  - {{name: {mode}, base_url: '{base_url(lists, number)}', max_in_flight: 10000, "
        f"call: {{base_url: 'http://127.0.0.1:{calls}/{mode}'}}}}"
        for number, mode in enumerate(MODES)
    ]
    settings = f"server: {{workers: {workers}, metrics: off}}\nlogging: {{access: off}}\n"
    return settings + config_text(lines, "groups: {default: {models: ['*'], call: true}}")


def _requests(where: Path) -> Iterator[Request]:
    yield Request("list", "/v1/models", None)
    for mode, name, seconds in (
        ("json", "call, JSON", SECONDS),
        ("paced", "call, SSE, paced", PACED_SECONDS),
        ("sse", "call, SSE, full speed", SECONDS),
    ):
        body = where / mode
        body.write_bytes(call_body(MODES[mode], streamed=mode != "json"))
        yield Request(name, "/v1/chat/completions", body, seconds, has_goal=mode != "sse")


@contextmanager
def _serving(where: Path, text: str) -> Iterator[Server]:
    """Run the proxy, not pinned to a core."""
    port = free_port()
    path = where / f"{port}.yaml"
    path.write_text(text)
    command = python("-m", "proxy", "serve", "--config", str(path), "--port", str(port))
    cores = os.sched_getaffinity(0)
    with process(command, LOAD_CORE, None, ROOT) as running:
        os.sched_setaffinity(running.pid, cores)  # the workers are started later
        server = Server(running, port, wait_for(port, running))
        wait_until_listed(server, LISTED)
        yield server


def _measure(servers: Mapping[int, Server], request: Request) -> Mapping[int, Sequence[Result]]:
    """Rounds with both servers, alternately, after a warm-up."""
    results: dict[int, list[Result]] = {workers: [] for workers in servers}
    for turn in range(ROUNDS + 1):
        for workers, server in servers.items():
            result = _round(server, request)
            if turn:
                results[workers].append(result)
    return results


def _round(server: Server, request: Request) -> Result:
    pids = processes(server.pid)
    counted: list[list[int]] = []

    def count() -> None:
        sleep(request.seconds / 2)
        counted.append(_connections(pids[1:] or pids, server.port))

    counting = Thread(target=count)
    counting.start()
    cpu, reads = sum(map(cpu_seconds, pids)), sum(map(_reads, pids))
    result = load(server.url(request.path), connections=CONNECTIONS, seconds=request.seconds, body=request.body)
    cpu, reads = sum(map(cpu_seconds, pids)) - cpu, sum(map(_reads, pids)) - reads
    counting.join()
    return Result(result, cpu, counted[0], reads)


def _reads(pid: int) -> int:
    """System calls of a process that read, of its sockets and files."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["syscr"])


def processes(pid: int) -> list[int]:
    """A server and its workers."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _connections(pids: Sequence[int], port: int) -> list[int]:
    """The established connections of clients of each process."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    return [sum(os.readlink(link) in sockets for link in _descriptors(pid)) for pid in pids]


def _descriptors(pid: int) -> Iterator[Path]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if link.is_symlink():
            yield link


def row_of(request: Request, results: Mapping[int, Sequence[Result]]) -> list[str]:
    one, two = results[1], results[2]
    share = ratio([each.per_cpu_second for each in two], [each.per_cpu_second for each in one])
    parts = [count / sum(each.connections) for each in two for count in each.connections]
    return [
        request.name,
        *(f"{median(each.reads / max(1, each.load.requests) for each in rounds):,.1f}" for rounds in (one, two)),
        f"{median(each.per_cpu_second for each in one):,.0f}",
        f"{median(each.per_cpu_second for each in two):,.0f}",
        f"{share:.2f}",
        f">= {GOAL}" if request.has_goal else "",
        verdict(share >= GOAL) if request.has_goal else "",
        f"{min(parts):.0%} to {max(parts):.0%}",
        f"{SHARES[0]:.0%} to {SHARES[1]:.0%}",
        verdict(SHARES[0] <= min(parts) and max(parts) <= SHARES[1]),
        f"{median(each.load.per_second for each in one):,.0f}",
        f"{median(each.load.per_second for each in two):,.0f}",
    ]


def _memory(servers: Mapping[int, Server]) -> Iterator[list[str]]:
    for workers, server in servers.items():
        for number, pid in enumerate(processes(server.pid)):
            name = "server" if workers == 1 else f"worker {number}" if number else "supervisor"
            fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
            values = (f"{int(fields[field].split()[0]) / 1024:.1f}" for field in ("Rss", "Pss"))
            yield ["1 process" if workers == 1 else f"{workers} workers", name, *values]


if __name__ == "__main__":
    main()

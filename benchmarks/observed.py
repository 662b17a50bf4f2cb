"""14. Lists and calls with a log of calls, also with metrics that are scraped each second, compared with neither.

    python -m benchmarks.observed [--base TREE] [--before TREE]

Both are root directories of earlier versions with their own `.venv`; they are compared in the same run. `--base` may
have no log and no metrics: it is compared with the server that has both. `--before` has the settings of the quiet
server.

Two equal processes differ by several percent, because of their memory layout. So each side is
measured in several processes and compared by medians over them, and one side runs twice: its ratio, which would be 1
without any noise, is the resolution of the run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.harness import (
    LOAD_CORE,
    begin,
    folder,
    free_port,
    measured,
    process,
    python,
    table,
    verdict,
    wait_for,
)
from benchmarks.servers import Server, config_text, ours, upstreams, wait_until_listed
from tests.providers.bulk_calls import MODELS, call_body
from tests.providers.bulk_lists import base_url

LISTED = 60
PROCESSES = 5
"""Of each side."""
ROUNDS = 3
"""With each process, after a warm-up."""
SECONDS = 1.0  # per round: one scrape
WARM_UP_SECONDS = 0.5
GOAL, GOAL_OF_BASE = 1.05, 1.10
KEY = "mp-benchmark-observed-000000000000"
CREDENTIAL = {"Authorization": f"Bearer {KEY}"}
_SAME_HASHES = {"PYTHONHASHSEED": "0"}


class Side(NamedTuple):
    """One of the compared servers."""

    name: str
    settings: str
    is_scraped: bool = False
    version: Path | None = None
    """The root of an earlier version, None for this one."""


class Request(NamedTuple):
    name: str
    path: str
    connections: int
    body: Path | None


QUIET = Side("quiet", "server: {metrics: off}\nlogging: {access: off}\n")
AGAIN = QUIET._replace(name="quiet, again")
LOGGED = Side("log", "server: {metrics: off}\nlogging: {access: calls, format: json}\n")
OBSERVED = Side("log, metrics", "server: {metrics: admin}\nlogging: {access: calls, format: json}\n", is_scraped=True)

Results = Mapping[Side, Sequence[float]]
"""Microseconds of CPU per request in each process of each side."""


def base(version: Path) -> Side:
    """An earlier version, which may have no settings of logs and metrics."""
    return Side("base", "", version=version)


def before(version: Path) -> Side:
    """An earlier version with the settings of the quiet server."""
    return QUIET._replace(name="before", version=version)


def config(lists: int, calls: int, more: str) -> str:
    lines = [
        f"  - {{name: {mode}, base_url: '{base_url(lists, number)}', max_in_flight: 10000, "
        f"call: {{base_url: 'http://127.0.0.1:{calls}/{mode}'}}}}"
        for number, mode in enumerate(MODELS)
    ]
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return more + config_text(
        lines, f"keys: [{{name: benchmark, hash: 'sha256:{digest}', models: ['*'], admin: true}}]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="the root of an earlier version, perhaps without a log and metrics")
    parser.add_argument(
        "--before", type=Path, help="the root of an earlier version, for a comparison with equal settings"
    )
    given = parser.parse_args()
    versions = [of(tree.resolve()) for of, tree in ((base, given.base), (before, given.before)) if tree]
    sides = [QUIET, LOGGED, OBSERVED, AGAIN, *versions]
    begin("Lists and calls, observed")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        calls = free_port()
        wait_for(calls, stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(calls)), LOAD_CORE)))
        lists = stack.enter_context(upstreams(LISTED // len(MODELS)))
        bodies = {mode: where / mode for mode in MODELS}
        for mode, file in bodies.items():
            file.write_bytes(call_body(MODELS[mode], streamed=mode == "sse"))
        requests = [
            *(Request("list", "/v1/models", connections, None) for connections in (1, 32)),
            *(Request("call, JSON", "/v1/chat/completions", connections, bodies["json"]) for connections in (1, 32)),
            Request("call, SSE", "/v1/chat/completions", 32, bodies["sse"]),
        ]
        texts = {side: config(lists, calls, side.settings) for side in sides}
        results = measure(where, texts, requests)
    rows = [row for request in requests for row in rows_of(request, results[request])]
    print(table(["request", "connections", "server", "CPU us", "lowest", "highest", "ratio", "goal", "met"], rows))


def measure(where: Path, texts: Mapping[Side, str], requests: Sequence[Request]) -> Mapping[Request, Results]:
    """Measure all requests with processes of all sides, which run alternately. `texts`: their configurations."""
    results: dict[Request, dict[Side, list[float]]] = {each: {side: [] for side in texts} for each in requests}
    for _ in range(PROCESSES):
        with ExitStack() as stack:
            servers = {side: stack.enter_context(_serve(where, side, text)) for side, text in texts.items()}
            for request in requests:
                for side, cpu_us in _rounds(servers, request).items():
                    results[request][side].append(cpu_us)
    return results


@contextmanager
def _serve(where: Path, side: Side, text: str) -> Iterator[Server]:
    with ExitStack() as stack:
        server = stack.enter_context(ours(where, text, _SAME_HASHES, side.version))
        wait_until_listed(server, LISTED, CREDENTIAL)
        if side.is_scraped:
            stack.enter_context(_scrapes(server))
        yield server


@contextmanager
def _scrapes(server: Server) -> Iterator[None]:
    """Scrape a server each second, as Prometheus does."""
    headers = {**CREDENTIAL, "Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
    with process([*python("-c", _SCRAPER), server.url("/metrics"), json.dumps(headers)], LOAD_CORE):
        yield


_SCRAPER = """
import json, sys, time, urllib.request
url, headers = sys.argv[1], json.loads(sys.argv[2])
while True:
    urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read()
    time.sleep(1)
"""


def _rounds(servers: Mapping[Side, Server], request: Request) -> Mapping[Side, float]:
    """The median of each server over the rounds, in microseconds of CPU per request."""
    rounds: dict[Side, list[float]] = {side: [] for side in servers}
    headers = [f"{field}: {value}" for field, value in CREDENTIAL.items()]
    for turn in range(ROUNDS + 1):
        for side, server in servers.items():
            run = measured(
                server.pid,
                server.url(request.path),
                connections=request.connections,
                seconds=SECONDS if turn else WARM_UP_SECONDS,
                headers=headers,
                body=request.body,
            )
            if turn:
                rounds[side].append(run.cpu_us)
    return {side: median(runs) for side, runs in rounds.items()}


def rows_of(request: Request, results: Results) -> Iterator[list[str]]:
    """The rows of a table. Ratios compare medians over processes, with those of `QUIET`, or with an earlier version."""
    quiet, observed = median(results[QUIET]), median(results[OBSERVED])
    for side, runs in results.items():
        row = [request.name, f"{request.connections}", side.name]
        row += [f"{value:.1f}" for value in (median(runs), min(runs), max(runs))]
        if side == QUIET:
            yield [*row, "", "", ""]
        elif side == AGAIN:
            yield [*row, f"{median(runs) / quiet:.3f}", "", ""]
        elif side.version:
            own, goal = (observed, GOAL_OF_BASE) if side.name == "base" else (quiet, GOAL)
            yield [*row, *_compared(own / median(runs), goal)]
        else:
            yield [*row, *_compared(median(runs) / quiet, GOAL)]


def _compared(ratio: float, goal: float) -> list[str]:
    return [f"{ratio:.3f}", f"<= {goal:.2f}", verdict(ratio <= goal)]


if __name__ == "__main__":
    main()

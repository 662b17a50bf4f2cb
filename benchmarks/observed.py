"""14. Lists and calls with a log of calls, also with metrics that are scraped each second, compared with neither."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import (
    LOAD_CORE,
    Round,
    begin,
    folder,
    free_port,
    measured,
    medians,
    process,
    python,
    ratio,
    table,
    verdict,
    wait_for,
)
from benchmarks.servers import Server, config_text, ours, upstreams, wait_until_listed
from tests.providers.bulk_calls import MODELS, call_body
from tests.providers.bulk_lists import base_url

LISTED = 60
ROUNDS = 15  # many, so that medians ignore a slow second of the machine
SECONDS = 1.0  # per round: one scrape
GOAL = 1.05
KEY = "mp-benchmark-observed-000000000000"
CREDENTIAL = {"Authorization": f"Bearer {KEY}"}
QUIET = "server: {metrics: off}\nlogging: {access: off}\n"
LOGGED = "server: {metrics: off}\nlogging: {access: calls, format: json}\n"
OBSERVED = "server: {metrics: admin}\nlogging: {access: calls, format: json}\n"


def config(lists: int, calls: int, more: str) -> str:
    lines = [
        f"  - {{name: json, base_url: '{base_url(lists, 0)}', max_in_flight: 10000, "
        f"call: {{base_url: 'http://127.0.0.1:{calls}/json'}}}}"
    ]
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return more + config_text(
        lines, f"keys: [{{name: benchmark, hash: 'sha256:{digest}', models: ['*'], admin: true}}]"
    )


def main() -> None:
    begin("Lists and calls, observed")
    with ExitStack() as stack:
        where = Path(stack.enter_context(folder()))
        calls = free_port()
        wait_for(calls, stack.enter_context(process(python("-m", "tests.providers.bulk_calls", str(calls)), LOAD_CORE)))
        lists = stack.enter_context(upstreams(LISTED))
        servers = [stack.enter_context(_serve(where, config(lists, calls, more))) for more in (QUIET, LOGGED, OBSERVED)]
        stack.enter_context(_scrapes(servers[2]))
        body = where / "body"
        body.write_bytes(call_body(MODELS["json"], streamed=False))
        rows = [
            _row(name, servers, path, connections, file)
            for name, path, file in (("list", "/v1/models", None), ("call, JSON", "/v1/chat/completions", body))
            for connections in (1, 32)
        ]
    head = ["request", "connections", "CPU us", "with log", "ratio", "also metrics", "ratio", "goal", "met"]
    print(table(head, rows))


@contextmanager
def _serve(where: Path, text: str) -> Iterator[Server]:
    with ours(where, text) as server:
        wait_until_listed(server, LISTED, CREDENTIAL)
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


def _row(name: str, servers: Sequence[Server], path: str, connections: int, body: Path | None) -> list[str]:
    rounds: list[list[Round]] = [[] for _ in servers]
    headers = [f"{field}: {value}" for field, value in CREDENTIAL.items()]
    for turn in range(ROUNDS + 1):
        for server, runs in zip(servers, rounds, strict=True):
            url = server.url(path)
            run = measured(server.pid, url, connections=connections, seconds=SECONDS, headers=headers, body=body)
            if turn:  # the first is a warm-up
                runs.append(run)
    quiet, logged, observed = ([run.cpu_us for run in runs] for runs in rounds)
    of_log, of_both = ratio(logged, quiet), ratio(observed, quiet)
    usual, with_log, with_both = (f"{medians(runs).cpu_us:.1f}" for runs in rounds)
    return [
        name, f"{connections}", usual, with_log, f"{of_log:.3f}", with_both, f"{of_both:.3f}", f"<= {GOAL}",
        verdict(max(of_log, of_both) <= GOAL),
    ]  # fmt: skip


if __name__ == "__main__":
    main()

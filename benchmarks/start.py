"""5. Startup time, and memory: with all lists; after calls, scrapes and views of the status page; with more lists."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import ROUNDS, SERVER_CORE, begin, folder, mebibytes, process, python, table, verdict
from benchmarks.servers import config_text, ours, providers, upstreams, wait_until_listed
from tests.providers.bulk_lists import first_model

PROVIDERS, MODELS = 20, 500
START_GOAL, MEMORY_GOAL, SCRAPED_GOAL, OPENED_GOAL = 1.0, 80.0, 90.0, 110.0
SCRAPES = 20
PAGES = ("/status", "/status/models", "/status/models?q=model", f"/status/models/{first_model(0)}", "/status/changes")
VIEWS = 5
"""Requests for each page."""
MANY_PROVIDERS, FEW_MODELS = 100, 5


@dataclass(frozen=True)
class Start:
    """One start: times in seconds, memory in MiB."""

    empty: float
    """Startup time of Python without a program."""
    listening: float
    listed: float
    called: float
    scraped: float
    opened: float
    most: float


def measure_start(where: Path, text: str) -> Start:
    start = time.monotonic()
    with process(python("-c", "pass"), SERVER_CORE) as nothing:
        nothing.wait()
    empty = time.monotonic() - start
    start = time.monotonic()
    with ours(where, text) as server:
        listening = server.listening_at - start
        wait_until_listed(server, PROVIDERS * MODELS)
        server.get(headers={"Accept-Encoding": "gzip"})
        listed = mebibytes(server.pid, "VmRSS")
        for provider in range(PROVIDERS):
            assert server.call(first_model(provider)).status == 200, "listed models can be called"
        called = mebibytes(server.pid, "VmRSS")
        for _ in range(SCRAPES):
            assert server.get("/metrics", {"Accept-Encoding": "gzip"}).status == 200, "without keys they need none"
        scraped = mebibytes(server.pid, "VmRSS")
        for page in PAGES * VIEWS:
            assert server.get(page, {"Accept": "text/html"}).status == 200, "without keys they need none"
        opened, most = mebibytes(server.pid, "VmRSS"), mebibytes(server.pid, "VmHWM")
        return Start(empty, listening, listed, called, scraped, opened, most)


def memory(where: Path, port: int, shown: int) -> float:
    """MiB with the lists of many providers, of which `shown` models each are shown."""
    lines = providers(port, MANY_PROVIDERS)
    if shown < MODELS:
        patterns = [[f"*-{number}-{model}" for model in range(shown)] for number in range(MANY_PROVIDERS)]
        lines = [
            f"{line[:-1]}, include: {json.dumps(include)}}}" for line, include in zip(lines, patterns, strict=True)
        ]
    with ours(where, config_text(lines)) as server:
        wait_until_listed(server, MANY_PROVIDERS * shown)
        return mebibytes(server.pid, "VmRSS")


def main() -> None:
    begin(f"Startup and memory, {PROVIDERS} providers x {MODELS} models")
    with folder() as where, upstreams(MODELS) as port:
        text = config_text(providers(port, PROVIDERS), "groups: {default: {models: ['*'], call: true}}")
        rounds = [measure_start(where, text) for _ in range(ROUNDS + 1)][1:]
        few, every = (median(memory(where, port, shown) for _ in range(3)) for shown in (FEW_MODELS, MODELS))
    listening = median(run.listening for run in rounds)
    listed = median(run.listed for run in rounds)
    called = median(run.called for run in rounds)
    scraped = median(run.scraped for run in rounds)
    opened = median(run.opened for run in rounds)
    rows = [
        ["listening, seconds", f"{listening:.2f}", f"< {START_GOAL:.0f}", verdict(listening < START_GOAL)],
        ["Python without a program, seconds", f"{median(run.empty for run in rounds):.2f}", "-", "-"],
        ["memory with all lists, MiB", f"{listed:.1f}", f"< {MEMORY_GOAL:.0f}", verdict(listed < MEMORY_GOAL)],
        ["after a call to each provider, MiB", f"{called:.1f}", f"< {MEMORY_GOAL:.0f}", verdict(called < MEMORY_GOAL)],
        ["after scrapes of metrics, MiB", f"{scraped:.1f}", f"< {SCRAPED_GOAL:.0f}", verdict(scraped < SCRAPED_GOAL)],
        ["after views of the status page, MiB", f"{opened:.1f}", f"< {OPENED_GOAL:.0f}", verdict(opened < OPENED_GOAL)],
        ["peak memory, MiB", f"{median(run.most for run in rounds):.1f}", "-", "-"],
        [f"{MANY_PROVIDERS} providers, all {MODELS} models shown, MiB", f"{every:.1f}", "-", "-"],
        [
            f"{MANY_PROVIDERS} providers, {FEW_MODELS} models shown, MiB",
            f"{few:.1f}",
            f"<= {every:.1f}",
            verdict(few <= every),
        ],
    ]
    print(table(["", "result", "goal", "met"], rows))


if __name__ == "__main__":
    main()

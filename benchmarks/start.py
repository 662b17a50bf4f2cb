"""5. Startup time, and memory: with all lists, and after calls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import ROUNDS, SERVER_CORE, begin, folder, mebibytes, process, python, table, verdict
from benchmarks.servers import config_text, ours, providers, upstreams, wait_until_listed
from tests.providers.bulk_lists import first_model

PROVIDERS, MODELS = 20, 500
START_GOAL, MEMORY_GOAL = 1.0, 80.0


@dataclass(frozen=True)
class Start:
    """One start: times in seconds, memory in MiB."""

    empty: float
    """Startup time of Python without a program."""
    listening: float
    listed: float
    called: float
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
        called, most = mebibytes(server.pid, "VmRSS"), mebibytes(server.pid, "VmHWM")
        return Start(empty, listening, listed, called, most)


def main() -> None:
    begin(f"Startup and memory, {PROVIDERS} providers x {MODELS} models")
    with folder() as where, upstreams(MODELS) as port:
        text = config_text(providers(port, PROVIDERS), "groups: {default: {models: ['*'], call: true}}")
        rounds = [measure_start(where, text) for _ in range(ROUNDS + 1)][1:]
    listening = median(run.listening for run in rounds)
    listed = median(run.listed for run in rounds)
    called = median(run.called for run in rounds)
    rows = [
        ["listening, seconds", f"{listening:.2f}", f"< {START_GOAL:.0f}", verdict(listening < START_GOAL)],
        ["Python without a program, seconds", f"{median(run.empty for run in rounds):.2f}", "-", "-"],
        ["memory with all lists, MiB", f"{listed:.1f}", f"< {MEMORY_GOAL:.0f}", verdict(listed < MEMORY_GOAL)],
        ["after a call to each provider, MiB", f"{called:.1f}", f"< {MEMORY_GOAL:.0f}", verdict(called < MEMORY_GOAL)],
        ["peak memory, MiB", f"{median(run.most for run in rounds):.1f}", "-", "-"],
    ]
    print(table(["", "result", "goal", "met"], rows))


if __name__ == "__main__":
    main()

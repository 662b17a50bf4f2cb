"""5. How soon the command listens, and the memory it then holds."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.harness import ROUNDS, SERVER_CORE, begin, folder, kibibytes, process, python, table, verdict
from benchmarks.servers import config_text, ours, providers, upstreams, wait_until_listed

PROVIDERS, MODELS = 20, 500
START_GOAL, MEMORY_GOAL = 1.0, 80.0


def one_start(where: Path, text: str) -> tuple[float, float, float, float]:
    """Seconds until it listens, MiB after the first lists, MiB at most, and seconds that an empty Python takes."""
    began = time.monotonic()
    with process(python("-c", "pass"), SERVER_CORE) as nothing:
        nothing.wait()
    empty = time.monotonic() - began
    began = time.monotonic()
    with ours(where, text) as server:
        listening = server.listening_at - began
        wait_until_listed(server, PROVIDERS * MODELS)
        server.get(headers={"Accept-Encoding": "gzip"})
        return listening, kibibytes(server.pid, "VmRSS") / 1024, kibibytes(server.pid, "VmHWM") / 1024, empty


def main() -> None:
    begin(f"Start and memory, {PROVIDERS} providers x {MODELS} models")
    with folder() as where, upstreams(MODELS) as port:
        text = config_text(providers(port, PROVIDERS))
        rounds = [one_start(where, text) for _ in range(ROUNDS + 1)][1:]
    listening, held, most, empty = (median(figures) for figures in zip(*rounds, strict=True))
    rows = [
        ["listening, seconds", f"{listening:.2f}", f"< {START_GOAL:.0f}", verdict(listening < START_GOAL)],
        ["an empty Python, seconds", f"{empty:.2f}", "-", "-"],
        ["memory with all lists, MiB", f"{held:.0f}", f"< {MEMORY_GOAL:.0f}", verdict(held < MEMORY_GOAL)],
        ["most memory until then, MiB", f"{most:.0f}", "-", "-"],
    ]
    print(table(["", "found", "goal", "met"], rows))


if __name__ == "__main__":
    main()

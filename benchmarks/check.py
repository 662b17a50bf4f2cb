"""`models-proxy check` of a file with many keys, each with rules of its own, over many models.

    python -m benchmarks.check [--before TREE]

`--before`: the root of an earlier version with its own `.venv`, which checks the same files in the same run; the
documents of both must be equal, except for durations and the texts of `warnings`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import SERVER_CORE, begin, folder, pin, python, table, verdict
from benchmarks.servers import config_text, providers, upstreams

PROVIDERS, MODELS = 20, 1000
KEYS, KEYS_BEFORE = 2000, 100
"""An earlier version needs seconds for each key, so it is compared with few keys."""
GOAL = 10.0
TIMEOUT = 900.0

RULES: Mapping[str, Callable[[int], Sequence[str]]] = {
    "ids and an owner": lambda n: [f"openai/m-{n}", f"qwen/m-{n + 1}", f"owner:owner-{n}", "provider:p1"],
    "patterns of ids": lambda n: [f"openai/*-{n}", f"*-{n}-mini", f"qwen*{n}*"],
    "denied patterns": lambda n: ["*", f"!*-{n}", f"!google/*-{n}-*"],
}
"""The rules of key `n`."""


class Run(NamedTuple):
    seconds: float
    cpu: float
    document: Any
    """The JSON document, without what differs between runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the root of an earlier version")
    before: Path | None = parser.parse_args().before
    begin(f"models-proxy check --json over {PROVIDERS * MODELS:,} models")
    with folder() as where, upstreams(MODELS) as port:
        rows = [_row(where, port, name, keys, before) for keys in (KEYS_BEFORE, KEYS) for name in RULES]
    head = ["rules of each key", "keys", "s", "CPU s", "goal", "met", "before s", "before CPU s", "equal"]
    print(table(head, rows))


def _row(where: Path, port: int, name: str, keys: int, before: Path | None) -> list[str]:
    config = where / f"{keys}.yaml"
    entries = [
        f"  - {{name: k{n}, hash: 'sha256:{hashlib.sha256(f'made-up-key-{n}'.encode()).hexdigest()}',"
        f" models: {json.dumps(RULES[name](n))}}}"
        for n in range(keys)
    ]
    config.write_text(config_text(providers(port, PROVIDERS), "keys:\n" + "\n".join(entries)))
    arguments = ("-m", "proxy", "check", "--json", "--config", str(config))
    now = _run(python(*arguments))
    row = [name, f"{keys:,}", f"{now.seconds:.1f}", f"{now.cpu:.1f}", f"<= {GOAL:.0f}", verdict(now.seconds <= GOAL)]
    if before is None or keys > KEYS_BEFORE:
        return [*row, "-", "-", "-"]
    earlier = _run([str(before / ".venv/bin/python"), *arguments], before)
    return [*row, f"{earlier.seconds:.1f}", f"{earlier.cpu:.1f}", verdict(earlier.document == now.document)]


def _run(command: Sequence[str], directory: Path | None = None) -> Run:
    began, used = time.perf_counter(), _cpu_of_children()
    result = subprocess.run(  # noqa: S603  # our own command
        command, cwd=directory, capture_output=True, timeout=TIMEOUT, check=False, preexec_fn=lambda: pin(SERVER_CORE)
    )
    seconds, cpu = time.perf_counter() - began, _cpu_of_children() - used
    document = json.loads(result.stdout)
    del document["warnings"]
    for provider in document["providers"]:
        del provider["seconds"]
    return Run(seconds, cpu, document)


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()

"""Requests of several kinds in turn, a block of each, in one run of load.

The speed of a shared machine can change several times a second. Blocks of about 0.1 s that follow each other are
compared, hundreds of them, so this affects all kinds.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.harness import LOAD_CORE, ROOT, TIMEOUT, parse_wrk, pin, tool

CONNECTIONS = 32
SKIPPED = 2 * CONNECTIONS
"""Requests at the beginning of a block that are not measured: some of the block before are still in progress."""

Blocks = list[list[float]]
"""Microseconds of CPU per request, by kind and block. All kinds have equally many."""


def blocks_of(
    pid: int, url: str, keys: Sequence[Path], body: Path | None, *, results: Path, size: int, seconds: float
) -> Blocks:
    """Request one URL of the server with this process id.

    `keys`: for each kind, a file of API keys, one per line, used in rotation; `body`: a file that is posted with each
    request; `results`: a file that is written; `size`: requests in a block. The first block of each kind warms the
    server up.
    """
    if tool("wrk", "there is no other load generator with blocks") is None:
        raise SystemExit(1)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s", "-s"]
    command += [str(ROOT / "benchmarks" / "alternating.lua"), url, "--"]
    command += [str(pid), str(size), str(SKIPPED), str(results), str(body or ""), *map(str, keys)]
    output = subprocess.run(  # noqa: S603  # our own command
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + TIMEOUT,
        preexec_fn=lambda: pin(LOAD_CORE),
    ).stdout
    parse_wrk(output)  # which fails if any request did
    return parse_blocks(results.read_text(), len(keys))


def parse_blocks(text: str, kinds: int) -> Blocks:
    """Parse lines such as `1 204.5`: the number of a kind, and microseconds."""
    blocks: Blocks = [[] for _ in range(kinds)]
    for line in text.splitlines():
        kind, microseconds = line.split()
        blocks[int(kind) - 1].append(float(microseconds))
    measured = min(map(len, blocks))
    if measured < 2:
        raise SystemExit("error: too few requests for two blocks of each kind")
    return [each[1:measured] for each in blocks]


def share(servers: Sequence[Blocks], kind: int) -> tuple[float, float]:
    """Return the CPU of a kind by that of the first one: the mean of several servers, and its standard error."""
    shares = [sum(blocks[kind]) / sum(blocks[0]) for blocks in servers]
    return mean(shares), stdev(shares) / len(shares) ** 0.5

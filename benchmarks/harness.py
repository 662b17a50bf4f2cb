"""Shared parts of the benchmarks: processes pinned to cores, CPU time, load, medians, tables."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import IO

ROOT = Path(__file__).parent.parent
SERVER_CORE = 0
LOAD_CORE = min(1, (os.cpu_count() or 1) - 1)
ROUNDS = 5
TIMEOUT = 20.0
"""Seconds after which a benchmark fails."""

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


# -- results -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """The result of one round of load. Times are in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Round:
    """One round of load, and the CPU time of the server."""

    load: Load
    cpu: float
    """Seconds."""

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per request."""
        return self.cpu / self.load.requests * 1e6 if self.load.requests else float("inf")


@dataclass(frozen=True)
class Medians:
    """Medians over the rounds of one target."""

    per_second: float
    cpu_us: float
    p50: float
    p99: float


def medians(rounds: Sequence[Round]) -> Medians:
    return Medians(
        median(run.load.per_second for run in rounds),
        median(run.cpu_us for run in rounds),
        median(run.load.p50 for run in rounds),
        median(run.load.p99 for run in rounds),
    )


def ratio(ours: Sequence[float], reference: Sequence[float]) -> float:
    """The median of the ratios of the rounds: a slowdown of the machine affects both sides of a ratio."""
    return median(own / other for own, other in zip(ours, reference, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not exceeded by this percentage of all values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is left-aligned, all others right-aligned."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| "
        + " | ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(pairs))
        + " |"
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def verdict(met: bool) -> str:
    return "yes" if met else "NO"


def machine() -> str:
    """The machine and the library versions, without host name and paths."""
    parts = ("uvicorn", "uvloop", "httptools", "httpx", "msgspec", "starlette")
    libraries = ", ".join(f"{name} {version(name)}" for name in parts)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{when}; {os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]} "
        f"{platform.machine()}, Python {platform.python_version()}, {libraries}"
    )


def begin(title: str) -> None:
    """Print the heading of a run, and a warning on a machine with one core."""
    print(f"## {title}\n\n{machine()}\n", flush=True)
    if SERVER_CORE == LOAD_CORE:
        print("warning: only one core: load and server share it, so only the CPU columns are meaningful\n", flush=True)


# -- processes -----------------------------------------------------------------------------------------------------


def pin(core: int) -> None:
    """Pin this process and its children to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


@contextmanager
def process(
    command: Sequence[str], core: int, env: Mapping[str, str] | None = None, directory: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on one core. It is stopped when the context exits."""
    # Not a pipe: nobody reads it, and the log of a server would fill it.
    log = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    started = subprocess.Popen(  # noqa: S603  # our own commands
        command,
        cwd=directory,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        preexec_fn=lambda: pin(core),
    )
    started.stderr = log
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        log.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> float:
    """Wait until the server listens. Returns monotonic seconds."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return time.monotonic()
        except OSError:
            time.sleep(0.002)
        if server.poll() is not None:
            stderr = _end_of(server.stderr) if server.stderr else ""
            raise SystemExit(f"the server exited with code {server.returncode}: {stderr}")
    raise SystemExit(f"the server is not listening after {TIMEOUT:g} s")


def _end_of(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-2000:]


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and all its threads until now."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def mebibytes(pid: int | str, field: str) -> float:
    """`VmRSS`: current resident memory; `VmHWM`: its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary directory for configurations and bodies."""
    with tempfile.TemporaryDirectory(prefix="models-proxy-benchmark-") as name:
        yield Path(name)


# -- load ----------------------------------------------------------------------------------------------------------

_reported: set[str] = set()


def tool(name: str, instead: str) -> str | None:
    """The path of a program, None if it is not installed; then print once how to install it, and the effect."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None and name not in _reported:
        _reported.add(name)
        print(f"{name} is not installed (`apt-get install {name}`): {instead}.\n", flush=True)
    return path


def load(
    url: str,
    *,
    connections: int,
    seconds: float,
    headers: Sequence[str] = (),
    keys: Path | None = None,
    body: Path | None = None,
) -> Load:
    """Request one URL repeatedly.

    `keys`: a file of API keys, one per line, used in rotation; a line may contain a name and a value of a header, too.
    `body`: a file that is posted with each request.
    """
    wrk = tool("wrk", "using a slower load generator; rely on the CPU columns, not on requests per second")
    if wrk is None:
        return _own_load(url, connections, seconds, headers, keys, body)
    # It ignores the signal below if it is still starting. Then it ends by itself, soon enough for `TIMEOUT`.
    command = [
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{math.ceil(seconds) + 5}s",
        "--latency",
        *(f"-H{header}" for header in headers),
    ]
    files = [str(file) for file in (keys, body) if file is not None]
    if files:
        command += ["-s", str(ROOT / "benchmarks" / ("keys.lua" if keys else "call.lua"))]
    arguments = ["--", *files] if files else []
    running = subprocess.Popen(  # noqa: S603  # our own command
        [*command, url, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: pin(LOAD_CORE),
    )
    try:
        time.sleep(seconds)
    finally:
        running.send_signal(signal.SIGINT)  # prints its statistics and exits
        output, _ = running.communicate(timeout=TIMEOUT)
    return parse_wrk(output)


def parse_wrk(output: str) -> Load:
    """Parse the output of `wrk --latency`."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", output)
    if total is None:
        raise SystemExit(f"unexpected output of wrk:\n{output}")
    if failed := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*", output):
        raise SystemExit(f"some requests failed: {failed[0]}")
    return Load(
        int(total[1]),
        float(total[2]) * _UNITS[total[3]] / 1000,
        _latency(output, "50%"),
        _latency(output, "99%"),
    )


def _latency(output: str, name: str) -> float:
    match = re.search(rf"^\s*{re.escape(name)}\s+([\d.]+)(us|ms|s|m)\b", output, re.MULTILINE)
    return float(match[1]) * _UNITS[match[2]] if match else float("nan")


def _own_load(
    url: str, connections: int, seconds: float, headers: Sequence[str], keys: Path | None, body: Path | None
) -> Load:
    spec = {"url": url, "connections": connections, "seconds": seconds, "headers": list(headers)}
    spec |= {"keys": None if keys is None else str(keys), "body": None if body is None else str(body)}
    output = subprocess.run(  # noqa: S603  # our own command
        python("-m", "benchmarks.load", json.dumps(spec)),
        cwd=ROOT,
        check=True,
        capture_output=True,
        preexec_fn=lambda: pin(LOAD_CORE),
    ).stdout
    return Load(**json.loads(output))


def measured(
    pid: int,
    url: str,
    *,
    connections: int,
    seconds: float,
    headers: Sequence[str] = (),
    keys: Path | None = None,
    body: Path | None = None,
) -> Round:
    """Run one round of load on the server with this process id."""
    before = cpu_seconds(pid)
    result = load(url, connections=connections, seconds=seconds, headers=headers, keys=keys, body=body)
    return Round(result, cpu_seconds(pid) - before)

"""Run the command in a separate process: start it, read its output line by line, and stop it."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.paths import ROOT

CONSOLE = ("--log-format", "console")
"""Options for logs that people read, and the start table."""
TIMEOUT = 30.0
"""Seconds to wait for a condition before a test fails."""


class Process:
    """A process and the lines that it prints. It is killed when the context exits."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None, unread_after: str = "") -> None:
        """`unread_after`: close its stdout after a line with this text, as if a terminal was closed."""
        own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self._process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**own, "PYTHONUTF8": "1", **(env or {})},
        )
        self.pid = self._process.pid
        self.out: list[str] = []
        self.err: list[str] = []
        self._printed = threading.Condition()
        self._unread_after = unread_after
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.err)),
        ]
        self._reads = threading.Semaphore(0)
        for reader in self._readers:
            reader.start()
            # One at a time: Python 3.11 raises RuntimeError if two threads set a trace function, for coverage, at once.
            self._reads.acquire()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self.wait()

    def _read(self, pipe: IO[str], lines: list[str]) -> None:
        self._reads.release()
        with pipe:
            for line in pipe:
                with self._printed:
                    lines.append(line.rstrip("\n"))
                    self._printed.notify_all()
                if lines is self.out and self._unread_after and self._unread_after in line:
                    return

    def line(self, lines: list[str], pattern: str) -> re.Match[str]:
        """Wait for a matching line and return the first match."""
        matches: list[re.Match[str]] = []

        def is_printed() -> bool:
            matches.extend(match for line in lines if (match := re.search(pattern, line)))
            return bool(matches)

        with self._printed:
            assert self._printed.wait_for(is_printed, TIMEOUT), f"no {pattern!r} in {self.out} {self.err}"
        return matches[0]

    @property
    def url(self) -> str:
        """The URL that it prints."""
        return self.line(self.out, r"^Listening on (\S+)$")[1]

    def send(self, sig: signal.Signals) -> None:
        self._process.send_signal(sig)

    def wait(self) -> int:
        """Wait for its end and read all its output. Returns the exit code."""
        code = self._process.wait(TIMEOUT)
        for reader in self._readers:
            reader.join(TIMEOUT)
        return code

    def stop(self) -> int:
        """Stop it with SIGINT, like Ctrl-C. Returns the exit code."""
        self.send(signal.SIGINT)
        return self.wait()

    def seconds_to_end_by(self, sig: signal.Signals) -> float:
        sent = time.monotonic()
        self.send(sig)
        self.wait()
        return time.monotonic() - sent


def models_proxy(*arguments: str, env: Mapping[str, str] | None = None, unread_after: str = "") -> Process:
    return Process("-m", "proxy", *arguments, env=env, unread_after=unread_after)


def serving(
    config: Path,
    text: str,
    *arguments: str,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    unread_after: str = "",
) -> Process:
    """Start `models-proxy serve` with this text as its configuration file, and with logs for people."""
    config.write_text(text, encoding="utf-8")
    where = ["--config", str(config), "--port", str(port)]
    form = () if "--log-format" in arguments else CONSOLE
    return models_proxy("serve", *where, *form, *arguments, env=env, unread_after=unread_after)


def accepts_connections(address: tuple[str, int]) -> bool:
    """Whether a server is listening on this address."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


# Below the range of ephemeral ports (32768 and up), so that the kernel does not use a port between the check and its
# use. Each test process starts with a random port.
_PORTS = cycle(random.sample(range(10_000, 32_768), 1_000))


def free_port() -> int:
    """A free port for a process whose address must be known in advance."""
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def until(is_so: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Wait until a condition outside of this process is true. Raises AssertionError after `seconds`."""
    for _ in _moments(seconds):
        if is_so():
            return
    raise AssertionError(f"not true within {seconds:g} s")


def _moments(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def kibibytes(pid: int, field: str) -> int:
    """A value of `/proc/<pid>/status`: `VmHWM` is the peak of the resident memory, `VmRSS` its current size."""
    return int(_status(pid)[field].split()[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> int:
    return int(_status(pid)["Threads"])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

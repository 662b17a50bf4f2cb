"""Plays systemd: holds the listening socket of a service, starts and restarts it, and receives its notifications."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.paths import ROOT

TIMEOUT = 30.0
# systemd passes the sockets as descriptors from 3 on, and names the process that they are for.
_START = 'exec 3<&"$1"; shift; export LISTEN_PID=$$; exec "$@"'


class Unit:
    """A service with a socket unit. Everything is ended when the context exits."""

    def __init__(self, config: Path, listening: socket.socket, *options: str, **environ: str) -> None:
        self._command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), *options]
        self._listening = listening
        self._log = config.parent / "unit.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(config.parent / "notify")
        self._notify.bind(address)
        self._environ = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": address, "PYTHONUTF8": "1", **environ}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Unit:
        return self

    def __exit__(self, *args: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._notify.close()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        number = self._listening.fileno()
        command = ["bash", "-c", _START, "start", str(number), *self._command]
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                pass_fds=[number],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def send(self, sig: signal.Signals) -> None:
        self._processes[-1].send_signal(sig)

    def wait(self) -> int:
        """Wait for the end of the process. Returns its exit code."""
        return self._processes[-1].wait(TIMEOUT)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def restart(self) -> int:
        """As `systemctl restart`. Returns the exit code of the old process when the new one is ready."""
        code = self.stop()
        self.start()
        self.received("READY=1")
        return code

    def received(self, line: str) -> list[str]:
        """Wait for a notification. Returns all lines that were received until then."""
        lines: list[str] = []
        ends_at = time.monotonic() + TIMEOUT
        while line not in lines:
            self._notify.settimeout(max(0.01, ends_at - time.monotonic()))
            try:
                lines += self._notify.recv(4096).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"no {line!r} in {lines}; log: {self.log}") from None
        return lines

    def waiting(self, seconds: float) -> list[str]:
        """Return the lines that are received within this time."""
        lines: list[str] = []
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self._notify.settimeout(left)
            try:
                lines += self._notify.recv(4096).decode().splitlines()
            except TimeoutError:
                break
        return lines

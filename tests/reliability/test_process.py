"""The process: output that nobody reads, closed descriptors, a full disk and SIGHUP are no outage."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.paths import ROOT
from tests.processes import TIMEOUT, free_port, until

LAB = "server: {reload: 'off'}\nlogging: {access: 'off'}\nproviders: [{name: lab, kind: static, models: [m]}]\n"
SMALLEST_PIPE = 4096
LOG_LINES = 3000
"""More than are kept for a log that nobody reads."""


@contextmanager
def started(
    config: Path, stdout: int, stderr: int, command: str = "exec"
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`models-proxy serve` with these descriptors as its output. Yields the process and its URL once it listens."""
    config.write_text(LAB)
    port = free_port()
    serve = f'{command} "$0" -m proxy serve --config "$1" --port {port} --log-format console'
    process = subprocess.Popen(  # noqa: S603  # our own command
        ["/bin/sh", "-c", serve, sys.executable, str(config)],
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=ROOT,
    )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or answers(port))
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    """Whether the server on this port responds, not only listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=1).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes no more bytes until it is read."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    os.write(writing, b"x" * SMALLEST_PIPE)
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with suppress(OSError):  # the test may have closed it
                os.close(descriptor)


def log_lines(process: subprocess.Popen[bytes], url: str, number: int) -> None:
    """Cause this number of log lines, with a request after each: it must be answered."""
    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
        for _ in range(number):
            process.send_signal(signal.SIGHUP)
            assert client.get(url + "/v1/models").status_code == 200


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(TIMEOUT)


class Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.data = b""
        self.start()

    def run(self) -> None:
        while block := os.read(self._descriptor, 65536):
            self.data += block


def test_output_that_nobody_reads_blocks_no_request_and_dropped_lines_are_counted(tmp_path: Path) -> None:
    with full_pipe() as (out, into_out), full_pipe() as (err, into_err):
        with started(tmp_path / "config.yaml", into_out, into_err) as (process, url):
            log_lines(process, url, LOG_LINES)
            os.close(into_out)
            os.close(into_err)
            readers = Reader(out), Reader(err)
            until(lambda: b" dropped " in readers[1].data)
            log_lines(process, url, 1)
            assert stop(process) == 0
        for reader in readers:
            reader.join(TIMEOUT)
        printed, logged = (reader.data.lstrip(b"x").decode() for reader in readers)

    assert f"Listening on {url}" in printed
    *before, told, after = logged.splitlines()
    dropped = int(told.split(" dropped ")[1].split()[0])
    written = sum("SIGHUP" in line for line in [*before, after])
    assert dropped > 0
    assert written + dropped == LOG_LINES + 1
    assert "SIGHUP" in after


def test_closed_standard_descriptors_are_not_those_of_connections_or_files(tmp_path: Path) -> None:
    nothing = subprocess.DEVNULL
    with started(tmp_path / "config.yaml", nothing, nothing, "exec 0<&- 1>&- 2>&-; exec") as (process, url):
        log_lines(process, url, 3)
        standard = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)]
        assert stop(process) == 0

    assert standard == ["/dev/null"] * 3


def test_a_full_disk_is_no_outage(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with started(tmp_path / "config.yaml", full, full) as (process, url):
            log_lines(process, url, 20)
            assert stop(process) == 0
    finally:
        os.close(full)


def test_sighup_does_not_end_the_process_while_it_reads_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    port = free_port()
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  # our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        with config.open("w") as writing:  # returns as soon as the process opens the file
            process.send_signal(signal.SIGHUP)
            writing.write(LAB)
        until(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None
        assert stop(process) == 0
    finally:
        process.kill()
        process.wait()


def test_sighup_does_not_end_the_process_while_it_stops(tmp_path: Path) -> None:
    with started(tmp_path / "config.yaml", subprocess.DEVNULL, subprocess.DEVNULL) as (process, _):
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        assert process.returncode == 0


def test_a_crash_leaves_no_dump_of_the_memory_with_its_secrets(tmp_path: Path) -> None:
    raised = 'ulimit -S -c "$(ulimit -H -c)"; exec'
    with started(tmp_path / "config.yaml", subprocess.DEVNULL, subprocess.DEVNULL, raised) as (process, _):
        limits = Path(f"/proc/{process.pid}/limits").read_text()

    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file")] == [["0", "0"]]


def test_an_internal_error_of_a_command_is_printed_without_its_text(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(LAB)
    failing = (
        "import proxy.config.loader as loader, proxy.cli.main as cli\n"
        "def fail(*arguments): raise ValueError('sk-canary-of-a-bug')\n"
        "loader._config = fail\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", failing, "check", "--offline", "--config", str(config)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # noqa: S603  # our own command

    first, *stack = finished.stderr.splitlines()
    assert (finished.returncode, first) == (1, "internal error: ValueError")
    assert any("in fail" in line for line in stack)
    assert "canary" not in finished.stderr + finished.stdout

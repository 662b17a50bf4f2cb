"""Counters in `store.directory`: an orderly restart continues them."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from proxy.config import Config
from proxy.server.stored_counters import LOCK, MAX_BYTES, NAME, StoredCounters, in_time
from proxy.store.disk import Disk
from proxy.store.envelope import seal
from proxy.telemetry.merging import counters_of, pack, packed_rows
from tests import processes
from tests.fakes import FakeClock, FakeFetch, config_of, reply_to, started
from tests.processes import Process
from tests.server.workers.test_workers import LISTS, everywhere, metrics

LISTED = 'models_proxy_requests_total{route="/v1/models",method="GET",status="200",key=""}'
CONFIG = """
store: {{directory: {directory}}}
server: {{workers: {workers}, drain_delay: 100ms, metrics: {metrics}}}
logging: {{access: off}}
providers: [{{name: lab, kind: static, models: [{{id: our-own-13b}}]}}]
"""


def text(directory: Path, workers: int = 1, metrics: str = "admin") -> str:
    return CONFIG.format(directory=directory, workers=workers, metrics=metrics)


async def listed_after(config: Config, requests: int) -> str:
    """Start the application, request so many lists, and return their number as metrics show it."""
    async with started(config, FakeFetch(), FakeClock()) as app:
        for _ in range(requests):
            await reply_to(app, "/v1/models")
        body = (await reply_to(app, "/metrics")).body.decode()
        (line,) = [line for line in body.splitlines() if line.startswith(LISTED)]
        return line.rpartition(" ")[2]


@pytest.mark.anyio
async def test_counters_continue_after_each_orderly_end(tmp_path: Path) -> None:
    config = config_of(text(tmp_path / "kept"))
    assert [await listed_after(config, number) for number in (3, 4, 5)] == ["3", "7", "12"]


@pytest.mark.anyio
async def test_counters_of_a_process_that_was_killed_are_not_used(tmp_path: Path) -> None:
    config = config_of(text(tmp_path / "kept"))
    await listed_after(config, 3)
    async with started(config, FakeFetch(), FakeClock()):
        assert not (tmp_path / "kept" / NAME).exists()  # as it stays if the process is killed now


@pytest.mark.anyio
async def test_nothing_is_kept_without_metrics(tmp_path: Path) -> None:
    config = config_of(text(tmp_path / "kept", metrics="off"))
    async with started(config, FakeFetch(), FakeClock()):
        pass
    assert not (tmp_path / "kept" / NAME).exists()


COUNTERS = counters_of([pack({"models_proxy_requests_total": packed_rows([(("/", "GET", "200", ""), 7)])})])


@pytest.fixture
def stored(tmp_path: Path) -> StoredCounters:
    return StoredCounters(Disk(str(tmp_path / "kept"), LOCK))


def test_counters_are_taken_once(stored: StoredCounters) -> None:
    assert stored.take() == b""
    stored.keep(COUNTERS)
    assert (stored.take(), stored.take()) == (COUNTERS, b"")


def test_of_two_processes_the_first_gets_them(stored: StoredCounters, tmp_path: Path) -> None:
    stored.keep(COUNTERS)
    assert stored.take() == COUNTERS
    other = StoredCounters(Disk(str(tmp_path / "kept"), LOCK))
    assert other.take() == b""
    other.keep(COUNTERS)
    assert not (tmp_path / "kept" / NAME).exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"other", "not written by models-proxy"),
        (seal(b"counters", 1, b"", COUNTERS)[:-1], "truncated"),
        (seal(b"counters", 2, b"", COUNTERS), "written by a newer version"),
        (seal(b"counters", 1, b"", b"\xc1"), "invalid content (DecodeError)"),
        (seal(b"counters", 1, b"", pack({"models_proxy_requests_total": b"\xc1"})), "invalid content (DecodeError)"),
        (b"x" * (MAX_BYTES + 1), "larger than 16,777,216 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported(
    data: bytes, reason: str, stored: StoredCounters, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored.keep(COUNTERS)
    (tmp_path / "kept" / NAME).write_bytes(data)
    assert stored.take() == b""
    assert caplog.messages == [f"store.directory: the file counters is ignored: {reason}"]


def test_too_many_counters_are_not_kept(stored: StoredCounters, tmp_path: Path) -> None:
    stored.keep(b"x" * MAX_BYTES)
    assert not (tmp_path / "kept" / NAME).exists()


def test_a_directory_that_does_not_respond_delays_nothing() -> None:
    responds = threading.Event()
    assert in_time(lambda: responds.wait(10), False, seconds=0.01) is False
    responds.set()
    assert in_time(lambda: True, False) is True


def test_counters_of_workers_continue_after_an_orderly_end_only(tmp_path: Path) -> None:
    def counted(process: Process) -> float:
        assert everywhere(process.url, ["our-own-13b"])
        return metrics(process.url)[LISTS]

    def serving() -> Process:
        return processes.serving(tmp_path / "config.yaml", text(tmp_path / "kept", workers=2))

    with serving() as process:
        assert counted(process) == 40
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    with serving() as process:
        assert counted(process) == 80
        process.send(signal.SIGKILL)
    with serving() as process:
        assert counted(process) == 40
        assert process.stop() == 0

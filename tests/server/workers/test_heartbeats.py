"""Workers that hang are killed and replaced."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from proxy.server.workers.channel import Channel
from proxy.server.workers.heartbeats import INTERVAL, MAX_MISSED, MAX_MISSED_AT_START, Heartbeats
from proxy.server.workers.messages import FromWorker
from proxy.server.workers.processes import Place, Worker
from tests.processes import Process, until
from tests.server.workers.test_workers import children, everywhere, is_running, text


class Supervised:
    """One worker, and a supervisor that looks each time when it is due."""

    def __init__(self) -> None:
        end, other = socket.socketpair()
        with end, other:
            channel: Channel[FromWorker] = Channel(end, FromWorker)
            self.worker = Worker(1, Place(1, ()), channel, 0.0)
        self.now = 1000.0
        self.heartbeats = Heartbeats(lambda: self.now)

    def intervals_until_it_hangs(self) -> int:
        for number in range(1, 100):
            self.now += INTERVAL
            if self.heartbeats.hanging([self.worker]):
                return number
        return 0


@pytest.fixture
def supervised() -> Supervised:
    return Supervised()


def test_a_worker_that_responded_hangs_after_six_intervals_without_a_heartbeat(supervised: Supervised) -> None:
    supervised.heartbeats.received(supervised.worker)
    assert supervised.intervals_until_it_hangs() == MAX_MISSED + 1


def test_a_worker_can_take_longer_to_start(supervised: Supervised) -> None:
    assert supervised.intervals_until_it_hangs() == MAX_MISSED_AT_START + 1


def test_heartbeats_begin_the_count_again(supervised: Supervised) -> None:
    for _ in range(50):
        supervised.now += INTERVAL
        supervised.heartbeats.received(supervised.worker)
        assert not supervised.heartbeats.hanging([supervised.worker])


def test_a_worker_that_stops_does_not_hang(supervised: Supervised) -> None:
    supervised.worker.is_stopping = True
    assert supervised.intervals_until_it_hangs() == 0


def test_a_time_in_which_all_processes_were_suspended_is_one_interval(supervised: Supervised) -> None:
    supervised.heartbeats.received(supervised.worker)
    supervised.now += 1_000_000
    assert not supervised.heartbeats.hanging([supervised.worker])
    assert supervised.heartbeats.next_at == supervised.now + INTERVAL


def test_nothing_is_counted_before_an_interval_is_over(supervised: Supervised) -> None:
    for _ in range(100):
        assert not supervised.heartbeats.hanging([supervised.worker])
    assert supervised.worker.missed == 0


def test_a_process_that_is_stopped_is_killed_and_replaced(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text(2), encoding="utf-8")
    with Process("-m", "tests.server.workers.hanging", str(config), "0.5") as process:
        url = process.url
        stopped = min(children(process.pid))
        os.kill(stopped, signal.SIGSTOP)
        process.line(process.err, r"worker 1 has not responded for 3 s, so it is killed: its process is stopped")
        process.line(process.err, r"worker 1 was ended by SIGKILL; it is replaced in \d s")
        until(lambda: len(children(process.pid)) == 2)
        assert not is_running(stopped)
        assert everywhere(url, ["our-own-13b"])
        assert process.stop() == 0

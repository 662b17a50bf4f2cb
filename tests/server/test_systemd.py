"""Notifications to systemd: what is sent when, by a fake event loop; and to a real socket."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.server.systemd import INTERVAL, ServiceManager, State, service_manager


class FakeTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.is_canceled = when, callback, False

    def cancel(self) -> None:
        self.is_canceled = True


class FakeLoop:
    """An event loop that runs when a test advances its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> FakeTimer:
        timer = FakeTimer(self.now + delay, lambda: callback(*args))
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end and not timer.is_canceled]:
            timer = min(due, key=lambda each: each.when)
            self.timers.remove(timer)
            self.now = timer.when
            timer.callback()
        self.now = end


class Systemd:
    """What systemd receives. `state` is that of the server."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.accepts = True
        self.is_closed = False
        self.state = State(False, "0 of 1 providers have a model list")

    def send(self, text: str) -> bool:
        if self.accepts:
            self.received.append(text)
        return self.accepts

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


WAITING = "STATUS=0 of 1 providers have a model list"
SERVING = State(True, "1 of 1 providers have a model list")


def started(systemd: Systemd, loop: FakeLoop, watchdog: float | None = None) -> ServiceManager:
    manager = ServiceManager(systemd, watchdog, monotonic=lambda: 0.001234)
    manager.start(lambda: systemd.state, loop)
    return manager


def test_ready_is_sent_once_when_the_server_is_ready(systemd: Systemd, loop: FakeLoop) -> None:
    started(systemd, loop)
    loop.advance(5)
    assert systemd.received == [WAITING]

    systemd.state = SERVING
    loop.advance(INTERVAL)
    loop.advance(60)
    assert systemd.received == [WAITING, f"READY=1\nSTATUS={SERVING.status}"]


def test_status_is_sent_when_it_changes(systemd: Systemd, loop: FakeLoop) -> None:
    systemd.state = SERVING
    started(systemd, loop)
    systemd.state = State(True, "0 of 1 providers have a model list")
    loop.advance(60)
    assert systemd.received == [f"READY=1\nSTATUS={SERVING.status}", WAITING]


def test_watchdog_is_notified_three_times_within_its_time(systemd: Systemd, loop: FakeLoop) -> None:
    started(systemd, loop, watchdog=6)
    loop.advance(6)
    assert systemd.received == [f"{WAITING}\nWATCHDOG=1", *["WATCHDOG=1"] * 3]


def test_watchdog_shorter_than_the_interval_is_notified_in_time(systemd: Systemd, loop: FakeLoop) -> None:
    started(systemd, loop, watchdog=0.3)
    systemd.received.clear()
    loop.advance(0.3 + 1e-9)
    assert systemd.received == ["WATCHDOG=1"] * 3


def test_watchdog_is_not_notified_while_the_event_loop_is_stuck(systemd: Systemd, loop: FakeLoop) -> None:
    started(systemd, loop, watchdog=6)
    loop.now += 60  # without running its timers
    assert systemd.received == [f"{WAITING}\nWATCHDOG=1"]


def test_reload_is_reported_from_its_begin_to_its_end(systemd: Systemd, loop: FakeLoop) -> None:
    systemd.state = SERVING
    manager = started(systemd, loop)
    systemd.received.clear()
    manager.reload(True)
    manager.reload(False)
    assert systemd.received == ["RELOADING=1\nMONOTONIC_USEC=1234", "READY=1"]


def test_reload_before_the_server_is_ready_does_not_report_it_as_ready(systemd: Systemd, loop: FakeLoop) -> None:
    manager = started(systemd, loop)
    manager.reload(True)
    manager.reload(False)
    assert systemd.received == [WAITING]


def test_stop_is_reported_once_and_neither_ready_nor_another_status_follows(systemd: Systemd, loop: FakeLoop) -> None:
    manager = started(systemd, loop, watchdog=30)
    manager.stopping()
    manager.stopping()
    manager.reload(False)
    systemd.state = SERVING
    loop.advance(10)
    assert systemd.received == [f"{WAITING}\nWATCHDOG=1", "STOPPING=1\nSTATUS=draining", "WATCHDOG=1"]

    manager.stop()
    loop.advance(60)
    assert (len(systemd.received), systemd.is_closed) == (3, True)


def test_what_could_not_be_sent_is_sent_the_next_time(systemd: Systemd, loop: FakeLoop) -> None:
    systemd.state, systemd.accepts = SERVING, False
    started(systemd, loop, watchdog=6)
    systemd.accepts = True
    loop.advance(INTERVAL)
    assert systemd.received == [f"READY=1\nSTATUS={SERVING.status}\nWATCHDOG=1"]


def test_nothing_is_scheduled_without_systemd(systemd: Systemd, loop: FakeLoop) -> None:
    manager = service_manager({"WATCHDOG_USEC": "1000000"})
    manager.start(lambda: systemd.state, loop)
    manager.reload(True)
    manager.stopping()
    manager.stop()
    assert loop.timers == []


# -- the socket --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["a file", "a name"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "a file" else f"@{tmp_path}/notify"


@pytest.fixture
def receiver(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.settimeout(5)
        yield receiver


def test_datagrams_are_sent_to_the_socket_of_systemd(
    address: str, receiver: socket.socket, systemd: Systemd, loop: FakeLoop
) -> None:
    manager = service_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    manager.start(lambda: systemd.state, loop)
    loop.advance(1)
    manager.stop()
    assert [receiver.recv(4096).decode() for _ in range(2)] == [f"{WAITING}\nWATCHDOG=1", "WATCHDOG=1"]


def test_watchdog_of_another_process_is_not_notified(
    address: str, receiver: socket.socket, systemd: Systemd, loop: FakeLoop
) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    manager = service_manager(environ)
    manager.start(lambda: systemd.state, loop)
    manager.stop()
    assert receiver.recv(4096).decode() == WAITING


def test_missing_socket_is_logged_once(tmp_path: Path, loop: FakeLoop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "models_proxy"):
        manager = service_manager({"NOTIFY_SOCKET": str(tmp_path / "none")})
        manager.start(lambda: SERVING, loop)
        loop.advance(10)
        manager.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot notify systemd (NOTIFY_SOCKET): No such file or directory"
    ]

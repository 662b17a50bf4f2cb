"""The loop of `top`: when it requests and what it shows, with a fake clock, a fake terminal and a fake server."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest

from proxy.cli.client import RequestFailed
from proxy.cli.top.layout import Line
from proxy.cli.top.status import Status
from proxy.cli.top.view import View
from proxy.cli.top.watch import ThreadedRequests, watch
from tests.cli.top.documents import URL, provider, status, view

SECONDS = 2.0
GONE = RequestFailed(URL, "connection refused")


class Time:
    """The seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class FakeRequests:
    """A server whose responses take a second of the clock. The last one is repeated."""

    def __init__(self, time: Time, *outcomes: Status | RequestFailed) -> None:
        self.is_running = False
        self.started: list[float] = []
        self._time = time
        self._outcomes = list(outcomes)

    def start(self) -> None:
        assert not self.is_running
        self.is_running = True
        self.started.append(self._time.now)

    def outcome(self) -> Status | RequestFailed | None:
        if not self.is_running or self._time.now < self.started[-1] + 1:
            return None
        self.is_running = False
        return self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]


class FakeScreen:
    """A terminal. Each wait lasts until its timeout, or one second while a request runs; then keys of a user follow."""

    has_keys = True

    def __init__(self, time: Time, *keys: str | None) -> None:
        self.shown: list[str] = []
        """The first line of each screen, up to the first two blanks, and the name of the first provider."""
        self.timeouts: list[float | None] = []
        self._time = time
        self._keys = list(keys)

    def size(self) -> tuple[int, int]:
        return 80, 10

    def show(self, lines: Sequence[Line]) -> None:
        assert len(lines) == 10
        first = "".join(part.text for part in lines[0]).split("  ")[0]
        self.shown.append(f"{first} {lines[3][0].text.strip()}")

    def keys(self, timeout: float | None) -> str | None:
        self.timeouts.append(timeout)
        self._time.now += 1.0 if timeout is None else timeout
        return self._keys.pop(0)


def watched(*outcomes: Status | RequestFailed, keys: Sequence[str | None]) -> tuple[FakeScreen, FakeRequests]:
    time = Time()
    requests, screen = FakeRequests(time, *outcomes), FakeScreen(time, *keys)
    watch(view(provider("first")), screen, requests, time.monotonic, SECONDS)
    return screen, requests


def named(name: str) -> Status:
    return status(provider(name))


def test_the_next_request_starts_one_interval_after_the_last_response() -> None:
    screen, requests = watched(named("second"), named("third"), keys=["", "", "", "", "q"])

    assert requests.started == [2.0, 5.0]
    assert screen.timeouts == [2.0, None, 2.0, None, 2.0]
    assert screen.shown == ["ok first", "ok first", "ok second", "ok second", "ok third"]


def test_a_server_that_restarts_is_shown_again() -> None:
    screen, _ = watched(GONE, GONE, named("back"), keys=["", "", "", "", "", "", "q"])
    gone = "connection refused; retrying. Last status: 10:15:30 UTC first"

    assert screen.shown == ["ok first", "ok first", gone, gone, gone, gone, "ok back"]


def test_nothing_is_requested_while_it_is_paused() -> None:
    _, requests = watched(named("second"), keys=["p", "", "", "", "p", "", "q"])

    assert requests.started == [6.0]


@pytest.mark.parametrize("key", ["q", "Q", "xq", None])
def test_q_and_a_terminal_that_is_gone_end_it(key: str | None) -> None:
    screen, requests = watched(named("second"), keys=[key])

    assert (len(screen.shown), requests.started) == (1, [])


def test_keys_change_the_view_at_once() -> None:
    time = Time()
    screen = FakeScreen(time, "ssss", "q")
    begin = view(provider("b"), provider("a"))
    watch(begin, screen, FakeRequests(time, begin.status), time.monotonic, SECONDS)

    assert screen.shown == ["ok b", "ok a"]


# -- requests in threads -----------------------------------------------------------------------------------------------


def outcome_of(requests: ThreadedRequests, ended: Event) -> Status | RequestFailed | None:
    assert requests.outcome() is None
    requests.start()
    assert ended.wait(10)
    return requests.outcome()


def test_a_request_in_a_thread_wakes_the_loop_and_has_one_outcome() -> None:
    ended = Event()
    requests = ThreadedRequests(lambda: named("lab"), ended.set)

    assert outcome_of(requests, ended) == named("lab")
    assert (requests.outcome(), requests.is_running) == (None, False)


def test_a_failure_is_an_outcome_and_a_bug_is_raised_in_the_loop() -> None:
    def fails() -> Status:
        raise GONE

    def has_bug() -> Status:
        raise KeyError("bug")

    ended = Event()
    assert outcome_of(ThreadedRequests(fails, ended.set), ended) is GONE
    with pytest.raises(KeyError):
        outcome_of(ThreadedRequests(has_bug, ended.set), ended)
    assert View(URL, named("lab")).updated(GONE).failure == "connection refused"

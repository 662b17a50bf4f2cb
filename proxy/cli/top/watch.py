"""The loop of `top`: requests in a thread, keys, and the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from proxy.cli.client import RequestFailed
from proxy.cli.top.layout import Line
from proxy.cli.top.status import Fetch, Status
from proxy.cli.top.view import View, screen_of

_QUIT = ("q", "Q")


class Screen(Protocol):
    """A terminal that is redrawn."""

    has_keys: bool
    """Whether keys can be read."""

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        ...

    def show(self, lines: Sequence[Line]) -> None: ...

    def keys(self, timeout: float | None) -> str | None:
        """Wait for keys, `wake`, another size, or the timeout in seconds. None: the terminal was closed."""
        ...


class Requests(Protocol):
    """One request at a time, which does not block."""

    is_running: bool

    def start(self) -> None: ...

    def outcome(self) -> Status | RequestFailed | None:
        """Return the outcome of a request once, None if no request has ended since the last call."""
        ...


class ThreadedRequests:
    """Sends requests in daemon threads, which do not delay the end of the process."""

    def __init__(self, fetch: Fetch, wake: Callable[[], None]) -> None:
        """`wake` is called in a thread when a request has ended."""
        self.is_running = False
        self._fetch = fetch
        self._wake = wake
        self._outcomes: SimpleQueue[Status | BaseException] = SimpleQueue()

    def start(self) -> None:
        self.is_running = True
        Thread(target=self._run, name="request of top", daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcomes.put(self._fetch())
        except BaseException as error:
            self._outcomes.put(error)
        self._wake()

    def outcome(self) -> Status | RequestFailed | None:
        """See `Requests.outcome`. Raises what `fetch` raised, unless it is RequestFailed."""
        try:
            outcome = self._outcomes.get_nowait()
        except Empty:
            return None
        self.is_running = False
        if isinstance(outcome, BaseException) and not isinstance(outcome, RequestFailed):
            raise outcome
        return outcome


def watch(view: View, screen: Screen, requests: Requests, monotonic: Callable[[], float], interval: float) -> None:
    """Show the view until a key ends it. `monotonic` returns seconds; `interval`: seconds between two requests."""
    due = monotonic() + interval
    while True:
        if outcome := requests.outcome():
            view, due = view.updated(outcome), monotonic() + interval
        if not (view.is_paused or requests.is_running) and monotonic() >= due:
            requests.start()
        screen.show(screen_of(view, *screen.size(), has_keys=screen.has_keys))
        waits = view.is_paused or requests.is_running
        pressed = screen.keys(None if waits else max(0.0, due - monotonic()))
        if pressed is None or any(key in _QUIT for key in pressed):
            return
        for key in pressed:
            view = view.after_key(key)

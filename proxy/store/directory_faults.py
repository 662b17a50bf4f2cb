"""Faults of `store.directory`: each is reported once, and delays the next attempt."""

from __future__ import annotations

import asyncio
import logging

from proxy.clock import Clock
from proxy.store.disk import DirectoryLocked

FIRST_RETRY, MAX_RETRY = 5.0, 300.0
"""Seconds until the directory is used again after a fault, doubled with each further one."""
_IN_MEMORY = "what cannot be written is kept in memory only until that is fixed"
_LOCKED = "another process uses the directory"

_log = logging.getLogger("models_proxy")


class DirectoryFaults:
    """Whether the directory works."""

    def __init__(self, path: str, clock: Clock, *, is_shared: bool) -> None:
        """`is_shared`: with other workers of the same server, of which one writes."""
        self._path = path
        self._clock = clock
        self._is_shared = is_shared
        self.problem = ""
        """Why it is not used at the moment, "" if it is."""
        self.is_locked = False
        """Whether the last fault was that another process uses the directory."""
        self._is_foreign = False
        """Whether it was another server. It counts from the second time on: a lock is marked after it was acquired."""
        self._number = 0
        """Consecutive faults. Those before `_next_at` are not counted: several parts of the server write."""
        self._next_at = float("-inf")
        """Monotonic seconds."""
        self._works = asyncio.Event()
        """Set if a write has succeeded since the last fault."""

    @property
    def retry_seconds(self) -> float:
        """Seconds after a fault until the directory is used again."""
        return back_off(self._number)

    def add(self, error: OSError) -> None:
        if self._clock.monotonic() >= self._next_at:
            self._number += 1
            self._next_at = self._clock.monotonic() + self.retry_seconds
        self._works.clear()
        self.is_locked = isinstance(error, DirectoryLocked)
        was_foreign, self._is_foreign = self._is_foreign, isinstance(error, DirectoryLocked) and not error.is_sibling
        if not self.is_locked:
            self.report(error.strerror or type(error).__name__)
        elif not self._is_shared or (was_foreign and self._is_foreign):
            self.report(_LOCKED, "this one does not write to it until that one has ended")
        elif not self._is_foreign and self.problem == _LOCKED:
            self.problem = ""

    def report(self, problem: str, effect: str = _IN_MEMORY) -> None:
        if problem != self.problem:
            _log.warning("store.directory: %s: %s; %s", self._path, problem, effect)
        self.problem = problem

    def succeeded(self, *, is_all_written: bool) -> None:
        """Record a successful write. `is_all_written`: nothing else has failed."""
        self._number, self._next_at = 0, float("-inf")
        self._works.set()
        if self.problem and is_all_written:
            _log.info("store.directory: %s: everything is written again", self._path)
            self.problem = ""

    async def pause(self) -> None:
        """Wait for the next attempt. It is sooner if another write succeeds meanwhile."""
        waited = 0.0
        while waited < self.retry_seconds and not self._works.is_set():
            await self._clock.sleep(FIRST_RETRY)
            waited += FIRST_RETRY


def back_off(failures: int) -> float:
    """Seconds after so many consecutive failures."""
    return min(FIRST_RETRY * 2.0 ** min(failures - 1, 20), MAX_RETRY)

"""Files in memory, and a thread for them that a test can stop."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from proxy.store.disk import FileInfo
from proxy.store.envelope import RecordError
from tests.fakes import FakeClock


class FakeFiles:
    """Files in memory. `error` is raised by every method."""

    def __init__(self, clock: FakeClock) -> None:
        self.content: dict[str, bytes] = {}
        self.modified: dict[str, float] = {}
        self.written: list[str] = []
        self.error: OSError | None = None
        self._clock = clock

    def lock(self) -> None:
        self._fail()

    def unlock(self) -> None:
        self._fail()

    def read(self, name: str, limit: int) -> bytes:
        self._fail()
        if name not in self.content:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if len(self.content[name]) > limit:
            raise RecordError(f"larger than {limit:,} bytes")
        return self.content[name]

    def write(self, name: str, data: bytes) -> None:
        self._fail()
        self.content[name] = data
        self.modified[name] = self._clock.time()
        self.written.append(name)

    def append(self, name: str, data: bytes) -> None:
        self.write(name, self.content.get(name, b"") + data)

    def list(self) -> Sequence[FileInfo]:
        self._fail()
        return [FileInfo(name, len(self.content[name]), self.modified.get(name, 0.0)) for name in self.content]

    def remove(self, name: str) -> None:
        self._fail()
        del self.content[name]

    def _fail(self) -> None:
        if self.error:
            raise self.error


class FakeThread:
    """A thread that a test can stop."""

    def __init__(self) -> None:
        self.hangs = False
        self._waiting: list[Callable[[], object]] = []

    def submit(self, work: Callable[[], object]) -> None:
        if self.hangs:
            self._waiting.append(work)
        else:
            work()

    def go_on(self) -> None:
        self.hangs = False
        for work in self._waiting:
            work()

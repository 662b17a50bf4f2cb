"""The state that workers share, in the supervisor: lists of models and who fetches them, and records.

A worker that ends loses its leases at once, so there are no times after which they end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.clock import SystemClock
from proxy.server.workers.messages import (
    Abandon,
    Accepted,
    Began,
    Begin,
    Claims,
    Delete,
    Get,
    Got,
    Hint,
    Message,
    News,
    Publish,
    Put,
    Report,
    Restore,
    SharedMessage,
)
from proxy.server.workers.processes import Worker
from proxy.server.workers.shared_limits import CountedLimits
from proxy.sharing.recent_hints import RecentHints

MAX_LISTS = 256 * 1024**2
"""Bytes of all lists; those that were published first are dropped."""
MAX_RECORDS = 200_000
"""Records; those that were stored first are dropped."""


class _Part(NamedTuple):
    version: int
    at: float
    """Monotonic seconds."""
    data: bytes


@dataclass(eq=False)
class _List:
    """What was published under one name."""

    token: int = 0
    """The last one."""
    holder: Worker | None = None
    """The worker that fetches with that token."""
    list: _Part | None = None
    failure: _Part | None = None
    until: float = 0.0
    """Monotonic seconds until which it is kept."""
    seen: dict[Worker, int] = field(default_factory=dict)
    """Worker that follows the name -> the version that it has, or was sent."""

    @property
    def version(self) -> int:
        return max((part.version for part in (self.list, self.failure) if part), default=0)

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in (self.list, self.failure) if part)


class SharedState:
    """Answers what workers send, and passes on to others what is new."""

    def __init__(
        self,
        send: Callable[[Worker, Message], None],
        monotonic: Callable[[], float],
        time: Callable[[], float] = SystemClock.time,
    ) -> None:
        """`time` returns Unix seconds."""
        self._send = send
        self._limits = CountedLimits(monotonic, time)
        self._hints = RecentHints(monotonic)
        self._now = monotonic
        self._lists: OrderedDict[str, _List] = OrderedDict()
        """Those that were published last are last."""
        self._size = 0
        self._records: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        """Key -> until when it is kept, and its value."""

    def handle(self, worker: Worker, message: SharedMessage, others: Collection[Worker]) -> None:
        match message:
            case Begin():
                self._send(worker, self._begin(worker, message))
            case Publish():
                self._send(worker, Accepted(message.request, self._publish(worker, message)))
            case Abandon(name, token):
                entry = self._lists.get(name)
                if entry and entry.token == token:
                    entry.holder = None
            case Hint():
                self._hints.add(message.data)
                for other in others:
                    self._send(other, message)
            case Put(key, value, seconds):
                self._records[key] = (self._now() + seconds, value)
                self._records.move_to_end(key)
                if len(self._records) > MAX_RECORDS:
                    self._records.popitem(last=False)
            case Delete(key):
                self._records.pop(key, None)
            case Claims():
                self._send(worker, self._limits.decide(worker, message, len(others) + 1))
            case Restore(records):
                self._limits.restore(records)
            case Report():
                self._limits.add(worker, message)
            case Get(request, keys):
                self._send(worker, Got(request, self._values(keys)))

    def add(self, worker: Worker) -> None:
        """Send a new worker what others have announced."""
        for hint, age in self._hints.each:
            self._send(worker, Hint(hint, age))

    def remove(self, worker: Worker) -> None:
        """Remove a worker that has ended. Others can fetch the lists that it fetched."""
        self._limits.remove(worker)
        for entry in self._lists.values():
            entry.seen.pop(worker, None)
            if entry.holder is worker:
                entry.holder = None

    def _begin(self, worker: Worker, message: Begin) -> Began:
        entry = self._lists.setdefault(message.name, _List())
        entry.seen[worker] = message.known
        if not message.is_forced:
            if entry.version > message.known:
                return Began(message.request, 0, self._news(message.name, entry, worker))
            if entry.holder:
                return Began(message.request, 0, None)
        entry.token = max(entry.token, message.known) + 1
        entry.holder = worker
        return Began(message.request, entry.token, None)

    def _publish(self, worker: Worker, message: Publish) -> bool:
        entry = self._lists.get(message.name)
        if entry is None or entry.token != message.token:
            return False
        self._size -= entry.size
        now = self._now()
        part = _Part(message.token, now, message.data)
        if message.kind == "list":
            entry.list, entry.failure = part, None
        else:
            entry.failure = part
        entry.until, entry.holder = now + message.seconds, None
        self._size += entry.size
        self._lists.move_to_end(message.name)
        entry.seen[worker] = message.token
        for other in [each for each in entry.seen if each is not worker]:
            self._send(other, self._news(message.name, entry, other))
        self._drop()
        return True

    def _news(self, name: str, entry: _List, worker: Worker) -> News:
        """What a worker does not have."""
        known, now = entry.seen[worker], self._now()
        entry.seen[worker] = entry.version
        listed = entry.list if entry.list and entry.list.version > known else None
        failed = entry.failure
        return News(
            name,
            entry.version,
            listed and listed.data,
            now - listed.at if listed else 0.0,
            failed and failed.data,
            now - failed.at if failed else 0.0,
        )

    def _drop(self) -> None:
        """Drop lists that are too old, or too large together."""
        now = self._now()
        for name, entry in [*self._lists.items()][:-1]:
            if (now >= entry.until or self._size > MAX_LISTS) and entry.holder is None:
                self._size -= entry.size
                del self._lists[name]

    def _values(self, keys: Collection[str]) -> dict[str, bytes]:
        now = self._now()
        return {key: found[1] for key in keys if (found := self._records.get(key)) and now < found[0]}

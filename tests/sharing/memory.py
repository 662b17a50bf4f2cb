"""State shared in memory, as Valkey and the supervisor of workers do: for tests of what uses a `Sharing`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from proxy.clock import Clock
from proxy.sharing import Busy, Kind, Known, Published, Turn
from proxy.sharing.recent_hints import Listener


@dataclass
class _List:
    token: int = 0
    until: float = 0.0
    parts: dict[Kind, tuple[int, float, bytes]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return max((version for version, _, _ in self.parts.values()), default=0)


class Medium:
    """What several `SharedMemory` share. `is_down`: nobody can use it."""

    def __init__(self, clock: Clock, lease: float = 10.0) -> None:
        self.clock = clock
        self.lease = lease
        self.is_down = False
        self.loses_messages = False
        self.lists: dict[str, _List] = {}
        self.records: dict[str, bytes] = {}
        self.members: list[SharedMemory] = []


class SharedMemory:
    """The `Sharing` of one process."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._known: Known = dict
        self._receive: Callable[[str, Published], None] = lambda name, published: None
        self._listener = Listener(medium.clock.monotonic)
        self.listen = self._listener.listen
        medium.members.append(self)

    @property
    def state(self) -> None:
        return None

    @property
    def limits(self) -> None:
        return None

    @property
    def usage(self) -> None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    def follow(self, known: Known, receive: Callable[[str, Published], None]) -> None:
        self._known, self._receive = known, receive

    async def begin(self, name: str, known: int, *, force: bool = False) -> Turn | Busy | Published | None:
        if self._medium.is_down:
            return None
        entry = self._medium.lists.setdefault(name, _List())
        now = self._medium.clock.monotonic()
        if not force:
            if entry.version > known:
                return self._published(name, known)
            if entry.until > now:
                return Busy(entry.until - now)
        entry.token = max(entry.token, known) + 1
        entry.until = now + self._medium.lease
        return Turn(entry.token)

    async def publish(self, name: str, token: int, kind: Kind, data: bytes, seconds: float) -> bool:
        entry = self._medium.lists.setdefault(name, _List())
        if self._medium.is_down or entry.token > token:
            return False
        entry.until = 0.0
        entry.parts.pop("failure", None)
        entry.parts[kind] = (token, self._medium.clock.monotonic(), data)
        for member in self._medium.members:
            if member is not self and not self._medium.loses_messages:
                member.hear(name)
        return True

    def hear(self, name: str) -> None:
        """Pass on a list that is newer than the known one."""
        known = self._known().get(name)
        if known is not None and self._medium.lists[name].version > known:
            self._receive(name, self._published(name, known))

    def poll(self) -> None:
        for name in self._medium.lists:
            self.hear(name)

    def abandon(self, name: str, token: int) -> None:
        entry = self._medium.lists.get(name)
        if entry and entry.token == token:
            entry.until = 0.0

    def announce(self, hint: bytes) -> None:
        for member in self._medium.members:
            if member is not self and not self._medium.is_down:
                member._listener.receive(hint, 0.0)

    def put(self, key: str, value: bytes, seconds: float) -> None:
        self._medium.records[key] = value

    async def get(self, keys: Collection[str]) -> Mapping[str, bytes]:
        found = {} if self._medium.is_down else self._medium.records
        return {key: found[key] for key in keys if key in found}

    def delete(self, key: str) -> None:
        self._medium.records.pop(key, None)

    async def agree(self, name: str, value: bytes) -> bytes | None:
        return None if self._medium.is_down else self._medium.records.setdefault(name, value)

    def _published(self, name: str, known: int) -> Published:
        entry, now = self._medium.lists[name], self._medium.clock.monotonic()
        parts: dict[Kind, tuple[bytes | None, float]] = {"list": (None, 0.0), "failure": (None, 0.0)}
        for kind, (version, at, data) in entry.parts.items():
            if version > known:
                parts[kind] = (data, now - at)
        return Published(entry.version, *parts["list"], *parts["failure"])

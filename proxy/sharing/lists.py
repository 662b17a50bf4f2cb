"""Lists in Valkey: leases, publishing, and hearing of what others publish, by messages and by polling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from proxy.clock import Clock
from proxy.sharing.connection import Connection, numbers
from proxy.sharing.interface import WAIT_SECONDS, Busy, Kind, Known, Published, Turn
from proxy.sharing.scripts import BEGIN, PUBLISH, READ, RENEW, VERSION

CHANNEL = "models-proxy:lists"
_PREFIX = "models-proxy:list:"
POLL_SECONDS = 5.0
"""How often versions are compared: a message that was lost costs at most this."""
MAX_BYTES = 64 * 1024**2
"""Of one list. Larger ones are neither written nor read."""
_MAX_NAME = 200
_BEGIN_SECONDS = 1.0
"""Maximum seconds of a decision: at the start of the process, a connection must be opened first. The fetch waits for
`WAIT_SECONDS` of them."""
_WAITS = 4
"""Number of parts of that wait: an event loop that is blocked for longer uses up only one of them."""
_DATA_SECONDS = 5.0
"""How long it takes at most to write or read a list. A fetch waits less for it."""
_BYTES_PER_SECOND = 10 * 1024**2
"""Minimum rate of reading a list; it bounds how long a fetch waits for the list."""
_RENEWALS = 3
"""A lease is extended this often within its time."""
_MICRO = 1_000_000
_KEPT_LEASE = 3_600_000
"""Milliseconds that a key without a list is kept."""

_log = logging.getLogger("models_proxy")


class Lists:
    """The part of `Sharing` that is about lists."""

    def __init__(self, connection: Connection, clock: Clock, lease: float) -> None:
        """`lease`: seconds."""
        self._connection = connection
        self._client = connection.client
        self._clock = clock
        self._lease_seconds = lease
        self._lease = int(lease * _MICRO)
        self._held: dict[str, int] = {}
        """The names that this process fetches, with their tokens."""
        self._known: Known = dict
        self._receive: Callable[[str, Published], None] = lambda name, published: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: set[str] = set()

    def follow(self, known: Known, receive: Callable[[str, Published], None]) -> None:
        self._known, self._receive = known, receive

    async def begin(self, name: str, known: int, *, force: bool) -> Turn | Busy | Published | None:
        ends_at = asyncio.get_running_loop().time() + WAIT_SECONDS
        reply = await self._decision(name, (known, self._lease, int(force), _KEPT_LEASE))
        if reply is None:
            return None
        match reply[0], numbers(reply[1:]):
            case b"turn", [token]:
                self._held[name] = token
                return Turn(token)
            case b"busy", [left]:
                return Busy(left / _MICRO)
            case b"published", [version, size]:
                seconds = max(0.0, ends_at - asyncio.get_running_loop().time()) + size / _BYTES_PER_SECOND
                return await self._read_soon(name, known, version, seconds)
        return None

    async def _read_soon(self, name: str, known: int, version: int, seconds: float) -> Published | None:
        """Read a list. None if that takes longer: the fetch begins without it, and the list is passed on later."""
        reading = asyncio.create_task(self._read(name, known), name="store.valkey: list")
        try:
            if await _ends_within(seconds, reading):
                return reading.result() or Published(version, None, 0.0, None, 0.0)
            return None
        finally:
            if not reading.done():
                self._start(self._pass_on_late(name, reading))

    async def _pass_on_late(self, name: str, reading: asyncio.Task[Published | None]) -> None:
        self._pass_on(name, await reading)

    async def _decision(self, name: str, arguments: tuple[int, ...]) -> Any:
        """Return the reply to BEGIN, None if it is late: the fetch begins without it."""
        run = partial(self._run, BEGIN, name, arguments)
        deciding = asyncio.create_task(self._connection.run(run, _BEGIN_SECONDS), name="store.valkey: lease")
        try:
            await _ends_within(WAIT_SECONDS, deciding)
        finally:
            if not deciding.done():
                self._start(self._abandon_late(name, deciding))
        return deciding.result() if deciding.done() else None

    async def _abandon_late(self, name: str, deciding: asyncio.Task[Any]) -> None:
        """Free a lease that came too late."""
        reply = await deciding
        if reply and reply[0] == b"turn" and (token := numbers(reply[1:])):
            await self._renew(name, token[0], 0)

    async def publish(self, name: str, token: int, kind: Kind, data: bytes, seconds: float) -> bool:
        self._held.pop(name, None)
        if len(data) > MAX_BYTES:
            _log.warning("store.valkey: a list of %d bytes is too large to be shared", len(data))
            self._start(self._renew(name, token, 0))
            return False
        message = f"{name} {token}"
        arguments = (token, kind, data, max(1, int(seconds * 1000)), CHANNEL, message)
        return bool(await self._connection.run(partial(self._run, PUBLISH, name, arguments), _DATA_SECONDS))

    def abandon(self, name: str, token: int) -> None:
        if self._held.pop(name, None) is not None:
            self._start(self._renew(name, token, 0))

    async def release(self) -> None:
        """End all leases, because the process ends."""
        for name, token in [*self._held.items()]:
            self.abandon(name, token)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what others publish -------------------------------------------------------------------------------------------

    def received(self, message: bytes) -> None:
        """A message of the channel: a name and its version."""
        name, _, version = message.decode("utf-8", "replace").partition(" ")
        known = self._known().get(name)
        if known is not None and version.isdecimal() and int(version[:20]) > known:
            self._start(self._read_further(name))

    async def poll(self) -> None:
        """Read everything that is newer than what this process has."""
        known = self._known()
        names = [*known]
        for name in names:
            reply = await self._connection.run(partial(self._run, VERSION, name, ()))
            if reply is None:
                return
            if (version := numbers([reply])) and version[0] > known[name]:
                await self._read_further(name)

    async def keep_polling(self) -> None:
        while True:
            await self._connection.wait(is_up=True)
            await self.poll()
            await self._clock.sleep(POLL_SECONDS)

    async def keep_renewing(self) -> None:
        """Extend the leases of fetches in progress."""
        while True:
            await self._clock.sleep(self._lease_seconds / _RENEWALS)
            for name, token in [*self._held.items()]:
                await self._renew(name, token, self._lease)

    async def _read_further(self, name: str) -> None:
        known = self._known().get(name)
        if known is None or name in self._reading:
            return
        self._reading.add(name)
        try:
            published = await self._read(name, known)
        finally:
            self._reading.discard(name)
        self._pass_on(name, published)

    def _pass_on(self, name: str, published: Published | None) -> None:
        if published is not None and published.version > self._known().get(name, published.version):
            self._receive(name, published)

    async def _read(self, name: str, known: int) -> Published | None:
        reply = await self._connection.run(partial(self._run, READ, name, (known, MAX_BYTES)), _DATA_SECONDS)
        if reply is None:
            return None
        version, listed, list_age, failure, failure_age = reply
        found = numbers([version, list_age, failure_age])
        if not found or not found[0]:
            return None
        return Published(found[0], listed, found[1] / _MICRO, failure, found[2] / _MICRO)

    async def _renew(self, name: str, token: int, lease: int) -> None:
        await self._connection.run(partial(self._run, RENEW, name, (token, lease)))

    async def _run(self, script: str, name: str, arguments: tuple[str | bytes | int, ...], seconds: float) -> Any:
        return await self._client.run(script, _PREFIX + name, *arguments, seconds=seconds)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="store.valkey")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ends_within(seconds: float, task: asyncio.Task[Any]) -> bool:
    """Wait for a task. Returns whether it has ended."""
    for _ in range(_WAITS):
        await asyncio.wait({task}, timeout=seconds / _WAITS)
    return task.done()

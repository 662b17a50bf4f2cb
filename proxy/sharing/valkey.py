"""State shared through Valkey or Redis: `Sharing` over one server. Imported only if `store.valkey` is set."""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial

from proxy.clock import Clock
from proxy.config.store import StoreSettings
from proxy.errors import describe_bug
from proxy.sharing.client import Client, Unavailable
from proxy.sharing.connection import Connection, numbers
from proxy.sharing.interface import MAX_HINT, WAIT_SECONDS, Busy, Kind, Published, StoreState, Turn
from proxy.sharing.limits import CountedLimits
from proxy.sharing.lists import CHANNEL, Lists
from proxy.sharing.recent_hints import KEPT_SECONDS, MAX_KEPT, Listener
from proxy.sharing.records import Records
from proxy.sharing.scripts import ANNOUNCE, RECENT
from proxy.sharing.usage import UsageInValkey

_SENDER = 8
"""Bytes before each hint, by which a process recognizes its own ones."""
_IDLE_SECONDS = 1.0
"""How often a subscription without messages looks whether the store is down."""
_MAX_HINTS = 100
"""Hints that wait to be sent. Beyond them, further ones are dropped."""

_log = logging.getLogger("models_proxy")


class Valkey:
    """Shares lists with all processes of the server, and everything else within a namespace."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        prefix = f"models-proxy:{settings.namespace}"
        self._hints_channel = f"{prefix}:hints"
        self._client = Client(settings)
        self._connection = Connection(self._client, clock, f"{prefix}:probe")
        self._lists = Lists(self._connection, clock, settings.lease)
        self._records = Records(self._connection, f"{prefix}:id:")
        self.limits = CountedLimits(self._connection, clock, f"{prefix}:limits:")
        self.usage = UsageInValkey(self._connection, f"{prefix}:usage:")
        self._sender = secrets.token_bytes(_SENDER)
        self._listener = Listener(clock.monotonic)
        self.listen = self._listener.listen
        self._recent_key = f"{prefix}:hints:recent"
        self._has_recent = False
        """Whether the hints from before the start were read."""
        self._hints: asyncio.Queue[bytes] = asyncio.Queue(_MAX_HINTS)
        self.follow, self.abandon = self._lists.follow, self._lists.abandon
        self.put, self.get, self.delete = self._records.put, self._records.get, self._records.delete
        self.agree = self._records.agree

    @property
    def state(self) -> StoreState:
        return self._connection.state

    async def run(self) -> None:
        """Keep everything current until canceled; then end the leases and close the connections."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connection.keep(), name="store.valkey: probes")
                tasks.create_task(self._lists.keep_polling(), name="store.valkey: polling")
                tasks.create_task(self._lists.keep_renewing(), name="store.valkey: leases")
                tasks.create_task(self._records.keep_writing(), name="store.valkey: records")
                tasks.create_task(self.limits.keep_writing(), name="store.valkey: limits")
                tasks.create_task(self.limits.keep_present(), name="store.valkey: presence")
                tasks.create_task(self._keep_sending(), name="store.valkey: hints")
                tasks.create_task(self._keep_listening(), name="store.valkey: messages")
        finally:
            await self._lists.release()
            await self.limits.flush()
            await self._client.close()

    async def begin(self, name: str, known: int, *, force: bool = False) -> Turn | Busy | Published | None:
        return await self._lists.begin(name, known, force=force)

    async def publish(self, name: str, token: int, kind: Kind, data: bytes, seconds: float) -> bool:
        return await self._lists.publish(name, token, kind, data, seconds)

    def announce(self, hint: bytes) -> None:
        if len(hint) <= MAX_HINT and not self._hints.full() and self._connection.is_up:
            self._hints.put_nowait(hint)

    async def _keep_sending(self) -> None:
        while True:
            message = self._sender + await self._hints.get()
            arguments = (self._hints_channel, message, int(KEPT_SECONDS * 1000), MAX_KEPT)
            await self._connection.run(partial(self._announce, arguments))

    async def _announce(self, arguments: tuple[str | bytes | int, ...], seconds: float) -> object:
        return await self._client.run(ANNOUNCE, self._recent_key, *arguments, seconds=seconds)

    async def _keep_listening(self) -> None:
        while True:
            await self._connection.wait(is_up=True)
            try:
                await self._listen()
            except Unavailable as error:
                # The next command finds out whether the store is down.
                await self._connection.run(lambda seconds: self._client.command("PING", seconds=seconds))
                _log.debug("store.valkey: subscription ended: %s", error.reason)
                await asyncio.sleep(WAIT_SECONDS)

    async def _listen(self) -> None:
        """Pass messages on until the store is down. Raises Unavailable."""
        async for message in self._client.messages(CHANNEL, self._hints_channel, seconds=_IDLE_SECONDS):
            if not self._connection.is_up:
                return
            if message is None:
                if not self._has_recent:
                    await self._read_recent()
                continue
            channel, data = message
            if channel == CHANNEL:
                self._lists.received(data)
            else:
                self._pass_on(data)

    async def _read_recent(self) -> None:
        """Pass on the hints that were announced before this process subscribed."""
        kept = int(KEPT_SECONDS * 1000)
        found = await self._connection.run(
            lambda seconds: self._client.run(RECENT, self._recent_key, kept, seconds=seconds)
        )
        if found is None:
            return
        self._has_recent = True
        for hint, age in zip(found[::2], numbers(found[1::2]) or (), strict=False):
            self._pass_on(hint, age / 1_000_000)

    def _pass_on(self, message: bytes, age: float = 0.0) -> None:
        if message[:_SENDER] == self._sender or len(message) > MAX_HINT + _SENDER:
            return
        try:
            self._listener.receive(message[_SENDER:], age)
        except Exception as bug:
            _log.error("internal error while applying a hint: %s", describe_bug(bug))

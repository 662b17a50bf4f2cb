"""Small records in Valkey, by key: written in the background, read within a short time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from proxy.sharing.connection import Connection
from proxy.sharing.interface import MAX_RECORD

MAX_PENDING = 10_000
"""Records that wait to be written. Beyond them, the oldest are dropped."""
_BATCH = 200
_WRITE_SECONDS = 1.0

_Command = tuple[str | bytes | int, ...]


class Records:
    """The part of `Sharing` that is about records."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        """`prefix`: of all keys; it contains the namespace."""
        self._connection = connection
        self._client = connection.client
        self._prefix = prefix
        self._pending: dict[str, _Command] = {}
        """Key -> the last command for it."""
        self._has_pending = asyncio.Event()

    def put(self, key: str, value: bytes, seconds: float) -> None:
        if len(value) <= MAX_RECORD:
            self._add(key, ("SET", self._prefix + key, value, "PX", max(1, int(seconds * 1000))))

    def delete(self, key: str) -> None:
        self._add(key, ("DEL", self._prefix + key))

    async def get(self, keys: Collection[str]) -> Mapping[str, bytes]:
        command = ("MGET", *(self._prefix + key for key in keys))
        reply = await self._connection.run(lambda seconds: self._client.command(*command, seconds=seconds))
        found = dict(zip(keys, reply or (), strict=bool(reply)))
        return {key: value for key, value in found.items() if isinstance(value, bytes) and len(value) <= MAX_RECORD}

    async def agree(self, name: str, value: bytes) -> bytes | None:
        key = self._prefix + name
        commands = [("SET", key, value, "NX"), ("MGET", key)]
        replies = await self._connection.run(lambda seconds: self._client.batch(commands, seconds=seconds))
        found = replies[1][0] if replies else None
        return found if isinstance(found, bytes) and len(found) <= MAX_RECORD else None

    async def keep_writing(self) -> None:
        """Write what is pending, in batches. While the store is down, the newest records wait."""
        while True:
            await self._has_pending.wait()
            await self._connection.wait(is_up=True)
            batch = {key: self._pending[key] for key, _ in zip(self._pending, range(_BATCH), strict=False)}
            write = partial(self._write, [*batch.values()])
            if await self._connection.run(write, _WRITE_SECONDS) is not None:
                for key, command in batch.items():
                    if self._pending.get(key) is command:
                        del self._pending[key]
            if not self._pending:
                self._has_pending.clear()

    async def _write(self, commands: list[_Command], seconds: float) -> list[object]:
        return await self._client.batch(commands, seconds=seconds)

    def _add(self, key: str, command: _Command) -> None:
        self._pending.pop(key, None)
        self._pending[key] = command
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._has_pending.set()

"""Usage of all replicas in Valkey: rows are added in batches, and read by hours."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from proxy.sharing.connection import Connection, numbers
from proxy.sharing.usage_scripts import ADD, INDEX, MOVE, READ, REQUESTS, SEPARATOR
from proxy.sharing.usage_store import KEPT_DAYS, MAX_ROWS, Batch, HourState, Index
from proxy.telemetry.counters import OTHER
from proxy.telemetry.usage import MAX_IDENTITIES
from proxy.telemetry.usage_rows import OTHER_CALLERS, Counts, Names, Rows

_ROWS_PER_READ = 1000
_REQUESTS_PER_READ = 5000
_ROWS_PER_MOVE = 500
_KEPT_MS = KEPT_DAYS * 86_400_000
_KEPT_NUMBER_MS = 7 * 86_400_000
"""Milliseconds for which it is known which batch of a process was added last."""
_SECONDS = 1.0
"""Maximum seconds of one command. No request waits for it."""
_DAILY_BEFORE = "daily_before"

_texts = msgspec.msgpack.Decoder(list[str]).decode


class UsageInValkey:
    """The `UsageStore` of one namespace."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        """`prefix`: of all keys; it contains the namespace."""
        self._connection = connection
        self._client = connection.client
        self._hour_prefix = f"{prefix}hour:"
        self._index, self._requests, self._total = f"{prefix}hours", f"{prefix}requests", f"{prefix}rows"
        self._last = f"{prefix}batch:{secrets.token_hex(8)}"
        self._maintenance = f"{prefix}maintenance"

    async def add(self, batch: Batch) -> int | None:
        hours = sorted({start for start, _, _ in batch.rows})
        places = {start: place for place, start in enumerate(hours, 1)}
        rows = [(places[start], *_stored(names, counts)) for start, names, counts in batch.rows]
        bounds = (batch.number, MAX_ROWS, MAX_IDENTITIES, _KEPT_MS, _KEPT_NUMBER_MS)
        argument = msgspec.msgpack.encode((*bounds, hours, rows, [*batch.used.items()]))
        keys = [self._index, self._requests, self._total, self._last, *map(self._key, hours)]
        reply = await self._run(ADD, keys, argument)
        return reply if isinstance(reply, int) else None

    async def index(self) -> Index | None:
        reply = await self._run(INDEX, [self._index])
        found = self._decoded(reply)
        if found is None:
            return None
        hours: dict[int, HourState] = {}
        daily_before = None
        for start, state in found:
            if start == _DAILY_BEFORE:
                daily_before = _day(state)
            elif start.isdecimal() and (parts := numbers(state.split())) and len(parts) == 2:
                hours[int(start)] = HourState(*parts)
        return Index(hours, daily_before)

    async def rows(self, start: int) -> Rows | None:
        rows: dict[Names, Counts] = {}
        cursor: str | bytes = "0"
        while True:
            reply = await self._run(READ, [self._key(start)], cursor, _ROWS_PER_READ)
            found = self._decoded(reply[1]) if isinstance(reply, list) else None
            if found is None:
                return None
            # A row can be returned twice while the server resizes the hash.
            rows.update(row for row in map(_row, found) if row)
            cursor = reply[0]
            if cursor == b"0":
                return rows

    async def used_since(self, time: float) -> Mapping[str, float] | None:
        used: dict[str, float] = {}
        skipped = 0
        while skipped <= MAX_IDENTITIES:
            arguments = (int(time * 1000), skipped, _REQUESTS_PER_READ)
            found = self._decoded(await self._run(REQUESTS, [self._requests], *arguments))
            if found is None:
                return None
            for identity, milliseconds in found:
                if parts := numbers([milliseconds]):
                    used[identity] = parts[0] / 1000
            if len(found) < _REQUESTS_PER_READ:
                break
            skipped += _REQUESTS_PER_READ
        return used

    async def claim_maintenance(self, seconds: float) -> bool:
        parts = ("SET", self._maintenance, "1", "NX", "PX", max(1, int(seconds * 1000)))
        return await self._command(*parts) is not None

    async def merge(self, start: int, target: int) -> bool:
        keys = [self._index, self._key(start), self._key(target)]
        while True:
            left = await self._run(MOVE, keys, start, target, _ROWS_PER_MOVE, _KEPT_MS)
            if not isinstance(left, int):
                return False
            if left == 0:
                return True

    async def remove(self, starts: Sequence[int]) -> None:
        for start in starts:
            await self._command("UNLINK", self._key(start))
            await self._command("HDEL", self._index, start)

    async def correct(self, rows: int, daily_before: date | None) -> None:
        await self._command("SET", self._total, rows, "PX", _KEPT_MS)
        if daily_before:
            await self._command("HSET", self._index, _DAILY_BEFORE, daily_before.isoformat())

    def _key(self, start: int) -> str:
        return f"{self._hour_prefix}{start}"

    async def _command(self, *parts: str | int) -> Any:
        return await self._connection.run(lambda seconds: self._client.command(*parts, seconds=seconds), _SECONDS)

    async def _run(self, script: str, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        return await self._connection.run(
            lambda seconds: self._client.run(script, keys, *arguments, seconds=seconds), _SECONDS
        )

    def _decoded(self, reply: object) -> Sequence[tuple[str, str]] | None:
        """The reply as pairs of texts; None if it is something else."""
        if not isinstance(reply, bytes):
            return None
        try:
            texts = _texts(reply)
        except ValueError:
            self._connection.report_foreign("usage was not written by models-proxy")
            return None
        return [*zip(texts[::2], texts[1::2], strict=True)]


def _stored(names: Names, counts: Counts) -> tuple[str, str, int, str, str]:
    """A row as the script reads it."""
    further = names._replace(model=OTHER, provider=OTHER)
    labels = [_joined(each) for each in (names, further, Names(OTHER_CALLERS, OTHER, OTHER))]
    return labels[0], " ".join(map(str, counts)), counts.requests, labels[1], labels[2]


def _joined(names: Names) -> str:
    return SEPARATOR.join(name.replace(SEPARATOR, "?") for name in names)


def _row(found: tuple[str, str]) -> tuple[Names, Counts] | None:
    names, counts = found[0].split(SEPARATOR), numbers(found[1].split())
    if len(names) != len(Names._fields) or not counts or len(counts) != len(Counts._fields) or min(counts) < 0:
        return None
    return Names(*names), Counts(*counts)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None

"""The limits of callers in Valkey: one script for each request of a caller with limits."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC

import msgspec

from proxy.clock import Clock
from proxy.config import Config
from proxy.config.call_limits import SLIDING
from proxy.config.timezones import zone_of
from proxy.limits.calendar import Calendar, Moment
from proxy.limits.claims import Claim, Decision, Usage
from proxy.limits.dropped import Dropped
from proxy.limits.sliding_window import SLOTS
from proxy.limits.windows import CalendarWindow
from proxy.sharing.connection import Connection
from proxy.sharing.limit_script import DECIDE, PRESENCE
from proxy.sharing.own_calls import OwnCalls, Snapshot

MAX_PENDING = 50_000
"""Maximum limits with pending changes. Beyond, those that have waited longest are dropped."""
_DROPPED = (
    "limits: changes of more than %d counters wait for store.valkey: the oldest are dropped, "
    "which can admit their callers above their limits"
)
FLUSH_SECONDS = 0.05
"""Seconds between two writes of changes."""
PRESENCE_SECONDS = 5.0
"""Seconds between two reports of this process and its calls in progress."""
_BATCH = 100
"""Scopes of one write."""
_WRITE_SECONDS = 1.0

_Limit = tuple[str, str, str]
"""Scope, kind and unit."""
_Row = tuple[int, str, str, int, int, int | float | Snapshot]
"""A claim as the script reads it."""
_decode = msgspec.msgpack.Decoder(tuple[bool, list[tuple[int, float, float]], float], strict=False).decode


class CountedLimits:
    """Decides for all replicas."""

    def __init__(self, connection: Connection, clock: Clock, prefix: str) -> None:
        """`prefix`: of all keys; it contains the namespace."""
        self._connection = connection
        self._client = connection.client
        self._clock = clock
        self._prefix = prefix
        self._process = secrets.token_hex(8)
        self._at = Moment(Calendar(UTC))
        self._calls = OwnCalls()
        self._pending: dict[_Limit, dict[int, Claim]] = {}
        """Limit -> what is to be added to it; for calls in progress, that their number is to be written.

        What is taken back is kept by the part of the window in which it was counted (`_part_of`).
        """
        self._has_pending = asyncio.Event()
        self._dropped = Dropped(clock.monotonic, _DROPPED, MAX_PENDING)
        self.processes = 1
        self._was_reached = False

    @property
    def is_reachable(self) -> bool:
        return self._was_reached and self._connection.is_up

    @property
    def dropped(self) -> Mapping[str, int]:
        return {"unsent": self._dropped.total}

    def configure(self, config: Config) -> None:
        self._at = Moment(Calendar(zone_of(config.server.timezone)))
        self.expect(config.server.workers)

    def expect(self, processes: int) -> None:
        if not self._was_reached:
            self.processes = max(self.processes, processes)

    async def claim(self, claims: Sequence[Claim]) -> Decision | None:
        if not self._connection.is_up:
            return None
        changes = [change for claim in claims for change in self._pending.pop(_limit_of(claim), {}).values()]
        message = self._message(changes, claims)
        calls = [claim for claim in claims if claim.kind == "concurrent"]
        self._calls.begin_claims(calls)
        decision = None
        try:
            reply = await self._connection.run(lambda seconds: self._client.run(DECIDE, *message, seconds=seconds))
            decision = self._decision(claims, reply) if isinstance(reply, bytes) else None
        finally:  # also if the request is canceled
            self._calls.end_claims(calls, is_granted=decision is not None and decision.is_granted)
            if decision is None:
                self._add([*(change for change in changes if change.kind != "concurrent"), *calls])
        return decision

    def restore(self, records: Sequence[bytes]) -> None:
        """Nothing is restored: the store itself keeps what is used."""

    def report(self, changes: Sequence[Claim]) -> None:
        for change in changes:
            if change.kind == "concurrent":
                self._calls.add(change.scope, change.amount)
        self._add(changes)

    async def keep_writing(self) -> None:
        """Write what is pending, in batches. While the store is down, it waits."""
        while True:
            await self._has_pending.wait()
            await self._connection.wait(is_up=True)
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()
            if not self._pending:
                self._has_pending.clear()

    async def keep_present(self) -> None:
        """Report that this process runs, and count the others."""
        while True:
            await self._connection.wait(is_up=True)
            number = await self._connection.run(
                lambda seconds: self._client.run(PRESENCE, f"{self._prefix}processes", self._process, seconds=seconds)
            )
            if isinstance(number, int):
                self.processes = max(1, number)
                self._was_reached = True
            self._add([Claim(scope, "concurrent", "", 1, 0) for scope in self._calls.scopes])
            await self._clock.sleep(PRESENCE_SECONDS)

    async def flush(self) -> None:
        """Write pending changes of some scopes."""
        batch: dict[str, list[Claim]] = {}
        for limit in [*self._pending]:
            if limit[0] in batch or len(batch) < _BATCH:
                batch.setdefault(limit[0], []).extend(self._pending.pop(limit).values())
        changes = [change for each in batch.values() for change in each]
        if not changes:
            return
        message = self._message(changes, ())
        write = self._connection.run(
            lambda seconds: self._client.run(DECIDE, *message, seconds=seconds), _WRITE_SECONDS
        )
        if await write is None:
            self._add(changes)

    def _add(self, changes: Sequence[Claim]) -> None:
        """Write changes later."""
        for change in changes:
            limit, part = _limit_of(change), _part_of(change)
            parts = self._pending[limit] = self._pending.pop(limit, {})
            before = parts.get(part)
            parts[part] = _sum(before, change) if before else change
            if len(self._pending) > MAX_PENDING:
                dropped = self._pending.pop(next(iter(self._pending)))
                if any(each.kind != "concurrent" for each in dropped.values()):  # these are reported again
                    self._dropped.add()
        if changes:
            self._has_pending.set()

    def _message(self, changes: Sequence[Claim], claims: Sequence[Claim]) -> tuple[Sequence[str], bytes]:
        """Return the keys and the argument of the script."""
        self._calls.begin_message()
        scopes = list(dict.fromkeys(claim.scope for claim in (*changes, *claims)))
        index = {scope: number for number, scope in enumerate(scopes, 1)}
        rows = [[self._row(claim, index[claim.scope]) for claim in each] for each in (changes, claims)]
        return [f"{self._prefix}{scope}" for scope in scopes], msgspec.msgpack.encode((self._process, *rows))

    def _row(self, claim: Claim, index: int) -> _Row:
        if claim.kind == "concurrent":
            return index, claim.kind, claim.unit, claim.limit, claim.amount, self._calls.snapshot(claim.scope)
        is_calendar = claim.unit not in SLIDING
        time = self._at.calendar.period(claim.unit, self._clock.time()).number if is_calendar else claim.since
        return index, claim.kind, claim.unit, claim.limit, claim.amount, time

    def _decision(self, claims: Sequence[Claim], reply: bytes) -> Decision | None:
        try:
            is_granted, rows, at = _decode(reply)
        except ValueError:
            return None
        if len(rows) != len(claims):
            return None
        return Decision(is_granted, [self._usage(claim, *row) for claim, row in zip(claims, rows, strict=True)], at)

    def _usage(self, claim: Claim, used: int, wait: float, reset_or_highest: float) -> Usage:
        if claim.unit in SLIDING or claim.unit == "":
            return Usage(used, wait, reset_or_highest)
        moment = self._at
        moment.set(self._clock.monotonic(), self._clock.time())
        period, highest = moment.periods[claim.unit].number, int(reset_or_highest)
        window = CalendarWindow(claim.unit, claim.limit, period, used, highest=highest)
        window.advance(moment)
        free = claim.limit - (1 if claim.kind == "tokens" else claim.amount)
        return Usage(used, window.wait(free, moment) if wait else 0.0, window.reset(moment))


def _limit_of(claim: Claim) -> _Limit:
    return claim.scope, claim.kind, claim.unit


def _part_of(change: Claim) -> int:
    """Return in which part of a sliding window it was counted what a change takes back, 0 for all other changes.

    A large limit has one entry for each of these parts, so that their changes can be added up.
    """
    seconds = SLIDING.get(change.unit)
    return int(change.since // (seconds / SLOTS)) if seconds else 0


def _sum(one: Claim, other: Claim) -> Claim:
    return one.with_amount(one.amount + other.amount).with_since(min(one.since, other.since))

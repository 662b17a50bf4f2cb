"""The calls of the last hour by minute, for the status page. Values of one process; those of several are added.

A minute that has ended is kept as bytes, so that an hour of a thousand keys needs 2 MB. The number of rows is bounded
as in metrics: further keys are counted as `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from proxy.cooperative import Cooperative
from proxy.telemetry.callers import caller_label
from proxy.telemetry.counters import MAX_KEYS, OTHER
from proxy.telemetry.events import CallGroup, CallOutcome, Observer, Outcome

MINUTES = 60
"""Minutes that are shown, with the current one."""
MAX_PROVIDERS = 1000
_SECONDS = 60
_NO_ERROR: frozenset[CallOutcome] = frozenset({"ok", "client_disconnected"})
_OF_PROVIDER: frozenset[CallOutcome] = frozenset({"rate_limited", "failed", "timeout", "stream_broken"})
"""Errors that a provider caused: not those of a request that it rejected."""
_FAILED: frozenset[Outcome] = frozenset({"rate_limited", "failed", "timeout", "interrupted"})
_BOUNDS = tuple(0.01 * 1.25**step for step in range(44))
"""Upper bounds of times to first byte, in seconds: up to two and a half minutes, so close that percentiles are
accurate to 25 %."""
_place = partial(bisect_left, _BOUNDS)


class ProviderMinute(Struct, array_like=True):
    """The calls whose last attempt was at one provider."""

    calls: int = 0
    errors: int = 0
    """Of these calls."""
    failed_attempts: int = 0
    """Also of calls that another provider then answered; 0 with `server.metrics: off`."""
    first_bytes: dict[int, int] = {}
    """Place in `_BOUNDS` -> calls with such a time to first byte."""

    @property
    def failures(self) -> int:
        return max(self.errors, self.failed_attempts)


class KeyMinute(Struct, array_like=True):
    """The calls of one key."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_bytes: int = 0
    """Calls with a first byte."""
    first_byte_seconds: float = 0.0
    """The sum of their times to first byte."""


class Minute(Struct, array_like=True):
    """The calls of one minute."""

    providers: dict[str, ProviderMinute] = {}
    keys: dict[str, KeyMinute] = {}

    def add(self, other: Minute) -> None:
        """Add the calls of another process."""
        for name, of in other.providers.items():
            mine = self.providers.setdefault(name, ProviderMinute())
            mine.calls += of.calls
            mine.errors += of.errors
            mine.failed_attempts += of.failed_attempts
            for place, calls in of.first_bytes.items():
                mine.first_bytes[place] = mine.first_bytes.get(place, 0) + calls
        for name, key in other.keys.items():
            sums = self.keys.setdefault(name, KeyMinute())
            sums.calls += key.calls
            sums.errors += key.errors
            sums.input_tokens += key.input_tokens
            sums.output_tokens += key.output_tokens
            sums.first_bytes += key.first_bytes
            sums.first_byte_seconds += key.first_byte_seconds


Packed = Sequence[tuple[int, bytes]]
"""Minutes since 1970, and an encoded `Minute`; one minute can be there several times."""

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Minute).decode


class RecentCalls(Observer):
    """Counts the calls of this process."""

    def __init__(self, time: Callable[[], float]) -> None:
        """`time` returns Unix seconds."""
        self._time = time
        self.attempts: Callable[[], Mapping[tuple[str, Outcome], int]] = dict
        """Returns the attempts since the start, by provider and outcome."""
        self._minute = 0
        self._open = Minute()
        self._closed: deque[tuple[int, bytes]] = deque(maxlen=2 * MINUTES)
        self._failed_before: Mapping[str, int] = {}
        """Provider -> its failed attempts before this minute."""

    def calls_ended(self, groups: Sequence[CallGroup]) -> None:
        self.begin_minute()
        keys = self._open.keys
        by_provider: dict[str, list[CallGroup]] = {}
        for group in groups:
            key = keys.get(group.key) or self._key(group.key)
            key.calls += group.calls
            key.input_tokens += group.input_tokens
            key.output_tokens += group.output_tokens
            if group.outcome not in _NO_ERROR:
                key.errors += group.calls
            key.first_bytes += len(group.first_bytes)
            key.first_byte_seconds += sum(group.first_bytes)
            by_provider.setdefault(group.provider, []).append(group)
        by_provider.pop("", None)
        for name, of_provider in by_provider.items():
            provider = self._provider(name)
            provider.calls += sum(group.calls for group in of_provider)
            provider.errors += sum(group.calls for group in of_provider if group.outcome in _OF_PROVIDER)
            places = Counter(_place(seconds) for group in of_provider for seconds in group.first_bytes)
            for place, calls in places.items():
                provider.first_bytes[place] = provider.first_bytes.get(place, 0) + calls

    def begin_minute(self) -> None:
        """Begin another minute if it is time. Call it about every second: attempts are assigned to the minute."""
        minute = int(self._time()) // _SECONDS
        if minute != self._minute:
            self._close(minute)

    def packed(self) -> Packed:
        """The last hour."""
        self.flush()
        self.begin_minute()
        first = self._minute - MINUTES
        self._count_attempts()
        current = (self._minute, _ENCODE(self._open))
        return [*((minute, data) for minute, data in self._closed if first < minute <= self._minute), current]

    def _close(self, minute: int) -> None:
        """Begin another minute."""
        self._count_attempts()
        if self._open.keys or self._open.providers:
            self._closed.append((self._minute, _ENCODE(self._open)))
        self._failed_before = self._failed()
        self._open, self._minute = Minute(), minute

    def _count_attempts(self) -> None:
        """Set the failed attempts of the current minute: the difference of the totals."""
        if not self._minute:
            return
        for name, total in self._failed().items():
            if failed := total - self._failed_before.get(name, 0):
                self._provider(name).failed_attempts = max(failed, 0)

    def _failed(self) -> Mapping[str, int]:
        failed: dict[str, int] = {}
        for (provider, outcome), number in self.attempts().items():
            if outcome in _FAILED:
                failed[provider] = failed.get(provider, 0) + number
        return failed

    def _key(self, identity: str) -> KeyMinute:
        keys, name = self._open.keys, caller_label(identity)
        return keys.setdefault(name if name in keys or len(keys) < MAX_KEYS else OTHER, KeyMinute())

    def _provider(self, name: str) -> ProviderMinute:
        providers = self._open.providers
        is_new = name not in providers and len(providers) >= MAX_PROVIDERS
        return providers.setdefault(OTHER if is_new else name, ProviderMinute())


class LastHour:
    """The calls of all processes, by minute."""

    def __init__(self, now: float) -> None:
        """`now`: Unix seconds."""
        self.first = int(now) // _SECONDS - MINUTES + 1
        """The first minute, since 1970."""
        self.minutes = [Minute() for _ in range(MINUTES)]

    def add(self, part: Packed) -> Cooperative[None]:
        """Add the calls of one process. Raises ValueError for other bytes than those of `RecentCalls.packed`."""
        for minute, data in part:
            if 0 <= minute - self.first < MINUTES:
                self.minutes[minute - self.first].add(_DECODE(data))
                yield

    def of_provider(self, name: str) -> Sequence[ProviderMinute]:
        return [minute.providers.get(name, _NO_CALLS) for minute in self.minutes]

    def of_key(self, name: str) -> Sequence[KeyMinute]:
        return [minute.keys.get(name, _NO_CALLS_OF_KEY) for minute in self.minutes]

    def sums_of_keys(self) -> Cooperative[Mapping[str, KeyMinute]]:
        """Key -> its calls in the hour."""
        total = Minute()
        for minute in self.minutes:
            total.add(Minute(keys=minute.keys))
            yield
        return total.keys


_NO_CALLS = ProviderMinute()
_NO_CALLS_OF_KEY = KeyMinute()


def total_of(minutes: Iterable[ProviderMinute]) -> ProviderMinute:
    """The sum. Its `errors` are the failures of all minutes."""
    total = ProviderMinute()
    for minute in minutes:
        total.calls += minute.calls
        total.errors += minute.failures
        for place, calls in minute.first_bytes.items():
            total.first_bytes[place] = total.first_bytes.get(place, 0) + calls
    return total


def percentile(first_bytes: Mapping[int, int], share: float) -> float | None:
    """The time to first byte, in seconds, that this share of calls does not exceed; None without calls."""
    rank = share * sum(first_bytes.values())
    for place in sorted(first_bytes):
        calls = first_bytes[place]
        if rank <= calls:
            low = _BOUNDS[place - 1] if place else 0.0
            high = _BOUNDS[place] if place < len(_BOUNDS) else low * 1.25
            return float(f"{low + (high - low) * rank / calls:.3g}")
        rank -= calls
    return None

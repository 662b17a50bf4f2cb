"""The counters of one caller or group as bytes, for the next process. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from proxy.config.call_limits import SLIDING
from proxy.limits.scopes import Scope
from proxy.limits.sliding_window import SlidingWindow
from proxy.limits.state import LimitState
from proxy.limits.windows import CalendarWindow

_MAX_ENTRIES = 16
"""Times of one sliding window. More are joined, with the later time."""


class _Sliding(Struct, array_like=True):
    entries: list[tuple[float, int]]
    """Unix seconds and counts, the oldest first."""
    debt: int


class _Record(Struct, array_like=True):
    name: str
    sliding: dict[str, _Sliding]
    calendar: dict[str, tuple[int, int, int]]
    """By kind and unit, as in `Scope`; period, used, and the highest limit in the period."""


_decode = msgspec.msgpack.Decoder(_Record).decode


def packed(name: str, scope: Scope, to_unix: float) -> bytes:
    """Return what is used. `to_unix`: what to add to monotonic seconds. Calls in progress are not kept."""
    sliding, calendar = {}, {}
    for unit, counter in scope.counters.items():
        if isinstance(counter, SlidingWindow) and counter.used:
            sliding[unit] = _Sliding(_joined(counter.entries(), to_unix), counter.debt)
        elif isinstance(counter, CalendarWindow) and counter.used:
            calendar[unit] = (counter.period, counter.used, counter.allowed)
    return msgspec.msgpack.encode(_Record(name, sliding, calendar))


def restore(state: LimitState, data: bytes, monotonic: float, to_unix: float) -> str:
    """Add what is used according to `packed`, unless more is already counted. Returns the name of the scope.

    Raises ValueError for other bytes.
    """
    record = _decode(data)
    scope = state.scope(record.name)
    for name, of in record.sliding.items():
        seconds = SLIDING.get(name.rpartition("/")[2])
        if seconds is None or of.debt < 0:
            raise ValueError("a window without a length")
        # A clock that was set back must not extend the window.
        entries = [(min(time - to_unix, monotonic), count) for time, count in sorted(of.entries) if count > 0]
        entries = [(at, count) for at, count in entries if of.debt or at + seconds > monotonic]
        window = scope.counter(name)
        in_window = sum(count for _, count in entries)
        if isinstance(window, SlidingWindow) and window.used < of.debt + in_window:
            window.replace(entries, of.debt)
            window.limit = window.limit or in_window or 1  # until a request sets it; with a debt, the window was full
    for name, (period, used, highest) in record.calendar.items():
        counter = scope.counter(name)
        if isinstance(counter, CalendarWindow) and (period, used) > (counter.period, counter.used):
            counter.period, counter.used, counter.highest = period, used, highest
            counter.limit = counter.limit or highest
    state.renew_accounts(monotonic)  # these counters may expire sooner
    return record.name


def _joined(entries: list[tuple[float, int]], to_unix: float) -> list[tuple[float, int]]:
    size = -(-len(entries) // _MAX_ENTRIES) or 1
    groups = [entries[start : start + size] for start in range(0, len(entries), size)]
    return [(group[-1][0] + to_unix, sum(count for _, count in group)) for group in groups]

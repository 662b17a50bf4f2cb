"""The counters of one caller or group as bytes, for the next process. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from proxy.config.call_limits import SLIDING
from proxy.limits.state import LimitState, Scope
from proxy.limits.windows import CalendarWindow, SlidingWindow

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
    """By kind and unit, as in `Scope`; period, used and limit."""


_decode = msgspec.msgpack.Decoder(_Record).decode


def packed(name: str, scope: Scope, to_unix: float) -> bytes:
    """Return what is used. `to_unix`: what to add to monotonic seconds. Calls in progress are not kept."""
    sliding = {
        unit: _Sliding(_joined(window.entries(), to_unix), window.debt)
        for unit, window in scope.sliding.items()
        if window.used
    }
    calendar = {unit: (each.period, each.used, each.limit) for unit, each in scope.calendar.items() if each.used}
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
        window = SlidingWindow()
        for time, count in sorted(of.entries):
            # A clock that was set back must not extend the window.
            at = min(time - to_unix, monotonic)
            if count > 0 and (of.debt or at + seconds > monotonic):
                window.restore(at, count)
        window.add_debt(of.debt)
        before = scope.sliding.get(name)
        if before is None or before.used < window.used:
            scope.sliding[name] = window
    for name, (period, used, limit) in record.calendar.items():
        present = scope.calendar.get(name)
        if present is None or (period, used) > (present.period, present.used):
            scope.calendar[name] = CalendarWindow(period, used, limit)
    return record.name


def _joined(entries: list[tuple[float, int]], to_unix: float) -> list[tuple[float, int]]:
    size = -(-len(entries) // _MAX_ENTRIES) or 1
    groups = [entries[start : start + size] for start in range(0, len(entries), size)]
    return [(group[-1][0] + to_unix, sum(count for _, count in group)) for group in groups]

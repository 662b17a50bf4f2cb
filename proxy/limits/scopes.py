"""The counters of one caller, or of one group."""

from __future__ import annotations

from msgspec import Struct, field

from proxy.config.call_limits import SLIDING, UNITS
from proxy.limits.claims import KINDS
from proxy.limits.sliding_window import SlidingWindow
from proxy.limits.windows import CalendarWindow, CallsInProgress, Counter

NAMES = {kind: {unit: f"{kind}/{unit}" for unit in (*UNITS, "")} for kind in KINDS}
"""The names of counters, by kind and unit."""


class Scope(Struct, gc=False):
    """The counters of one caller, or of one group."""

    counters: dict[str, Counter] = field(default_factory=dict)
    """By kind and unit, such as `requests/m`; `concurrent/` are the calls in progress."""
    is_dropped: bool = False
    """Whether these counters are not used any more, except by calls that have not ended."""

    @property
    def in_flight(self) -> int:
        counter = self.counters.get(NAMES["concurrent"][""])
        return counter.used if counter else 0

    def counter(self, name: str) -> Counter:
        """Return a counter, a new one if there is none."""
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = new_counter(name)
        return counter


def new_counter(name: str) -> Counter:
    unit = name.rpartition("/")[2]
    if seconds := SLIDING.get(unit):
        return SlidingWindow(seconds)
    return CalendarWindow(unit) if unit else CallsInProgress()

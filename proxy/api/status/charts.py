"""Charts of one hour, as the data of SVG paths. A minute is four units wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

STEP = 4
_BAR = 3


class Bars(NamedTuple):
    """Calls and errors by minute. Errors are drawn in front of calls, from the same base line."""

    calls: str
    errors: str
    peak: int
    """The greatest number of a minute, which has the full height."""


class Lines(NamedTuple):
    """Two percentiles by minute."""

    p50: str
    p95: str
    peak: float | None
    """The greatest value in seconds, None without any."""


def bars(calls: Sequence[int], errors: Sequence[int], height: int) -> Bars:
    # Failed attempts can be more than calls: other providers answered these.
    peak = max((*calls, *errors), default=0)
    return Bars(_bars(calls, peak, height), _bars(errors, peak, height), peak)


def lines(p50: Sequence[float | None], p95: Sequence[float | None], height: int) -> Lines:
    known = [value for value in (*p50, *p95) if value is not None]
    peak = max(known, default=None)
    return Lines(_line(p50, peak, height), _line(p95, peak, height), peak)


def _bars(values: Sequence[int], peak: int, height: int) -> str:
    parts = []
    for place, value in enumerate(values):
        if value:
            top = height - max(1.0, height * value / peak)  # one call is visible among thousands
            parts.append(f"M{place * STEP} {height}V{top:.1f}h{_BAR}V{height}z")
    return "".join(parts)


def _line(values: Sequence[float | None], peak: float | None, height: int) -> str:
    """A minute is a step, so that single minutes are visible."""
    parts: list[str] = []
    is_open = False
    for place, value in enumerate(values):
        if value is None or not peak:
            is_open = False
            continue
        y = f"{1 + (height - 2) * (1 - value / peak):.1f}"
        parts.append(f"L{place * STEP} {y}h{_BAR}" if is_open else f"M{place * STEP} {y}h{_BAR}")
        is_open = True
    return "".join(parts)

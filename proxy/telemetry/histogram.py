"""Histograms: how many observations are in each range of values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Buckets(NamedTuple):
    """The values of a histogram at one moment."""

    bounds: Sequence[float]
    counts: Sequence[int]
    """Observations per bucket, not cumulative. The last bucket has no upper bound."""
    sum: float

    def __add__(self, other: Buckets) -> Buckets:  # type: ignore[override]  # of a tuple
        """The observations of two histograms with the same bounds."""
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Buckets(self.bounds, counts, self.sum + other.sum)


class Histogram:
    """Counts observations by value, in seconds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: the upper bounds of all buckets but the last one, in ascending order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Observe many values together."""
        ordered = sorted(values)
        observed = 0
        for bucket, bound in enumerate(self.bounds):
            end = bisect_right(ordered, bound, observed)
            self.counts[bucket] += end - observed
            observed = end
        self.counts[-1] += len(ordered) - observed
        self.sum += sum(ordered)

    def buckets(self) -> Buckets:
        return Buckets(self.bounds, (*self.counts,), self.sum)

"""The rows of the counters, and the buckets of their durations."""

from __future__ import annotations

from proxy.telemetry.events import CallOutcome
from proxy.telemetry.histogram import Histogram

REQUEST_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CALL_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_BYTE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FETCH_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of histogram buckets, in seconds."""


class RequestRow:
    """The requests of one route, method, status and key."""

    __slots__ = ("count", "seconds")

    def __init__(self, seconds: Histogram) -> None:
        self.count = 0
        self.seconds = seconds
        """The durations of all requests of the route."""


class ProviderRow:
    """The durations of the calls of one provider."""

    __slots__ = ("first_byte", "seconds")

    def __init__(self) -> None:
        self.first_byte = Histogram(FIRST_BYTE_BOUNDS)
        self.seconds = Histogram(CALL_BOUNDS)


class CallRow:
    """The calls of one key and provider."""

    __slots__ = ("input_tokens", "outcomes", "output_tokens")

    def __init__(self) -> None:
        self.outcomes: dict[CallOutcome, int] = {}
        self.input_tokens = 0
        self.output_tokens = 0


class ModelRow:
    """The calls of one model."""

    __slots__ = ("calls", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.input_tokens = 0
        self.output_tokens = 0

"""What is happening in all processes that serve the port: states of calls, recent calls, and calls in progress."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest

import msgspec
from msgspec import Struct

from proxy.api.workers import merged
from proxy.cooperative import Cooperative
from proxy.states import Calls
from proxy.telemetry import CallRecord
from proxy.telemetry.recent import LastHour, Packed

MAX_RUNNING = 100
"""Maximum number of listed calls in progress: those that began first."""


class RunningCall(Struct, frozen=True):
    """A call in progress."""

    request_id: str
    route: str
    key: str
    """The identity of the caller, "" without one."""
    model: str
    provider: str
    """The provider of the current attempt, "" before the first one."""
    stream: bool
    attempts: int
    seconds: float
    """Since its start."""


class Part(Struct, frozen=True, array_like=True):
    """What is happening in one process."""

    calls: Mapping[str, Calls]
    """By provider."""
    recent: Packed
    running: Sequence[RunningCall]
    """The longest ones."""
    running_total: int


class Live(Struct, frozen=True):
    """What is happening in all processes."""

    calls: Mapping[str, Calls]
    hour: LastHour
    running: Sequence[RunningCall]
    running_total: int
    generations: Mapping[int, str] | None = None
    """The number of each worker -> the generation of the configuration that it uses; None without workers."""


def running_calls(records: Collection[CallRecord], monotonic: float) -> Sequence[RunningCall]:
    """The calls that began first, of all calls in progress. `monotonic`: now, in the seconds of `CallRecord.began`."""
    return [
        RunningCall(
            record.request_id,
            record.route,
            record.key,
            record.model,
            record.provider,
            record.is_stream,
            record.attempts,
            round(max(0.0, monotonic - record.began), 1),
        )
        for record in nsmallest(MAX_RUNNING, records, key=lambda record: record.began)
    ]


def packed(part: Part) -> bytes:
    return msgspec.msgpack.encode(part)


def together(parts: Sequence[bytes], now: float, generations: Mapping[int, str] | None) -> Cooperative[Live]:
    """Merge the parts of several processes. `now`: Unix seconds. Raises ValueError for other bytes."""
    hour = LastHour(now)
    calls: list[Mapping[str, Calls]] = []
    running: list[RunningCall] = []
    total = 0
    for data in parts:
        part = _DECODE(data)
        yield from hour.add(part.recent)
        calls.append(part.calls)
        running += part.running
        total += part.running_total
    longest = sorted(running, key=lambda call: -call.seconds)[:MAX_RUNNING]
    return Live(merged(*calls), hour, longest, total, generations)


_DECODE = msgspec.msgpack.Decoder(Part).decode

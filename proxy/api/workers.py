"""The other processes that serve the same port: what endpoints query, so that each process responds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from proxy.states import Calls, CallState

_SEVERITY: Sequence[CallState] = ("open", "half_open", "limited", "degraded", "ok", "not_callable")
"""The state of the calls of a provider is the first one that any process has."""


Subject = Literal["metrics", "calls", "status"]
"""What a process can answer for all: as `telemetry.merging.pack`, `packed_calls` and `status.live.packed` return it."""


class OfWorkers(NamedTuple):
    """What the workers have answered."""

    parts: Sequence[bytes]
    """From each one, also that of this process; the last answer of one that does not respond."""
    generations: Mapping[int, str]
    """The number of each worker -> the generation of the configuration that it uses."""


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """The state of one process on which `/readyz` and the status at `/health` depend."""

    is_ready: bool
    calls: Mapping[str, Calls]
    """By provider."""
    directory: Mapping[str, str | int] | None = None
    """The state of `store.directory`."""


class Workers(Protocol):
    """All processes that serve the port. Methods return within about a second."""

    @property
    def others(self) -> Sequence[Condition]:
        """The condition of each other process within the last second; empty when the server stops."""
        ...

    async def values(self, subject: Subject, own: bytes) -> OfWorkers:
        """`own`: the values of this process. Metrics are with the counters of ended processes."""
        ...

    async def usage(self, query: bytes) -> Sequence[bytes]:
        """The answers to a query of usage (`telemetry.usage_query`), also of this process; none after a failure."""
        ...


def merged_directories(states: Sequence[Mapping[str, str | int]]) -> Mapping[str, str | int]:
    """The state of `store.directory` in all processes: the sums, and the problem of the one that writes."""
    own = states[0]
    totals = {name: sum(int(each[name]) for each in states) for name, value in own.items() if isinstance(value, int)}
    problem = next((each["problem"] for each in states if each["problem"]), "")
    return {**own, "problem": problem, **totals}


def packed_calls(calls: Mapping[str, Calls]) -> bytes:
    """Provider -> its calls, as bytes."""
    return msgspec.msgpack.encode(calls)


def merged_calls(parts: Sequence[bytes]) -> Mapping[str, Calls]:
    """Provider -> its calls of all processes. Raises ValueError for other bytes than those of `packed_calls`."""
    return merged(*(_DECODE(part) for part in parts))


def _together(one: Calls, other: Calls) -> Calls:
    circuits = {(each.model, each.key): each for each in (*other.open_circuits, *one.open_circuits)}
    return Calls(
        min(one.state, other.state, key=_SEVERITY.index),
        one.in_flight + other.in_flight,
        one.queued + other.queued,
        [circuits[key] for key in sorted(circuits, key=str)],
        one.account_rejected or other.account_rejected,
        one.max_in_flight + other.max_in_flight,
    )


def merged(*calls: Mapping[str, Calls]) -> Mapping[str, Calls]:
    """Provider -> its calls of all processes."""
    merged: dict[str, Calls] = {}
    for each in calls:
        for provider, own in each.items():
            merged[provider] = _together(merged[provider], own) if provider in merged else own
    return merged


_DECODE = msgspec.msgpack.Decoder(dict[str, Calls]).decode

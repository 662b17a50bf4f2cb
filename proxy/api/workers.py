"""The other processes that serve the same port: what endpoints ask them, so that each answers for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from proxy.states import Calls, CallState

_SEVERITY: Sequence[CallState] = ("open", "half_open", "limited", "degraded", "ok", "not_callable")
"""The state of the calls of a provider is the first one that any process has."""


class OfWorkers(NamedTuple):
    """What the workers have answered."""

    parts: Sequence[bytes]
    """From each one, also that of this process; the last answer of one that does not respond."""
    generations: Mapping[int, str]
    """The number of each worker -> the generation of the configuration that it uses."""


class Workers(Protocol):
    """All processes that serve the port. Methods return within about a second."""

    async def metrics(self, own: bytes) -> OfWorkers:
        """`own`: of this process, as `telemetry.merging.pack` returns it. With the counters of ended ones."""
        ...

    async def calls(self, own: bytes) -> OfWorkers:
        """`own`: of this process, as `packed_calls` returns it."""
        ...


def packed_calls(calls: Mapping[str, Calls]) -> bytes:
    """Provider -> its calls, as bytes."""
    return msgspec.msgpack.encode(calls)


def merged_calls(parts: Sequence[bytes]) -> Mapping[str, Calls]:
    """Provider -> its calls of all processes. Raises ValueError for other bytes than those of `packed_calls`."""
    merged: dict[str, Calls] = {}
    for part in parts:
        for provider, calls in _DECODE(part).items():
            merged[provider] = _together(merged[provider], calls) if provider in merged else calls
    return merged


def _together(one: Calls, other: Calls) -> Calls:
    circuits = {(each.model, each.key): each for each in (*other.open_circuits, *one.open_circuits)}
    return Calls(
        min(one.state, other.state, key=_SEVERITY.index),
        one.in_flight + other.in_flight,
        one.queued + other.queued,
        [circuits[key] for key in sorted(circuits, key=str)],
        one.account_rejected or other.account_rejected,
    )


_DECODE = msgspec.msgpack.Decoder(dict[str, Calls]).decode

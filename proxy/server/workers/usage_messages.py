"""The messages between the supervisor and its workers about usage: `proxy.server.workers.usage`."""

from __future__ import annotations

from msgspec import Struct


class UsageRows(Struct, array_like=True, tag=True):
    """From a worker, forwarded to the leader: what it has counted and then discarded (`telemetry.usage_records`)."""

    data: bytes


class GetUsage(Struct, array_like=True, tag=True):
    """From a worker: get the usage of all workers; the reply is `UsageParts`. To a worker: the reply is `UsagePart`."""

    request: int
    query: bytes


class UsagePart(Struct, array_like=True, tag=True):
    """From a worker: its own usage."""

    request: int
    data: bytes


class UsageParts(Struct, array_like=True, tag=True):
    """To a worker: the usage of all workers."""

    request: int
    parts: list[bytes]


UsageMessage = UsageRows | GetUsage | UsagePart
"""Messages of workers about usage."""
UsageReply = UsageRows | GetUsage | UsageParts
"""Messages of the supervisor about usage."""

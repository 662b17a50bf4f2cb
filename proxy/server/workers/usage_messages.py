"""What the supervisor and its workers send each other about usage: `proxy.server.workers.usage`."""

from __future__ import annotations

from msgspec import Struct


class UsageRows(Struct, array_like=True, tag=True):
    """From a worker, passed on to the leader: what it has counted, and has no longer (`telemetry.usage_records`)."""

    data: bytes


class AskUsage(Struct, array_like=True, tag=True):
    """From a worker: get the usage of all. The answer is `UsageParts`. To a worker: the answer is `UsagePart`."""

    request: int
    query: bytes


class UsagePart(Struct, array_like=True, tag=True):
    """From a worker: what it has."""

    request: int
    data: bytes


class UsageParts(Struct, array_like=True, tag=True):
    """To a worker: what all have."""

    request: int
    parts: list[bytes]


UsageMessage = UsageRows | AskUsage | UsagePart
"""What workers send about usage."""
UsageReply = UsageRows | AskUsage | UsageParts
"""What the supervisor sends about usage."""

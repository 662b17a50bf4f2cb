"""What is kept in `store.directory`, None without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from proxy.clock import Clock
from proxy.config import Config, Provider
from proxy.limits.limiter import Limiter
from proxy.telemetry.usage import Usage

if TYPE_CHECKING:
    from proxy.server.shared import Shared
    from proxy.server.stored_counters import CounterKeeper
    from proxy.server.stored_ledger import StoredLedger
    from proxy.server.stored_limits import StoredLimits
    from proxy.server.stored_usage import StoredUsage
    from proxy.store.directory import ListDirectory


def list_directory(config: Config, clock: Clock, providers: Callable[[], Sequence[Provider]]) -> ListDirectory | None:
    """`providers` returns those of the current configuration."""
    if config.store.directory is None:
        return None
    # Imported only if it is used.
    from proxy.store.directory import ListDirectory
    from proxy.store.disk import Disk
    from proxy.store.disk_thread import DiskThread

    path = config.store.directory
    return ListDirectory(path, Disk(path), DiskThread().submit, clock, providers, is_shared=config.server.workers > 1)


def stored_ledger(config: Config, directory: ListDirectory | None, shared: Shared, clock: Clock) -> StoredLedger | None:
    if directory is None:
        return None
    from proxy.server.stored_ledger import StoredLedger

    return StoredLedger(shared.ledger(config), directory, clock, config.keys)


def stored_usage(config: Config, directory: ListDirectory | None, usage: Usage, clock: Clock) -> StoredUsage | None:
    if directory is None or config.store.directory is None:
        return None
    from proxy.server.stored_usage import StoredUsage
    from proxy.store.disk import Disk
    from proxy.store.usage_files import LOCK, UsageFiles

    # With a lock of its own: of several workers, the one that writes usage is not always the one that writes lists.
    files = UsageFiles(Disk(config.store.directory, LOCK))
    return StoredUsage(usage, directory, files, clock, config.server.timezone)


def stored_limits(
    config: Config, directory: ListDirectory | None, limiter: Limiter, clock: Clock
) -> StoredLimits | None:
    """Also with `store.valkey`: for a start while it is unreachable."""
    if directory is None or config.store.directory is None:
        return None
    from proxy.server.stored_limits import LimitFiles, StoredLimits

    return StoredLimits(limiter, LimitFiles(config.store.directory), directory, clock)


def stored_counters(
    config: Config, directory: ListDirectory | None, packed: Callable[[], Awaitable[bytes]]
) -> CounterKeeper | None:
    """`packed` returns the metrics of this process."""
    if directory is None:
        return None
    from proxy.server.stored_counters import CounterKeeper, stored_counters

    stored = stored_counters(config)
    return CounterKeeper(stored, directory, packed) if stored else None

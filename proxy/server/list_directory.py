"""What is kept in `store.directory`, None without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.clock import Clock
from proxy.config import Config, Provider

if TYPE_CHECKING:
    from proxy.server.shared import Shared
    from proxy.server.stored_ledger import StoredLedger
    from proxy.store.directory import ListDirectory


def list_directory(config: Config, clock: Clock, providers: Callable[[], Sequence[Provider]]) -> ListDirectory | None:
    """`providers` returns those of the present configuration."""
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

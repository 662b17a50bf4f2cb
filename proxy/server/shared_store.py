"""The store of a configuration that is shared with other processes, None without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.clock import Clock
from proxy.config import Config
from proxy.errors import describe_bug
from proxy.sharing import Sharing

_log = logging.getLogger("models_proxy")


def shared_store(config: Config, clock: Clock) -> Sharing | None:
    if config.store.valkey is None:
        return None
    # Imported only if it is used.
    from proxy.sharing.valkey import Valkey

    return Valkey(config.store, clock)


@asynccontextmanager
async def running(sharing: Sharing | None) -> AsyncIterator[None]:
    """Share while the context is entered."""
    if sharing is None:
        yield
        return
    task = asyncio.create_task(sharing.run(), name="shared store")
    task.add_done_callback(_log_if_stopped)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_if_stopped(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("the shared store stopped unexpectedly; nothing is shared any more: %s", describe_bug(error))

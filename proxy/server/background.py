"""Background tasks of a deployment: they keep the model lists and the signing keys of issuers current."""

from __future__ import annotations

import asyncio
import logging

from proxy.config.auth import Logins
from proxy.errors import describe_bug
from proxy.server.key_sets import KeySets
from proxy.store import Store

_log = logging.getLogger("models_proxy")


class Background:
    """The tasks of one deployment."""

    def __init__(self, store: Store, key_sets: KeySets, logins: Logins) -> None:
        self._store = store
        self._key_sets = key_sets
        self._logins = logins
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Refresh until `stop`."""
        refreshing = asyncio.create_task(self._store.run(), name="store")
        refreshing.add_done_callback(_log_if_stopped)
        self._tasks = [refreshing]
        self._key_sets.configure(self._logins.jwt)
        if self._logins.jwt:
            self._tasks.append(asyncio.create_task(self._key_sets.run(), name="signing keys"))

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_if_stopped(refresh: asyncio.Task[None]) -> None:
    """Log a crash of the refresh loop, which would otherwise be noticed only when lists become stale."""
    # Without an exception it ends only if all models are declared in the configuration.
    if not refresh.cancelled() and (error := refresh.exception()):
        _log.critical("refresh loop stopped unexpectedly; model lists are no longer updated: %s", describe_bug(error))

"""Send recorded changes to webhooks, if there are any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.clock import Clock
from proxy.config.notify import Webhook
from proxy.telemetry.changes import Change

if TYPE_CHECKING:
    from proxy.upstream.webhooks import Webhooks


class Notifications:
    """The receivers of the current configuration. Its module is imported with the first one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._webhooks: Webhooks | None = None

    @asynccontextmanager
    async def running(self, webhooks: Sequence[Webhook]) -> AsyncIterator[None]:
        """Send while the context is entered. Notifications in the queue at its end are lost."""
        self.configure(webhooks)
        try:
            yield
        finally:
            if self._webhooks:
                await self._webhooks.close()

    def configure(self, webhooks: Sequence[Webhook]) -> None:
        """Apply another configuration."""
        if webhooks and self._webhooks is None:
            from proxy.upstream.webhooks import Webhooks

            self._webhooks = Webhooks(self._clock)
        if self._webhooks:
            self._webhooks.configure(webhooks)

    def send(self, changes: Sequence[Change]) -> None:
        """Queue changes that this process has recorded. Returns at once."""
        if self._webhooks:
            self._webhooks.notify(changes)

    @property
    def outcomes(self) -> Mapping[str, int]:
        return self._webhooks.outcomes if self._webhooks else {}

    @property
    def pending(self) -> int | None:
        """Notifications that wait, None without receivers."""
        return self._webhooks.pending if self._webhooks else None

"""Collects what the status page shows, from all processes that serve the port.

What it needs is imported at the first request: most servers never need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from proxy.api.admin_actions import Operations
from proxy.api.health import Health
from proxy.api.listed import Listed
from proxy.clock import Clock
from proxy.config import Config
from proxy.cooperative import run_yielding
from proxy.states import Calls
from proxy.store import Store
from proxy.telemetry import CallRecord, Telemetry
from proxy.telemetry.changes import Feed

if TYPE_CHECKING:
    from proxy.api.status.attention import Attention
    from proxy.api.status.live import Live
    from proxy.api.status.report import Facts
    from proxy.telemetry.usage_query import Answer

_HOUR = 3600


class HasFeed(Protocol):
    @property
    def current(self) -> Feed: ...


class OfProcess(Protocol):
    """The parts that do not depend on the deployment."""

    clock: Clock
    operations: Operations
    telemetry: Telemetry

    @property
    def changes(self) -> HasFeed: ...

    def running_calls(self) -> Collection[CallRecord]:
        """The calls in progress in this process."""
        ...


class StatusSource:
    """The state of the whole proxy."""

    def __init__(self, config: Config, store: Store, health: Health, listed: Listed, process: OfProcess) -> None:
        self._config = config
        self._store = store
        self._health = health
        self._listed = listed
        self._process = process

    @property
    def feed(self) -> Feed:
        """The change feed."""
        return self._process.changes.current

    async def report(self) -> Mapping[str, Any]:
        """The content of `/status.json`."""
        from proxy.api.status.report import report

        return await run_yielding(report(await self.facts()))

    async def facts(self) -> Facts:
        """Collect the data of the report."""
        from proxy.api.status.report import Facts

        live = await self._live()
        attention = await self._attention(live)
        catalog = self._listed.current
        return Facts(
            self._process.clock.time(),
            self._health.details(live.calls.__getitem__, live.generations),
            live,
            attention,
            len(catalog.ids),
            catalog.version,
            self._process.changes.current,
            {provider.name: provider.max_in_flight for provider in self._config.providers if provider.target},
        )

    async def calls(self) -> Mapping[str, Calls]:
        """Provider -> its calls in all processes."""
        return await self._health.calls_of_all()

    async def packed(self) -> bytes:
        """What is happening in this process, for another one that serves the port."""
        from proxy.api.status.live import Part, packed, running_calls

        process = self._process
        records = process.running_calls()
        return packed(
            Part(
                self._health.calls_of_this(),
                process.operations.usage.recent_calls(),
                running_calls(records, process.telemetry.monotonic()),
                len(records),
            )
        )

    async def _live(self) -> Live:
        from proxy.api.status.live import together

        workers, now = self._process.operations.workers, self._process.clock.time()
        own = await self.packed()
        if workers is None:
            return await run_yielding(together([own], now, None))
        looking = asyncio.create_task(self._health.look())
        answers = await workers.values("status", own)
        await looking
        # A response can be from a process with another configuration.
        mine = self._health.calls_of_this()
        live = await run_yielding(together(answers.parts, now, answers.generations))
        return replace(live, calls={**mine, **live.calls})

    async def _attention(self, live: Live) -> Attention:
        from proxy.api.status.attention import Attention, attention, needs_attention
        from proxy.telemetry.usage_query import Query, TooManyTotals

        reports = self._store.reports()
        if not any(needs_attention(report, live.calls[report.name]) for report in reports):
            return Attention()
        now = int(self._process.clock.time())
        query = Query(now // _HOUR * _HOUR - _HOUR, now + _HOUR, ("key", "model"))
        try:
            usage: Answer | None = await self._process.operations.usage.answer(query)
        except TooManyTotals:
            usage = None
        names = [report.name for report in reports]
        return await run_yielding(
            attention(
                reports,
                live.calls,
                {name: self._store.offers(name) for name in names},
                {name: self._store.expired_ids(name) for name in names},
                self._process.changes.current,
                usage,
            )
        )

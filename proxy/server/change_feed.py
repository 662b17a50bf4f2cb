"""The change feed of a server: collects changes off the hot path, and keeps them where the server keeps its state.

Events are only queued. One task compares lists in steps, and records what has changed: in memory, in `store.directory`,
and in the state that is shared with other processes, under one name. The process that fetches a list reports its
changes, and a change that two processes have detected is recorded once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from proxy.catalog import Offer
from proxy.clock import Clock
from proxy.cooperative import Cooperative, run_yielding
from proxy.errors import describe_bug
from proxy.server.stored_feed import StoredFeed
from proxy.sharing import Busy, Published, Sharing, Turn
from proxy.store.differences import Offers, differences
from proxy.store.envelope import RecordError, seal, unseal
from proxy.telemetry.changes import MAX_TEXT, Change, Feed, Part, decoded, encoded
from proxy.telemetry.events import CircuitChange, ListReport, Observer

TICK_SECONDS = 5.0
"""Seconds between two reads of the shared feed, whose messages can be lost; and until the directory has a change."""
WRITE_SECONDS = 1.0
"""Minimum seconds between two writes after changes."""
RESTORE_SECONDS = STOP_SECONDS = 2.0
"""Seconds for which the start waits for the earlier feed, and the end of the process for the last changes."""
KEPT_SECONDS = 30 * 86_400.0
"""Seconds for which the shared state keeps a feed without changes."""
_ATTEMPTS = 20
_BUSY_SECONDS = 0.1
_MAX_PENDING = 10_000
_KIND, _SCHEMA = b"changes", 1

_log = logging.getLogger("models_proxy")


class ChangeFeed(Observer):
    """Records changes while `running` is entered. It is kept across reloads."""

    def __init__(self, clock: Clock, sharing: Sharing | None, stored: StoredFeed | None, namespace: str = "") -> None:
        """`namespace`: of the processes that have one feed."""
        self._clock = clock
        self._sharing = sharing
        self._stored = stored
        self.name = f"changes:{namespace}"
        """The name of the shared feed."""
        self.version = 0
        """The version of the shared feed in `_synced`."""
        self._synced = Feed(complete_after=int(clock.time() * 1_000_000))
        """The feed as it is shared with others; the whole feed without a shared state."""
        self._unshared: list[Change] = []
        """The changes that could not be shared yet."""
        self.current = self._synced
        """The feed that is shown."""
        self._pending: deque[Cooperative[Sequence[Change]]] = deque(maxlen=_MAX_PENDING)
        self._wakes = asyncio.Event()
        self._write_at = float("-inf")
        """Monotonic seconds before which only ticks write."""
        self.on_recorded: Callable[[Sequence[Change]], None] = lambda changes: None
        """Called with the changes that this process has recorded."""

    # -- events --------------------------------------------------------------------------------------------------------

    def offers_changed(self, provider: str, before: Sequence[Offer], after: Offers) -> None:
        """The offers of a provider differ from these before. `after`: those of all providers."""
        self._add(differences(provider, before, after, self._clock.time()))

    def provider_reported(self, report: ListReport) -> None:
        if report.state != "declared":
            self._add(
                self._state_change(report.name, "list", report.state, report.error.reason if report.error else "")
            )

    def circuit_changed(self, change: CircuitChange) -> None:
        if change.model is None and change.key is None and change.after != "half_open":
            self._add(self._state_change(change.provider, "calls", change.after, ""))

    def _state_change(self, provider: str, part: Part, state: str, reason: str) -> Cooperative[Sequence[Change]]:
        at = self._clock.time()
        yield
        before = self.current.state(provider, part)
        return [
            Change(
                at=at,
                type="provider_recovered" if state == "ok" else "provider_failing",
                provider=provider,
                part=part,
                before=before,
                after=state,
                reason="" if state == "ok" else reason[:MAX_TEXT],
            )
        ]

    def _add(self, work: Cooperative[Sequence[Change]]) -> None:
        self._pending.append(work)
        self._wakes.set()

    # -- life cycle ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Record changes while the context is entered; then write the last ones, if that is possible soon."""
        restoring = asyncio.create_task(self._restore(), name="restore changes")
        tasks = [asyncio.create_task(work, name="changes") for work in (self._run(restoring), self._tick(restoring))]
        await asyncio.wait([restoring], timeout=RESTORE_SECONDS)
        try:
            yield
        finally:
            is_restored = restoring.done()
            for task in (restoring, *tasks):
                task.cancel()
            await asyncio.gather(restoring, *tasks, return_exceptions=True)
            if is_restored:
                await self._stop()

    async def _restore(self) -> None:
        """Continue with what was recorded before. Never raises."""
        try:
            if self._stored and (restored := await self._stored.restored()):
                self._adopt(self._synced.merged(restored))
            await self._follow()
        except Exception as bug:
            _log.error("internal error while restoring changes: %s", describe_bug(bug))

    async def _follow(self) -> None:
        """Get the changes of other processes. The supervisor of workers may drop followers of an idle feed."""
        if self._sharing is None:
            return
        answer = await self._sharing.begin(self.name, self.version)
        if isinstance(answer, Published):
            self.receive(answer)
        elif isinstance(answer, Turn) and self.version:
            self._sharing.abandon(self.name, answer.token)
        elif isinstance(answer, Turn):
            # All replicas continue from the same feed: so a change that each one detects has one `webhook_id`.
            await self._publish(self._sharing, answer, self._synced)

    async def _stop(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._try_to_record()
                if self._stored:
                    await self._stored.write(self.current)

    async def _run(self, restoring: asyncio.Task[None]) -> None:
        await asyncio.wait([restoring])
        while True:
            await self._wakes.wait()
            self._wakes.clear()
            await self._try_to_record()
            if self._stored and self._clock.monotonic() >= self._write_at:
                # Soon: a list is on the disk at once, and its next comparison does not find what is lost with a crash.
                self._write_at = self._clock.monotonic() + WRITE_SECONDS
                await self._stored.write(self.current)

    async def _try_to_record(self) -> None:
        try:
            await self._record_pending()
        except Exception as bug:
            _log.error("internal error while recording changes: %s", describe_bug(bug))

    async def _record_pending(self) -> None:
        changes: list[Change] = []
        while self._pending:
            changes += await run_yielding(self._pending.popleft())
        if changes or self._unshared:
            await self._record(changes)

    async def _tick(self, restoring: asyncio.Task[None]) -> None:
        while True:
            await self._clock.sleep(TICK_SECONDS)
            if self._unshared:
                self._wakes.set()
            await self._follow()
            if self._stored and restoring.done():
                await self._stored.write(self.current)

    # -- recording -----------------------------------------------------------------------------------------------------

    async def _record(self, changes: Sequence[Change]) -> None:
        _, new = self.current.extended(changes, self._clock.time())
        if not new and not self._unshared:
            return  # most refreshes change nothing
        if self._sharing is None:
            feed, new = self._synced.extended(changes, self._clock.time())
            self._adopt(feed)
        else:
            new = await self._share(self._sharing, changes)
        if new:
            self.on_recorded(new)

    async def _share(self, sharing: Sharing, changes: Sequence[Change]) -> Sequence[Change]:
        """Record changes in the shared feed; in this process only while it is not available. Returns the new ones."""
        for _ in range(_ATTEMPTS):
            answer = await sharing.begin(self.name, self.version)
            if isinstance(answer, Published):
                self.receive(answer)
            elif isinstance(answer, Busy):
                await self._clock.sleep(min(answer.seconds, _BUSY_SECONDS))
            elif isinstance(answer, Turn):
                feed, _ = self._synced.extended(self._unshared, self._clock.time())
                feed, new = feed.extended(changes, self._clock.time())
                if await self._publish(sharing, answer, feed):
                    self._unshared = []
                    self._adopt(feed)
                    return new
            else:
                break
        feed, new = self.current.extended(changes, self._clock.time())
        self._unshared += new
        self.current = feed
        return new

    async def _publish(self, sharing: Sharing, turn: Turn, feed: Feed) -> bool:
        data = seal(_KIND, _SCHEMA, b"", encoded(feed))
        is_current = await sharing.publish(self.name, turn.token, "list", data, KEPT_SECONDS)
        if is_current:
            self.version = turn.token
        return is_current

    def receive(self, published: Published) -> None:
        """Merge changes that another process has recorded."""
        self.version = max(self.version, published.version)
        if published.list is None:
            return
        try:
            feed = decoded(unseal(_KIND, _SCHEMA, b"", published.list))
        except (RecordError, ValueError) as error:
            _log.warning("the change feed in the shared store was ignored: %s", error)
            return
        self._adopt(self._synced.merged(feed))

    def _adopt(self, synced: Feed) -> None:
        self._synced = synced
        self.current, _ = synced.extended(self._unshared, self._clock.time())
        if self._stored:
            self._stored.changed = True
            self._wakes.set()

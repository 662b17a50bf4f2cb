"""What outlives a configuration, besides the lists and circuits, which each deployment takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.access.sessions import Sessions
from proxy.api.admin_actions import Operations
from proxy.catalog import Fetch
from proxy.clock import Clock
from proxy.config import Config
from proxy.limits.limiter import Limiter
from proxy.server.change_feed import ChangeFeed
from proxy.server.key_sets import KeySets
from proxy.server.notifications import Notifications
from proxy.server.shared_sessions import SharedSessions
from proxy.sharing import Sharing
from proxy.store import Report
from proxy.store.shared_lists import SharedLists
from proxy.telemetry import CallRecord, Telemetry
from proxy.upstream.jwks import fetch_signing_keys

if TYPE_CHECKING:
    from proxy.api.collector import ProcessValues
    from proxy.inference.ledger import Ledger
    from proxy.inference.resources import CallResources
    from proxy.store.directory import ListDirectory


class Shared:
    """What outlives a configuration, besides the lists and circuits, which each deployment takes over."""

    def __init__(
        self,
        clock: Clock,
        fetch: Fetch | None,
        telemetry: Telemetry,
        on_report: Callable[[Report], None],
        of_process: ProcessValues,
        operations: Operations,
        directory: ListDirectory | None = None,
        sharing: Sharing | None = None,
        namespace: str = "",
        sessions: Sessions | None = None,
    ) -> None:
        """`fetch` replaces fetching over HTTP; `on_report` is called after each refresh of a provider; `of_process`:
        the metrics of the process; `directory`: where lists are kept for the next start; `sharing`: with other
        processes of this namespace; `sessions`: with a secret that other processes have."""
        self.clock = clock
        self.fetch = fetch
        self.telemetry = telemetry
        self.on_report = on_report
        self.of_process = of_process
        self.operations = operations
        self.directory = directory
        self.sharing = sharing
        self.lists = SharedLists(sharing) if sharing else None
        """The lists that are shared with other processes, None if none is."""
        self.on_calls_loaded: Callable[[], None] = lambda: None
        """Called when the modules of calls were imported, at the first call."""
        self.changes = change_feed(clock, sharing, self.lists, directory, namespace)
        telemetry.add(self.changes)
        self.key_sets = KeySets(clock, fetch_signing_keys)
        self.sessions = SharedSessions(clock, sharing, directory, sessions)
        self.notifications = Notifications(clock)
        self.changes.on_recorded = self.notifications.send
        self._resources: CallResources | None = None
        self._ledger: Ledger | None = None
        self._limiter: Limiter | None = None

    def resources(self, config: Config) -> CallResources:
        """Return what calls share, created at the first call with this configuration."""
        from proxy.inference.body_memory import BodyMemory
        from proxy.inference.hints import CallHints
        from proxy.inference.resources import CallResources

        if self._resources is None:
            memory = BodyMemory(config.server.limits.body_memory)
            hints = CallHints(self.sharing, self.clock) if self.sharing else None
            self._resources = CallResources(memory, self.ledger(config), self.limiter(config), hints=hints)
        return self._resources

    def ledger(self, config: Config) -> Ledger:
        """Return the ids that keys received, created with this configuration."""
        from proxy.inference.ledger import MAX_AGE, Ledger
        from proxy.inference.shared_ids import SharedIds, secret_of_users

        if self._ledger is None:
            secret = secret_of_users(config)
            ids = SharedIds(self.sharing, self.clock.time, MAX_AGE, config.keys, secret) if self.sharing else None
            self._ledger = Ledger(self.clock.monotonic, config.identities, ids)
        return self._ledger

    def limiter(self, config: Config) -> Limiter:
        """Return the limits of callers, created with this configuration."""
        if self._limiter is None:
            limiter = self._limiter = Limiter(
                config, self.clock.monotonic, self.clock.time, self.sharing.limits if self.sharing else None
            )
            self.of_process.limits = lambda: limiter.report
        return self._limiter

    def running_calls(self) -> Sequence[CallRecord]:
        """The calls in progress in this process."""
        return self._resources.timer.running if self._resources else ()

    def configure(self, config: Config) -> None:
        """Apply another configuration."""
        self.notifications.configure(config.notify)
        self.limiter(config).configure(config)
        if self._resources:
            self._resources.configure(config)
        elif self._ledger:
            self._ledger.limit_to(config.identities)
            if self._ledger.shared:
                from proxy.inference.shared_ids import secret_of_users

                self._ledger.shared.configure(config.keys, secret_of_users(config))


def change_feed(
    clock: Clock,
    sharing: Sharing | None,
    lists: SharedLists | None,
    directory: ListDirectory | None,
    namespace: str,
) -> ChangeFeed:
    if directory:
        from proxy.server.stored_feed import StoredFeed

        feed = ChangeFeed(clock, sharing, StoredFeed(directory), namespace)
    else:
        feed = ChangeFeed(clock, sharing, None, namespace)
    if lists:
        lists.follow(feed.name, lambda: feed.version, feed.receive)
    return feed

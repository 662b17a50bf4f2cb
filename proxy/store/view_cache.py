"""A cache of the view of each policy, with a memory limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from proxy.access import Policy
from proxy.cooperative import Cooperative, run_now, run_yielding
from proxy.store.view import ListSummary, RenderedList, Status, View

MAX_BYTES = 256 * 1024 * 1024
"""Limit for all rendered lists together. The least recently used ones are evicted first."""
_UNSHARED = 8
"""The part of the limit, one eighth, for encoded lists that are kept as a whole. Further ones share their entries."""


class ViewCache:
    """The rendered list of each policy, and the view that adds current ages and states.

    The list is expensive and is kept while the offers do not change; the view is recreated after each refresh. With
    hundreds of policies the lists share their entries, and their summaries are kept when they are evicted, so that
    the copies of clients can be revalidated without rendering a list again.
    """

    def __init__(
        self,
        render: Callable[[Policy], Cooperative[RenderedList]],
        show: Callable[[Policy, ListSummary], Status],
        seconds_until_known: Callable[[Policy, str], float],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`render` renders the list of a policy, `show` creates the headers of a list; both use the current state.

        `seconds_until_known`: see `View`.
        """
        self._render = render
        self._show = show
        self._seconds_until_known = seconds_until_known
        self._max_bytes = max_bytes
        self._generation = 0
        """Incremented by `clear`: lists rendered from older offers are not cached."""
        self._views: dict[Policy, View] = {}
        self._statuses: dict[Policy, Status] = {}
        self._lists: dict[Policy, RenderedList] = {}
        """The least recently used one first."""
        self._summaries: dict[Policy, ListSummary] = {}
        """Those of evicted lists, too: there are no more than policies in the configuration."""
        self._entries: dict[bytes, bytes] = {}
        """The entries that lists share, each under itself."""
        self._rendering: dict[Policy, asyncio.Task[None]] = {}

    def clear_views(self) -> None:
        """Invalidate ages and states; keep the rendered lists."""
        self._views.clear()
        self._statuses.clear()

    def clear(self) -> None:
        """Invalidate everything, because the offers have changed."""
        self._generation += 1
        self.clear_views()
        self._lists.clear()
        self._summaries.clear()
        self._entries = {}

    def inherit(self, before: ViewCache, policies: Collection[Policy]) -> None:
        """Take over the rendered lists of these policies from the cache of equal offers."""
        self._lists = {policy: rendered for policy, rendered in before._lists.items() if policy in policies}
        self._summaries = {policy: summary for policy, summary in before._summaries.items() if policy in policies}
        self._entries = dict(before._entries)
        for rendered in self._lists.values():
            rendered.formats.on_growth = self._evict

    async def render_like(self, before: ViewCache, policies: Collection[Policy], seconds: float) -> None:
        """Render the lists of these policies that another cache has, those that were used last first.

        Stops after `seconds`. Lists that are compressed there are compressed.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        for policy, rendered in reversed([*before._lists.items()]):
            if policy in policies and loop.time() < ends_at:
                await self.prepare(policy)
                if rendered.gzip is not None:
                    await self._lists[policy].compressed()
        self._lists = dict(reversed(self._lists.items()))

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, None if its list must be rendered first."""
        view = self._views.get(policy)
        if view is None and policy in self._lists:
            rendered = self._lists[policy] = self._lists.pop(policy)
            view = self._views[policy] = self._new_view(policy, rendered)
        return view

    def shows(self, model: str) -> bool:
        """Whether one of the cached lists contains an id."""
        return any(rendered.catalog.find(model) for rendered in self._lists.values())

    def cached_status(self, policy: Policy) -> Status | None:
        """The ETags and headers of the list of a policy, also of an evicted one; None if it was never rendered."""
        status = self._statuses.get(policy)
        if status is None and policy in self._summaries:
            status = self._status(policy, self._summaries[policy])
        return status

    def view(self, policy: Policy) -> View:
        """The view of a policy. Renders its list if necessary."""
        view = self.cached_view(policy)
        if view is None:
            rendered = run_now(self._render_sharing(policy))
            self._keep(policy, rendered)
            view = self._views[policy] = self._new_view(policy, rendered)
        return view

    async def prepare(self, policy: Policy) -> None:
        """Render the list of a policy in batches, once for all concurrent requests."""
        while policy not in self._lists:
            if policy not in self._rendering:
                self._rendering[policy] = asyncio.create_task(self._render_yielding(policy), name="render a list")
            # Shielded: one canceled waiter must not cancel the others.
            await asyncio.shield(self._rendering[policy])

    async def _render_yielding(self, policy: Policy) -> None:
        generation = self._generation
        try:
            rendered = await run_yielding(self._render_sharing(policy))
            if generation == self._generation:
                self._keep(policy, rendered)
        finally:
            del self._rendering[policy]

    def _render_sharing(self, policy: Policy) -> Cooperative[RenderedList]:
        """Render a list, which shares its entries if too many bytes of others are kept as a whole."""
        rendered = yield from self._render(policy)
        whole = sum(len(other.body) for other in self._lists.values())
        if whole and whole + len(rendered.body) > self._max_bytes // _UNSHARED:
            yield from rendered.share(self._entries)
        return rendered

    def _keep(self, policy: Policy, rendered: RenderedList) -> None:
        """Cache a list, and evict others beyond the limit; again when it grows."""
        self._lists[policy] = rendered
        self._summaries[policy] = rendered.summary
        rendered.formats.on_growth = self._evict
        self._evict()

    def _evict(self) -> None:
        # Summed up each time, because lists grow when they are compressed.
        size = sum(other.size for other in self._lists.values())
        while size > self._max_bytes and len(self._lists) > 1:
            oldest = next(iter(self._lists))
            size -= self._lists.pop(oldest).size
            self._views.pop(oldest, None)

    def _new_view(self, policy: Policy, rendered: RenderedList) -> View:
        return View(rendered, self._status(policy, rendered.summary), partial(self._seconds_until_known, policy))

    def _status(self, policy: Policy, summary: ListSummary) -> Status:
        status = self._statuses[policy] = self._show(policy, summary)
        return status

"""A cache of the view of each policy, with a memory limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cachetools import LRUCache

from proxy.access import Policy
from proxy.cooperative import Cooperative, run_now, run_yielding
from proxy.store.view import RenderedList, View

MAX_BYTES = 256 * 1024 * 1024
"""Limit for all rendered lists together. The least recently used ones are evicted first."""


class ViewCache:
    """The rendered list of each policy, and the view that adds current ages and states.

    The list is expensive and is kept while the offers do not change; the view is recreated after each refresh.
    """

    def __init__(
        self, render: Callable[[Policy], Cooperative[RenderedList]], show: Callable[[Policy, RenderedList], View]
    ) -> None:
        """`render` renders the list of a policy, `show` creates the view of a list; both use the current state."""
        self._render = render
        self._show = show
        self._generation = 0
        """Incremented by `clear`: lists rendered from older offers are not cached."""
        self._views: dict[Policy, View] = {}
        self._lists = _RenderedLists(self._views)
        self._rendering: dict[Policy, asyncio.Task[None]] = {}

    def clear_views(self) -> None:
        """Invalidate ages and states; keep the rendered lists."""
        self._views.clear()

    def clear(self) -> None:
        """Invalidate everything, because the offers have changed."""
        self._generation += 1
        self._views.clear()
        self._lists.clear()

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, None if its list must be rendered first."""
        view = self._views.get(policy)
        if view is None and policy in self._lists:
            view = self._views[policy] = self._show(policy, self._lists[policy])
        return view

    def view(self, policy: Policy) -> View:
        """The view of a policy. Renders its list if necessary."""
        view = self.cached_view(policy)
        if view is None:
            rendered = self._lists[policy] = run_now(self._render(policy))
            view = self._views[policy] = self._show(policy, rendered)
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
            rendered = await run_yielding(self._render(policy))
            if generation == self._generation:
                self._lists[policy] = rendered
        finally:
            del self._rendering[policy]


class _RenderedLists(LRUCache[Policy, RenderedList]):
    """Rendered lists with a memory limit. Evicting a list also removes its view."""

    def __init__(self, views: dict[Policy, View]) -> None:
        super().__init__(MAX_BYTES, getsizeof=lambda rendered: min(rendered.size, MAX_BYTES))
        self._views = views

    def popitem(self) -> tuple[Policy, RenderedList]:
        policy, rendered = super().popitem()
        self._views.pop(policy, None)
        return policy, rendered

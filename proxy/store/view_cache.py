"""The view of each policy, made at the first request after a change, then kept within a bound of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cachetools import LRUCache

from proxy.access import Policy
from proxy.cooperative import Cooperative, run_now, run_yielding
from proxy.store.view import RenderedList, View

MAX_BYTES = 256 * 1024 * 1024
"""Of all rendered lists together; the least recently used ones are dropped first."""


class ViewCache:
    """The rendered list of each policy, and the view that shows it with the ages and notes of the moment.

    The list is the expensive part and stays while the offers are the same; the view is made anew after each refresh.
    """

    def __init__(
        self, render: Callable[[Policy], Cooperative[RenderedList]], show: Callable[[Policy, RenderedList], View]
    ) -> None:
        """`render` makes the list of a policy, `show` the view of a list; both from what is known now."""
        self._render = render
        self._show = show
        self._generation = 0
        """Rises with each `clear`: a list rendered from older offers is not kept."""
        self._views: dict[Policy, View] = {}
        self._lists = _RenderedLists(self._views)
        self._rendering: dict[Policy, asyncio.Task[None]] = {}

    def clear_views(self) -> None:
        """Forget ages and notes; the rendered lists stay."""
        self._views.clear()

    def clear(self) -> None:
        """Forget everything, since the offers have changed."""
        self._generation += 1
        self._views.clear()
        self._lists.clear()

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, None if its list has to be rendered first."""
        view = self._views.get(policy)
        if view is None and policy in self._lists:
            view = self._views[policy] = self._show(policy, self._lists[policy])
        return view

    def view(self, policy: Policy) -> View:
        """The view of a policy; its list is rendered at once if it has to be."""
        view = self.cached_view(policy)
        if view is None:
            rendered = self._lists[policy] = run_now(self._render(policy))
            view = self._views[policy] = self._show(policy, rendered)
        return view

    async def prepare(self, policy: Policy) -> None:
        """Render the list of a policy in short steps, once for all requests that wait for it."""
        while policy not in self._lists:
            if policy not in self._rendering:
                self._rendering[policy] = asyncio.create_task(self._render_yielding(policy), name="render a list")
            # Shielded: one cancelled waiter must not cancel the others.
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
    """Rendered lists within a bound; with a list that is dropped goes the view that shows it."""

    def __init__(self, views: dict[Policy, View]) -> None:
        super().__init__(MAX_BYTES, getsizeof=lambda rendered: min(rendered.size, MAX_BYTES))
        self._views = views

    def popitem(self) -> tuple[Policy, RenderedList]:
        policy, rendered = super().popitem()
        self._views.pop(policy, None)
        return policy, rendered

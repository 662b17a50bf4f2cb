"""The result of contacting one provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.catalog import FetchResult, Offer
from proxy.catalog.names import Source
from proxy.catalog.rules import declared_entries, with_declared
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.states import ListState
from proxy.store.listing import Listing, fresh_state, shortcoming

_FILTERS = ("include", "exclude", "where", "hide_retired")


@dataclass(frozen=True)
class ProbeResult:
    """The result of contacting one provider: a list or an error; neither for a provider that is never contacted."""

    provider: Provider
    fetched: FetchResult | None = None
    error: UpstreamError | None = None
    seconds: float = 0.0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model that the provider declares or lists, before any rule."""
        listed = self.fetched.entries if self.fetched else ()
        return tuple(with_declared(tuple(declared_entries(self.provider)), listed))

    def source(self, offers: Sequence[Offer]) -> Source:
        """Its models, for the names that it accepts. `offers`: what the rules make of them."""
        is_known = self.fetched is not None or not self.provider.is_remote
        return Source(self.provider, self.fetched.entries if self.fetched else (), offers, is_known)

    @property
    def is_known(self) -> bool:
        """Whether all models of the provider are known."""
        return self.state in ("ok", "declared")

    @property
    def filters(self) -> str:
        """The settings that select from its models, as the file names them."""
        given = [name for name in _FILTERS if name in self.provider.model_fields_set]
        return " and ".join(filter(None, (", ".join(given[:-1]), *given[-1:])))

    @property
    def state(self) -> ListState:
        """The state that the server gives this list."""
        if self.error:
            return "failing"
        return fresh_state(self.shortcoming) if self.fetched else "declared"

    @property
    def shortcoming(self) -> UpstreamError | None:
        """Why the list is incomplete or empty, None if it is neither."""
        fetched = self.fetched
        return shortcoming(self.provider, Listing(fetched.entries, fetched, 0.0, 0.0)) if fetched else None

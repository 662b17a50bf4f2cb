"""All rules of one provider together: from its entries to its offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proxy.catalog.rules import Step, Time, declared_entries, plain_offers, rules, select, selector, with_declared
from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry


class ProviderRules:
    """A function from entries to offers, which are generated lazily."""

    def __init__(self, provider: Provider, config: Config, time: Time) -> None:
        self._name = provider.name
        self._declared = tuple(declared_entries(provider))
        self._new_selector = selector(provider)
        self._steps: Sequence[Step] = [rule(provider, config) for rule in rules(time) if rule is not select]

    def __call__(self, entries: Iterable[Entry]) -> Iterator[Offer]:
        return self._after_selection(filter(self._new_selector(), self._plain(entries)))

    def in_steps(self, entries: Iterable[Entry]) -> Cooperative[tuple[Offer, ...]]:
        """The same. A step ends after some entries, also if none of them is selected."""
        is_selected = self._new_selector()
        selected: list[Offer] = []
        for batch in batched(self._plain(entries)):
            selected += filter(is_selected, batch)
            yield
        offers: list[Offer] = []
        for batch in batched(self._after_selection(selected)):
            offers += batch
            yield
        return tuple(offers)

    def _plain(self, entries: Iterable[Entry]) -> Iterator[Offer]:
        # Declared models come first and win over duplicates, so that nothing changes while the provider fails.
        return plain_offers(self._name, with_declared(self._declared, entries))

    def _after_selection(self, offers: Iterable[Offer]) -> Iterator[Offer]:
        for step in self._steps:
            offers = step(offers)
        return iter(offers)


def per_provider(provider: Provider, config: Config, time: Time = lambda: 0.0) -> ProviderRules:
    """Combine all rules of one provider. `time` returns Unix seconds."""
    return ProviderRules(provider, config, time)

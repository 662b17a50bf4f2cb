"""Where the facts of listed models come from, as JSON: for `?facts=sources`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from proxy.access import Policy
from proxy.catalog import Model, Offer
from proxy.catalog.values import TargetOffer
from proxy.config import Config
from proxy.cooperative import Cooperative, batched
from proxy.explain.facts import Facts
from proxy.explain.reasons import Reasons

_ENCODE = msgspec.json.Encoder().encode


class FactSources:
    """The sources of the facts that the list of one policy shows."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        offers: Mapping[str, Sequence[Offer]],
        withheld: Mapping[str, frozenset[str]],
        now: float,
    ) -> None:
        """`offers`: see `offers_by_id`; `withheld` and `now`: see `Facts`."""
        self._policy = policy
        self._offers = offers
        self._form = form_of(config)
        self._facts = Facts(config, withheld, Reasons(config), now)
        self._can_call = {provider.name for provider in config.providers if provider.target}

    def of(self, model: Model) -> bytes:
        """Fact -> its source, the provider whose offer it comes from, and a text, as a JSON object."""
        facts = self._facts.besides_owner(model, self._merged(model))
        return _ENCODE(
            {
                fact.name: {
                    "source": fact.source,
                    "provider": fact.provider,
                    "text": "; ".join(reason.text for reason in fact.reasons),
                }
                for fact in facts
            }
        )

    def _merged(self, model: Model) -> Sequence[Offer]:
        """The offers of a model before they were merged; of a virtual model, those of its first target."""
        first = model.offers[0]
        if isinstance(first, TargetOffer):
            allows = self._policy.target_filter(model.id) or self._policy.allows
            usable = (each for each in self._offers[self._form(first.target)] if each.provider in self._can_call)
            return tuple(filter(allows, usable))
        listed = self._offers.get(self._form(model.id), ())
        return tuple(filter(self._policy.allows, listed)) or model.offers


def form_of(config: Config) -> Callable[[str], str]:
    """Return a function from a public id to its form in comparisons."""
    return str.casefold if config.merge.ignore_case else str


def offers_by_id(offers: Iterable[Offer], form: Callable[[str], str]) -> Cooperative[Mapping[str, Sequence[Offer]]]:
    """The offers of all providers by the form of their ids, in batches."""
    by_id: dict[str, list[Offer]] = {}
    for batch in batched(offers):
        for offer in batch:
            by_id.setdefault(form(offer.id), []).append(offer)
        yield
    return by_id

"""The order in which the offers of a model are tried: `order`, `weighted`, `least_busy`. Synchronous, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, groupby

from msgspec import Struct

from proxy.asgi import Header
from proxy.catalog.values import TargetOffer
from proxy.config import Config
from proxy.config.routing import Strategy
from proxy.inference.request.body import Body
from proxy.inference.request.conversation import session_of
from proxy.inference.routing import Candidate
from proxy.patterns import matcher


class Conversation(Struct, frozen=True):
    """What a call belongs to. It is read only for the strategy `weighted`."""

    key: str
    """The name of the caller's key."""
    body: Body
    headers: Sequence[Header]
    """All headers of the caller."""
    request_id: str

    @property
    def name(self) -> str:
        """Equal for all calls of a conversation; the request id if nothing identifies it."""
        body = self.body
        return body.cache_key or session_of(self.headers) or body.first_messages or self.request_id


class Strategies:
    """Orders the offers of a model by the strategy that is configured for it."""

    def __init__(self, config: Config, load: Callable[[str], int]) -> None:
        """`load` returns the number of calls that a provider is serving, or that wait for it."""
        self._load = load
        self._weights: Mapping[str, int] = {provider.name: provider.weight for provider in config.providers}
        self._virtual: Mapping[str, Strategy] = {model.id: model.strategy for model in config.models}
        self._rules = [(matcher(rule.match), rule.strategy) for rule in config.routing]
        self._turns: dict[str, int] = {}
        """Provider -> the last turn in which it was the least busy one."""
        self._turn = 0

    def ordered(
        self, conversation: Conversation | None, model: str, candidates: Sequence[Candidate]
    ) -> Sequence[Candidate]:
        """Return the candidates of a model in the order in which they are tried.

        `conversation`: None for a preview. Then nothing is recorded, and `weighted` changes no order.
        """
        if model not in self._virtual:
            return self._by(self._strategy_of(model), candidates, conversation)
        strategy = self._virtual[model]
        if strategy != "order":
            return self._by(strategy, candidates, conversation)
        # The targets stay in their order; the offers of each are in the order of its own rule.
        groups = ((target, list(group)) for target, group in groupby(candidates, _target))
        return list(chain(*(self._by(self._strategy_of(target), group, conversation) for target, group in groups)))

    def rule_of(self, model: str) -> int | None:
        """Return the number of the rule of `routing` that applies to a listed model, None without one."""
        return next((number for number, (matches, _) in enumerate(self._rules) if matches(model)), None)

    def _strategy_of(self, model: str) -> Strategy:
        return next((strategy for matches, strategy in self._rules if matches(model)), "order")

    def _by(
        self, strategy: Strategy, batch: Sequence[Candidate], conversation: Conversation | None
    ) -> Sequence[Candidate]:
        if strategy == "order" or len(batch) < 2:
            return batch
        if strategy == "weighted":
            return self._weighted(batch, conversation) if conversation else batch
        result = self._least_busy(batch)
        if conversation:
            self._turn += 1
            self._turns[result[0].offer.provider] = self._turn
        return result

    def _weighted(self, batch: Sequence[Candidate], conversation: Conversation) -> Sequence[Candidate]:
        """Rendezvous hashing: without a provider, only its own conversations move, in proportion to the weights."""
        seed = blake2b(_joined(conversation.key, conversation.name), digest_size=8)

        def score(candidate: Candidate) -> float:
            offer = candidate.offer
            digest = seed.copy()
            digest.update(_joined(offer.provider, offer.entry.id))
            fraction = (int.from_bytes(digest.digest(), "big") + 0.5) / 2**64
            return math.log(fraction) / self._weights[offer.provider]

        return sorted(batch, key=score, reverse=True)

    def _least_busy(self, batch: Sequence[Candidate]) -> Sequence[Candidate]:
        """The fewest calls in progress relative to the weight first; of equal ones, the least recently chosen first."""

        def rank(candidate: Candidate) -> tuple[float, int]:
            name = candidate.offer.provider
            return self._load(name) / self._weights[name], self._turns.get(name, 0)

        return sorted(batch, key=rank)


def strategies_of(config: Config, load: Callable[[str], int]) -> Strategies | None:
    """Return None if all models have the strategy `order`."""
    given = (*(rule.strategy for rule in config.routing), *(model.strategy for model in config.models))
    return Strategies(config, load) if set(given) - {"order"} else None


def _target(candidate: Candidate) -> str:
    """The listed model that a candidate of a virtual model is an offer of."""
    offer = candidate.offer
    return offer.target if isinstance(offer, TargetOffer) else offer.id


def _joined(*texts: str) -> bytes:
    """The texts with their lengths, so that different texts give different bytes."""
    return b"".join(b"%d:%b" % (len(raw), raw) for raw in (text.encode("utf-8", "surrogatepass") for text in texts))

"""Filters of OpenAI's model list by query, such as `?type=embedding&capability=tools&q=mini`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxy.catalog import Model
from proxy.cooperative import Cooperative, batched
from proxy.dialects.metadata import TYPES, plain_name
from proxy.errors import BadRequest
from proxy.wire.facts import facts_of, fields_of
from proxy.wire.lists import parameters

MAX_TEXT = 100


class Filters(NamedTuple):
    """The values that a listed model must have; "" for any."""

    type: str = ""
    owned_by: str = ""
    provider: str = ""
    """For administrators: providers of models are not shown to other callers."""
    capability: str = ""
    q: str = ""
    """A part of the id or of the display name, in lower case."""

    def without_provider(self) -> Filters | None:
        """Return the filters of callers that are not administrators, None if these are all."""
        if not self.provider:
            return self
        filters = self._replace(provider="")
        return filters if any(filters) else None


def filters_in(query: bytes) -> Filters | None:
    """Return the filters in a query, None without any. Raises BadRequest. Other parameters are ignored."""
    if not query:
        return None
    given = parameters(query, Filters._fields)
    if len(given.get("q", "")) > MAX_TEXT:
        raise BadRequest(f"q has more than {MAX_TEXT} characters.")
    filters = Filters(**given)
    filters = filters._replace(
        type=_standard_type(filters.type),
        owned_by=filters.owned_by.casefold(),
        q=filters.q.casefold(),
    )
    return filters if any(filters) else None


def _standard_type(word: str) -> str:
    """Return the word that lists contain: `chat` for `llm`. Long words are unknown, because names are cached."""
    return TYPES.get(plain_name(word), word) if len(word) <= MAX_TEXT else word


class Index:
    """The models of one list by what filters compare, so that a filter decodes no entries."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, str], array[int]] = {}
        self._texts: list[str] = []

    def add(self, model: Model) -> None:
        """Add the next model of the list."""
        position = len(self._texts)
        self._texts.append(f"{model.id}\n{fields_of(model).display_name}".casefold())
        for key in _keys_of(model):
            self._positions.setdefault(key, array("L")).append(position)

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return sum(100 + len(text) for text in self._texts) + sum(8 * len(each) for each in self._positions.values())

    def matching(self, filters: Filters) -> Sequence[int]:
        """Return the positions of the models that pass all filters, in the order of the list."""
        wanted = [(name, value) for name, value in filters._asdict().items() if value and name != "q"]
        sets = sorted((self._positions.get(key, array("L")) for key in wanted), key=len)
        everything = range(len(self._texts))
        positions: Sequence[int] = sets[0] if sets and len(sets[0]) < len(everything) else everything
        for other in map(frozenset, sets[1:]):
            positions = [position for position in positions if position in other]
        text, texts = filters.q, self._texts
        return [position for position in positions if text in texts[position]] if text else positions


def indexed(models: Sequence[Model]) -> Cooperative[Index]:
    """Index the models of a list, in steps."""
    index = Index()
    for batch in batched(models):
        for model in batch:
            index.add(model)
        yield
    return index


def _keys_of(model: Model) -> Iterator[tuple[str, str]]:
    facts = facts_of(model)
    if facts.type:
        yield "type", facts.type
    for capability in facts.capabilities:
        yield "capability", capability
    yield "owned_by", model.owned_by.casefold()
    for provider in {offer.provider for offer in model.offers}:
        yield "provider", provider

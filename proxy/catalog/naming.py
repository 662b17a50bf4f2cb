"""Public ids of one provider's models: `aliases`, `prefix` and the duplicate policy, in both directions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.config import Config, Provider

_MAX_OWNER_SEGMENTS = 3  # an owner can contain slashes


class _Pattern(NamedTuple):
    """The text before and after the star of a pattern."""

    head: str
    tail: str

    def star(self, text: str) -> str:
        """The part of a text that the star matches, at least one character; "" if the text does not match."""
        if len(text) <= len(self.head) + len(self.tail) or not text.startswith(self.head):
            return ""
        return text[len(self.head) : len(text) - len(self.tail)] if text.endswith(self.tail) else ""

    def filled(self, star: str) -> str:
        return f"{self.head}{star}{self.tail}"


class Naming:
    """Converts own ids of a provider to public ids, and back.

    An alias replaces the model's own id and gets no prefix. Exact aliases take precedence over patterns, and their
    names are reserved, so that ids do not change when the aliased model appears or disappears.
    """

    def __init__(self, provider: Provider, config: Config) -> None:
        self._provider = provider.name
        self._prefix = provider.prefix
        self._duplicates = config.merge.duplicates
        self._exact: dict[str, list[str]] = {}
        self._reserved: dict[str, str] = {}
        self._patterns: list[tuple[_Pattern, _Pattern]] = []
        for public, own in provider.aliases.items():
            if "*" in public:
                self._patterns.append((_pattern(public), _pattern(own)))
            else:
                self._reserved[public] = own
                self._exact.setdefault(own, []).append(public)

    @property
    def is_identity(self) -> bool:
        """Whether public ids are equal to own ids."""
        return not (self._reserved or self._patterns or self._prefix) and self._duplicates == "merge"

    def public_ids(self, own_id: str, owner: str) -> list[str]:
        """All public ids of a model; none if its id is reserved for another model."""
        return [self._final(public, owner) for public in self._public_ids(own_id)]

    def aliases_for(self, own_id: str, owner: str) -> Mapping[str, str | None]:
        """The `public_ids` of a model, each with the key of `aliases` that gives it, None without one."""
        return {self._final(public, owner): self._alias_for(public, own_id) for public in self._public_ids(own_id)}

    def reserved_for(self, own_id: str) -> Mapping[str, str]:
        """The ids that a model does not get, because an alias gives each to another model: id -> own id of that one."""
        if own_id in self._exact:
            return {}
        return {public: self._reserved[public] for public in self._wanted_ids(own_id) if public in self._reserved}

    def own_ids(self, public_id: str) -> Iterator[str]:
        """Own ids that can have this public id, of any owner; aliases first. Check them with `public_ids`."""
        for public in self._without_final(public_id):
            if own := self._reserved.get(public):
                yield own
                continue
            for public_pattern, own_pattern in self._patterns:
                if star := public_pattern.star(public):
                    yield own_pattern.filled(star)
            if public.startswith(self._prefix):
                yield public[len(self._prefix) :]

    def _public_ids(self, own_id: str) -> list[str]:
        if aliases := self._exact.get(own_id):
            return aliases
        return [public for public in self._wanted_ids(own_id) if public not in self._reserved]

    def _wanted_ids(self, own_id: str) -> list[str]:
        """The ids without exact aliases, which can reserve some of them for other models."""
        if self._patterns:
            matches = ((public, own.star(own_id)) for public, own in self._patterns)
            if by_pattern := {public.filled(star): None for public, star in matches if star}:
                return list(by_pattern)
        return [self._prefix + own_id]

    def _alias_for(self, public: str, own_id: str) -> str | None:
        if self._reserved.get(public) == own_id:
            return public
        stars = ((pattern, own.star(own_id)) for pattern, own in self._patterns)
        return next((pattern.filled("*") for pattern, star in stars if star and pattern.filled(star) == public), None)

    def _final(self, public: str, owner: str) -> str:
        if self._duplicates == "merge":
            return public
        return f"{owner if self._duplicates == 'by_owner' else self._provider}/{public}"

    def _without_final(self, public_id: str) -> Iterator[str]:
        """The id before the duplicate policy. Which part is the owner is not known yet."""
        if self._duplicates == "merge":
            yield public_id
        elif self._duplicates == "by_provider":
            if public_id.startswith(f"{self._provider}/"):
                yield public_id[len(self._provider) + 1 :]
        else:
            rest = public_id
            for _ in range(_MAX_OWNER_SEGMENTS):
                rest = rest.partition("/")[2]
                if rest:
                    yield rest


def _pattern(text: str) -> _Pattern:
    head, _, tail = text.partition("*")
    return _Pattern(head, tail)

"""Build reasons with the place of their setting."""

from __future__ import annotations

import re

from proxy.config import Config
from proxy.config.defaults import Cache, Defaults
from proxy.dialects.private_text import has_secret
from proxy.explain.values import Effect, Reason

_WORD = re.compile(r"[^\s'\"`,;()\[\]{}]+")
_INHERITED = (("defaults", Defaults.model_fields), ("cache", Cache.model_fields))


class Reasons:
    """Creates reasons for one configuration."""

    def __init__(self, config: Config) -> None:
        self._find = config.places.finder()

    def of(self, rule: str, effect: Effect, text: str, *path: str | int) -> Reason:
        """`path`: of the setting, as in `Places.find`; none if no setting decides."""
        place = self._find(*path) if path else None
        text = without_secrets(text)
        if place is None:
            return Reason(rule, effect, text)
        return Reason(rule, effect, text, place.setting, place.file, place.line)

    def of_provider(self, rule: str, effect: Effect, text: str, provider: str, *path: str | int) -> Reason:
        """The reason for a setting of a provider, which may be inherited. `path`: within the provider."""
        if not path:
            return self.of(rule, effect, text)
        places = [("providers", provider, *path)]
        places += [(section, *path) for section, fields in _INHERITED if path[0] in fields]
        found = next((place for place in places if self._find(*place)), ())
        return self.of(rule, effect, text, *found)

    def is_given(self, *path: str | int) -> bool:
        """Whether a file contains this setting."""
        return self._find(*path) is not None


def without_secrets(text: str) -> str:
    """A text without words that are API keys: one may have been pasted into any setting."""
    return _WORD.sub(lambda word: "***" if has_secret(word[0]) else word[0], text) if has_secret(text) else text

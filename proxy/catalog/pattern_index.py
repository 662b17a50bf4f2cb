"""Finds which of many texts match many patterns: as the matchers of `patterns`, without comparing all of them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from proxy.patterns import (
    Matcher,
    folded,
    folded_part,
    look_alike_matcher,
    loose_matcher,
    matcher,
    without_blanks,
)

_FEW = 32
"""Texts that are compared with the pattern directly."""
_WILDCARD = re.compile(r"[*?]")

Form = Callable[[str], str]


class PatternIndex:
    """Some texts. The results are in no particular order."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(dict.fromkeys(texts))

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the texts that `matcher` matches."""
        return self._exact.matching(pattern, str, matcher)

    def matching_loosely(self, pattern: str) -> Sequence[str]:
        """Return the texts that `loose_matcher` matches."""
        return self._folded.matching(pattern.strip(), folded_part, loose_matcher)

    def look_alikes(self, pattern: str) -> Sequence[str]:
        """Return the texts that `look_alike_matcher` matches."""
        return self._without_blanks.matching(pattern, without_blanks, look_alike_matcher)

    @cached_property
    def _exact(self) -> _Forms:
        return _Forms(self._texts, str)

    @cached_property
    def _folded(self) -> _Forms:
        # Folding can change the number of characters, so these can also match in their original form.
        odd = [text for text in self._texts if not (text.isascii() and len(folded(text)) == len(text))]
        return _Forms(self._texts, folded, odd)

    @cached_property
    def _without_blanks(self) -> _Forms:
        return _Forms(self._texts, without_blanks)


class _Forms:
    """The texts by the form in which they are compared with patterns."""

    def __init__(self, texts: Sequence[str], form: Form, odd: Sequence[str] = ()) -> None:
        """`odd`: texts that are compared with every pattern."""
        self._form = form
        self._odd = odd
        self._by_form: dict[str, list[str]] = {}
        for text in texts:
            self._by_form.setdefault(form(text), []).append(text)

    def matching(self, pattern: str, form_of_part: Form, matcher_of: Callable[[Iterable[str]], Matcher]) -> list[str]:
        """`form_of_part`: the form of the text between two wildcards."""
        found = (text for form in self._candidates(pattern, form_of_part) for text in self._by_form[form])
        texts = [*dict.fromkeys([*found, *self._odd])]
        return [*filter(matcher_of([pattern]), texts)] if texts else []

    def _candidates(self, pattern: str, form_of_part: Form) -> Sequence[str]:
        """Return all forms that can match: those with the beginning, the end and all other parts of the pattern."""
        parts = _WILDCARD.split(pattern)
        if len(parts) == 1:
            form = self._form(pattern)
            return [form] if form in self._by_form else []
        literal = [form_of_part(part) for part in parts]
        first, last = literal[0], literal[-1]
        candidates: Sequence[str] = self._sorted
        if first:
            candidates = _with_prefix(self._sorted, first)
        if last and len(candidates) > _FEW:
            ending = _with_prefix(self._reversed, last[::-1])
            if len(ending) < len(candidates):
                candidates = [form[::-1] for form in ending]
        for part in sorted({*literal} - {""}, key=len, reverse=True):
            if len(candidates) > _FEW:
                candidates = [form for form in candidates if part in form]
        return candidates

    @cached_property
    def _sorted(self) -> Sequence[str]:
        return sorted(self._by_form)

    @cached_property
    def _reversed(self) -> Sequence[str]:
        return sorted(form[::-1] for form in self._by_form)


def _with_prefix(texts: Sequence[str], prefix: str) -> Sequence[str]:
    """Return the part of sorted texts that begin with a prefix."""

    def start(text: str) -> str:
        return text[: len(prefix)]

    return texts[bisect_left(texts, prefix, key=start) : bisect_right(texts, prefix, key=start)]

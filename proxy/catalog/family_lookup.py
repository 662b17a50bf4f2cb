"""The family of a model, by the name in its id."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from functools import cache

from proxy.catalog.families import FAMILIES, OPEN
from proxy.catalog.maker_names import HOST_KEYS, MAKERS, PLACEHOLDER_KEYS, is_known
from proxy.catalog.makers import WORDS

_LETTERS = 3
"""Patterns are grouped by their first letters: most names have no match, and a set shows it without an expression."""


def _beginning(pattern: str) -> str:
    """The letters before the first wildcard of a pattern, at most `_LETTERS`."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0][:_LETTERS]


_BEGINNINGS = frozenset(_beginning(pattern) for _, patterns in FAMILIES for pattern in patterns) - {""}
_WITHIN = re.compile(
    "|".join(
        sorted(
            {re.escape(max(pattern.split("*"), key=len)) for _, row in FAMILIES for pattern in row if pattern[0] == "*"}
        )
    )
)
"""Matches in names for which patterns that begin with `*` must be tried."""


@cache
def _families(first: str, within: bool) -> tuple[re.Pattern[str], list[str]]:
    """One expression with a group for each pattern that names with these first letters can match, and the makers.

    `within` adds the patterns that begin with `*`. Compiled at first use, because compiling all takes 60 ms.
    """
    rows = [
        (maker, pattern)
        for maker, patterns in FAMILIES
        for pattern in patterns
        if (within if pattern[0] == "*" else first.startswith(_beginning(pattern)))
    ]
    return re.compile("|".join(f"({fnmatch.translate(pattern)})" for _, pattern in rows)), [maker for maker, _ in rows]


@cache
def words_of_maker(maker: str) -> frozenset[str]:
    """The words that are accepted in the name of an original of this maker."""
    patterns = next(patterns for each, patterns in FAMILIES if each == maker)
    return WORDS.union(words_of(" ".join((*patterns, *OPEN))))


def words_of(name: str) -> list[str]:
    return re.findall("[a-z]{3,}", name)


def family_of(name: str) -> tuple[str, str]:
    """The maker of a family, "" if unknown, and the name that matched."""
    for candidate in _candidates(name):
        if maker := _maker(candidate):
            return maker, candidate
    return "", ""


def _candidates(name: str) -> Iterator[str]:
    """The name, then the name without what hosts add to it."""
    plain, tag = name, ""
    if ":" in name or "@" in name:  # the tag of `phi3:14b` and `gemini-pro@001`
        plain, tag = re.split("[:@]", name, maxsplit=1)
    yield plain
    if tag and is_known(plain):
        yield tag  # `openai:gpt-4o`
    if plain.startswith("text-embedding-"):
        yield plain.removeprefix("text-embedding-")  # LM Studio
    head, _, rest = plain.partition("-")
    if rest and (head in HOST_KEYS or head in PLACEHOLDER_KEYS or head in MAKERS):
        yield rest  # `databricks-claude-...`, `azure-gpt-4o`, `internal-gpt-4o`, `xai-grok-4`
    second, _, third = rest.partition("-")
    if third and head + second in HOST_KEYS:
        yield third  # `vertex-ai-claude-...`
    if "--" in plain:
        yield plain.partition("--")[2]  # SAP's `anthropic--claude-...`
    if "_" in plain or " " in plain:
        yield from _candidates("-".join(re.split("[ _]+", plain)))


def _maker(name: str) -> str:
    first = name[:_LETTERS]
    within = _WITHIN.search(name) is not None
    if not within and _BEGINNINGS.isdisjoint((first, first[:2], first[:1])):
        return ""
    expression, makers = _families(first, within)
    family = expression.match(name)
    return makers[family.lastindex - 1] if family and family.lastindex else ""

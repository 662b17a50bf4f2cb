"""Patterns over whole strings: `*` and `?` are wildcards; every other character, including `[`, is literal."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable

Matcher = Callable[[str], bool]

WILDCARDS = frozenset("*?")
_SPECIAL_IN_A_SHELL = re.compile(r"[*?[]")


def matcher(patterns: Iterable[str]) -> Matcher:
    """A function that tells whether any of the patterns matches a whole string; without patterns none does."""
    patterns = list(patterns)
    if "*" in patterns:
        return lambda text: True
    # Rules often list many exact ids: a set finds one of 200 twenty times as fast as an expression does.
    literals = frozenset(pattern for pattern in patterns if WILDCARDS.isdisjoint(pattern))
    with_wildcards = [pattern for pattern in patterns if pattern not in literals]
    if not with_wildcards:
        return literals.__contains__
    match = _match([_shell_pattern(pattern, str) for pattern in with_wildcards])
    return lambda text: text in literals or match(text) is not None


def loose_matcher(patterns: Iterable[str]) -> Matcher:
    """`matcher`, but without regard to case, surrounding blanks and Unicode form (NFKC).

    It matches whatever `matcher` matches, and more.
    """
    patterns = list(patterns)
    exact = matcher(patterns)
    if not patterns or "*" in patterns:
        return exact
    match = _match([_shell_pattern(pattern.strip(), _folded) for pattern in patterns])

    def matches(text: str) -> bool:
        if text.isascii() and text.strip() == text:  # nearly all: folding is lowering, which keeps the length
            return match(text.lower()) is not None
        # Folding may change the number of characters, and with it what `?` matches.
        return match(_folded(text).strip()) is not None or exact(text)

    return matches


def _match(shell_patterns: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    # fnmatch writes `*` as an atomic group, so no pattern backtracks without end.
    return re.compile("|".join(map(fnmatch.translate, shell_patterns))).match


def _shell_pattern(pattern: str, form: Callable[[str], str]) -> str:
    """The pattern in the syntax of fnmatch, with the text between its wildcards in another form.

    That form is literal as a whole: NFKC makes `*` of a full-width star, which is no wildcard.
    """
    parts = re.split(r"([*?])", pattern)
    return "".join(part if part in WILDCARDS else _SPECIAL_IN_A_SHELL.sub(r"[\g<0>]", form(part)) for part in parts)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())

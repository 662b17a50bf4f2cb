"""Patterns over whole strings: `*` and `?` are wildcards; every other character, including `[`, is literal."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable

Matcher = Callable[[str], bool]

WILDCARDS = frozenset("*?")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Invisible characters other than white space: format characters, variation selectors, fillers."""
_SPECIAL_IN_A_SHELL = re.compile(r"[*?[]")


def matcher(patterns: Iterable[str]) -> Matcher:
    """Return a function that returns whether any pattern matches a whole string. Without patterns nothing matches."""
    patterns = list(patterns)
    if "*" in patterns:
        return lambda text: True
    # Rules often list many exact ids: looking up one of 200 in a set is 20 times faster than a regular expression.
    literals = frozenset(pattern for pattern in patterns if WILDCARDS.isdisjoint(pattern))
    with_wildcards = [pattern for pattern in patterns if pattern not in literals]
    if not with_wildcards:
        return literals.__contains__
    match = _match([_shell_pattern(pattern, str) for pattern in with_wildcards])
    return lambda text: text in literals or match(text) is not None


def loose_matcher(patterns: Iterable[str]) -> Matcher:
    """Return a `matcher` that ignores case, surrounding whitespace, Unicode form and invisible characters.

    It matches everything that `matcher` matches.
    """
    patterns = list(patterns)
    if not patterns or "*" in patterns:
        return matcher(patterns)
    literals = frozenset(folded(pattern) for pattern in patterns if WILDCARDS.isdisjoint(pattern))
    with_wildcards = [pattern.strip() for pattern in patterns if not WILDCARDS.isdisjoint(pattern)]
    if not with_wildcards:
        return lambda text: folded(text) in literals
    exact = matcher([*patterns, *with_wildcards])
    match = _match([_shell_pattern(pattern, folded_part) for pattern in with_wildcards])

    def matches(text: str) -> bool:
        form = folded(text)
        if form in literals or match(form) is not None:
            return True
        # Folding can change the number of characters, and `?` matches exactly one. That of ASCII changes the case only.
        return not (text.isascii() and len(form) == len(text)) and exact(text)

    return matches


def look_alike_matcher(patterns: Iterable[str]) -> Matcher:
    """Return a `loose_matcher` that also ignores whitespace and invisible characters within the text."""
    match = _match([_shell_pattern(pattern, without_blanks) for pattern in patterns])
    return lambda text: match(without_blanks(text)) is not None


def _match(shell_patterns: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    # fnmatch translates `*` to an atomic group, which prevents catastrophic backtracking.
    return re.compile("|".join(map(fnmatch.translate, shell_patterns))).match


def _shell_pattern(pattern: str, form: Callable[[str], str]) -> str:
    """Return the pattern in fnmatch syntax, with `form` applied to the text between its wildcards.

    The result of `form` is literal: NFKC maps a full-width star, which is not a wildcard, to `*`.
    """
    parts = re.split(r"([*?])", pattern)
    return "".join(part if part in WILDCARDS else _SPECIAL_IN_A_SHELL.sub(r"[\g<0>]", form(part)) for part in parts)


def folded_part(text: str) -> str:
    """A text without case, Unicode form (NFKC), and invisible characters."""
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _INVISIBLE.sub("", form)


def without_blanks(text: str) -> str:
    """A text without case, Unicode form, whitespace, and invisible characters."""
    if text.isascii():
        return "".join(text.lower().split())
    return "".join(folded_part(text).split())


def folded(text: str) -> str:
    """A text in a form in which texts that look alike are equal: as `folded_part`, without surrounding whitespace."""
    return text.lower().strip() if text.isascii() else folded_part(text).strip()

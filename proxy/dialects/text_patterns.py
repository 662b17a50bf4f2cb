"""Patterns that are searched for in texts: compiled at first use, and only where a literal of theirs occurs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

BEFORE = r"(?<![^\s\"'`(\[<=,:;|\x80-\U0010ffff]%s)"
"""Before `%s` is the start of the text, a blank, a quote, punctuation, or a character of a script without blanks."""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compiling all patterns takes 14 ms, which would delay each start."""
    return re.compile(pattern)


def contains_any(text: str, patterns: Sequence[tuple[str, str]]) -> bool:
    """Whether one of the patterns is found. The text before each is a literal that all its matches contain."""
    for literal, pattern in patterns:  # noqa: SIM110 - any() takes twice as long
        if literal in text and compiled(pattern).search(text):
            return True
    return False

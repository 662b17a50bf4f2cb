"""Shell patterns over whole strings: `*`, `?`, `[a-z]`, case-sensitive."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

Matcher = Callable[[str], bool]


def matcher(patterns: Iterable[str]) -> Matcher:
    """A function that says whether any of the patterns matches a whole string; no pattern matches nothing."""
    # fnmatch writes `*` as an atomic group, so no pattern backtracks without end.
    patterns = list(patterns)
    alternatives = [fnmatch.translate(pattern) for pattern in patterns]
    if not alternatives or "*" in patterns:
        return lambda text: bool(alternatives)
    match = re.compile("|".join(alternatives)).match
    return lambda text: match(text) is not None

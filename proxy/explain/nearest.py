"""The ids that are most similar to an unknown one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher

from proxy.cooperative import Cooperative, batched
from proxy.patterns import folded

MAX_NEAREST = 5
_CUTOFF = 0.6
_MAX_DIFFERENCE = 0.34
"""Ids whose length differs by more than this part are not compared letter by letter."""


def nearest(name: str, ids: Iterable[str]) -> Cooperative[list[str]]:
    """Return up to MAX_NEAREST of these ids, the most similar first, in batches.

    First those with the same letters in another case or form, then those with the same last segment (`vendor/name`),
    then those that begin with the name or that it begins with, then those that differ in few letters.
    """
    form = folded(name)
    last = form.rpartition("/")[2]
    ranked: list[tuple[float, str]] = []
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(form)
    for batch in batched(ids):
        ranked += [(rank, other) for other in batch if (rank := _rank(matcher, form, last, folded(other))) > 0]
        yield
    return [other for _, other in sorted(ranked, key=lambda each: (-each[0], each[1]))[:MAX_NEAREST]]


def _rank(matcher: SequenceMatcher[str], form: str, last: str, other: str) -> float:
    """Higher is more similar; 0 if an id is not similar."""
    if other == form:
        return 4.0
    if last and other.rpartition("/")[2] == last:
        return 3.0
    common = min(len(form), len(other))
    if common >= 3 and (other.startswith(form) or form.startswith(other)):
        return 2.0 + common / max(len(form), len(other))
    if abs(len(form) - len(other)) > _MAX_DIFFERENCE * max(len(form), len(other)):
        return 0.0
    matcher.set_seq1(other)
    if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= _CUTOFF else 0.0


def difference(name: str, other: str, prefixes: Collection[str], *, ignores_case: bool) -> str:
    """How an id differs from the requested name, "" if it does not.

    `prefixes`: what the file adds before ids; `ignores_case`: `merge.ignore_case`.
    """
    if other == name:
        return ""
    if other.casefold() == name.casefold():
        only = "only the listed spellings are found" if ignores_case else "ids are case-sensitive"
        return f"differs in case; {only}"
    if folded(other) == folded(name):
        return "differs in white space or Unicode form"
    if any(prefix and other == prefix + name for prefix in prefixes):
        return f"has the prefix {other.removesuffix(name)!r}"
    if other.rpartition("/")[2] == name.rpartition("/")[2]:
        return "differs before the last `/`"
    return "is another id"

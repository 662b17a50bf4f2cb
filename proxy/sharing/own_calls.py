"""The calls in progress of this process, as it reports them to Valkey.

Several claims can be pending at once, and messages can arrive out of order. Each message therefore contains a snapshot
of the counts of this process, and the script adds the grants whose replies had not arrived when it was built.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from msgspec import Struct

from proxy.limits.claims import Claim


class Snapshot(NamedTuple):
    """The counts of one scope when a message was built."""

    message: int
    """The number of the message: of two, the later one is valid."""
    since: int
    """The first message whose grants are counted: no earlier claim was pending then."""
    calls: int
    """The calls in progress. Claims without a reply are not among them."""
    granted: int
    """Claims since that message that were granted, as far as their replies have arrived."""


class _Scope(Struct, gc=False):
    calls: int = 0
    pending: int = 0
    since: int = 0
    granted: int = 0


class OwnCalls:
    """Scope -> calls in progress."""

    def __init__(self) -> None:
        self._scopes: dict[str, _Scope] = {}
        self._message = 0

    @property
    def scopes(self) -> Collection[str]:
        """The scopes with calls in progress, or with pending claims."""
        return self._scopes.keys()

    def begin_message(self) -> None:
        self._message += 1

    def snapshot(self, name: str) -> Snapshot:
        """Return what the current message contains about a scope."""
        scope = self._scopes.get(name)
        if scope is None:
            return Snapshot(self._message, self._message, 0, 0)
        if not scope.pending:
            scope.since, scope.granted = self._message, 0
        return Snapshot(self._message, scope.since, scope.calls, scope.granted)

    def begin_claims(self, claims: Iterable[Claim]) -> None:
        """Count these claims, which the current message contains, as pending."""
        for claim in claims:
            scope = self._scopes.get(claim.scope)
            if scope is None:
                scope = self._scopes[claim.scope] = _Scope(since=self._message)
            scope.pending += 1

    def end_claims(self, claims: Iterable[Claim], *, is_granted: bool) -> None:
        """Note the outcome of claims. One without a reply counts as not granted, and the next message reports that."""
        for claim in claims:
            scope = self._scopes[claim.scope]
            scope.pending -= 1
            number = claim.amount if is_granted else 0
            scope.granted += number
            self.add(claim.scope, number)

    def add(self, name: str, number: int) -> None:
        """Change the number of calls in progress."""
        scope = self._scopes.setdefault(name, _Scope())
        scope.calls = max(0, scope.calls + number)
        if not scope.calls and not scope.pending:
            del self._scopes[name]

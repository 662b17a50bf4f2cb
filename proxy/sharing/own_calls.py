"""The calls in progress of this process, as it reports them to Valkey.

Claims are decided while others wait for their replies, and messages can overtake each other. So a message contains what
this process knew when it was built, and the script adds what it has granted that the process did not know yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from msgspec import Struct

from proxy.limits.claims import Claim


class Known(NamedTuple):
    """What this process knew about one scope when it built a message."""

    message: int
    """The number of the message: of two, the later one is valid."""
    since: int
    """The message from which on grants are counted: no earlier claim was undecided then."""
    calls: int
    """The calls in progress. Claims without a reply are not among them."""
    granted: int
    """Claims since that message that were granted, as far as their replies have arrived."""


class _Scope(Struct, gc=False):
    calls: int = 0
    undecided: int = 0
    since: int = 0
    granted: int = 0


class OwnCalls:
    """Scope -> calls in progress."""

    def __init__(self) -> None:
        self._scopes: dict[str, _Scope] = {}
        self._message = 0

    @property
    def scopes(self) -> Collection[str]:
        """The scopes with calls in progress, or with claims that are undecided."""
        return self._scopes.keys()

    def begin_message(self) -> None:
        self._message += 1

    def known(self, name: str) -> Known:
        """Return what the present message contains about a scope."""
        scope = self._scopes.get(name)
        if scope is None:
            return Known(self._message, self._message, 0, 0)
        if not scope.undecided:
            scope.since, scope.granted = self._message, 0
        return Known(self._message, scope.since, scope.calls, scope.granted)

    def wait(self, claims: Iterable[Claim]) -> None:
        """Note that the present message contains these claims."""
        for claim in claims:
            scope = self._scopes.get(claim.scope)
            if scope is None:
                scope = self._scopes[claim.scope] = _Scope(since=self._message)
            scope.undecided += 1

    def decide(self, claims: Iterable[Claim], *, is_granted: bool) -> None:
        """Note the outcome of claims. One without a reply counts as not granted, and the next message reports that."""
        for claim in claims:
            scope = self._scopes[claim.scope]
            scope.undecided -= 1
            number = claim.amount if is_granted else 0
            scope.granted += number
            self.add(claim.scope, number)

    def add(self, name: str, number: int) -> None:
        """Change the number of calls in progress."""
        scope = self._scopes.setdefault(name, _Scope())
        scope.calls = max(0, scope.calls + number)
        if not scope.calls and not scope.undecided:
            del self._scopes[name]

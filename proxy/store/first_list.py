"""What a provider offers that its first list did not contain: calls do not fail over to it (`failover_to: listed`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from proxy.catalog.names import LATEST, other_names
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.patterns import matcher


def names_of(entries: Sequence[Entry]) -> list[str]:
    """Return the own ids of entries and the other names in them."""
    names = [entry.id for entry in entries]
    # Few have others, so this is short, and need not yield.
    for entry in [entry for entry in entries if entry.aliases or entry.written or entry.id.endswith(LATEST)]:
        names += other_names(entry)
    return names


def new_names(provider: Provider, first: Collection[str], names: Collection[str]) -> frozenset[str]:
    """Return the names that are not in the first list, except those that `models` or `accept` of the provider name."""
    added = set(names).difference(first) if tuple(names) != first else None
    if not added:
        return frozenset()
    declared = {model.get("id") for model in provider.models}
    accepts = matcher(provider.accept)
    return frozenset(name for name in added if name not in declared and not accepts(name))

"""Find the ids that a provider newly lists and that others list, too: it could get their prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from proxy.catalog import Offer
from proxy.cooperative import Cooperative, batched

MAX_SHOWN = 10


def new_offers(
    offers: Iterable[Offer], new_names: Set[str], others: Iterable[Offer], form: Callable[[str], str]
) -> Cooperative[Mapping[str, Sequence[str]]]:
    """Return public id -> the other providers that list it, for offers whose own id is a new name.

    `form`: an id as it is compared with others.
    """
    new: dict[str, str] = {}
    for batch in batched(offers):
        new.update((form(offer.id), offer.id) for offer in batch if offer.entry.id in new_names)
        yield
    found: dict[str, list[str]] = {}
    for batch in batched(others if new else ()):
        for offer in batch:
            if (same := form(offer.id)) in new:
                found.setdefault(new[same], []).append(offer.provider)
        yield
    return {public_id: tuple(dict.fromkeys(found[public_id])) for public_id in sorted(found)}


def described(found: Mapping[str, Sequence[str]]) -> str:
    """`m (a, b), n (a) and 3 more`."""
    shown = [f"{public_id} ({', '.join(found[public_id])})" for public_id in list(found)[:MAX_SHOWN]]
    return ", ".join(shown) + (f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else "")

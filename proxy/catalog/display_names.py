"""Display names of models whose ids the operator changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.patterns import matcher

_SEPARATORS = " /-_:.@#"
_FIELDS = ("display_name", "name")
"""Fields that clients show instead of the id."""


def label_display_names(provider: Provider, config: Config) -> Callable[[Iterable[Offer]], Iterator[Offer]]:
    """Add what `prefix`, `aliases` or `duplicates` adds to an id to the display name: `GPT-5.5 (work)`.

    Ids that differ only by these settings would otherwise share a display name. A function of the entry and the
    configuration alone: names do not change with the lists of other providers. Display names that the operator sets
    (`overrides`, `models`) are not changed. The same for `name`, unless it is an id.
    """
    if not provider.aliases and not provider.prefix and config.merge.duplicates == "merge":
        return iter  # ids are those of the provider
    is_set = [(field, _is_set_by_operator(provider, field)) for field in _FIELDS]

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            if offer.id == offer.entry.id or b'name":' not in offer.entry.extra:
                yield offer
            else:
                yield _labeled(offer, [field for field, is_set_for in is_set if not is_set_for(offer.entry.id)])

    return step


def _is_set_by_operator(provider: Provider, field: str) -> Callable[[str], bool]:
    """Return whether the operator sets this field of a model, by its own id."""
    declared = {model["id"] for model in provider.models if field in model}
    patterns = [matcher(override.match) for override in provider.overrides if field in override.fields]
    return lambda own_id: own_id in declared or any(matches(own_id) for matches in patterns)


def _labeled(offer: Offer, fields: Iterable[str]) -> Offer:
    """An offer with the label in those of the fields that contain a display name."""
    extra = msgspec.json.decode(offer.entry.extra)
    label = label_of(offer.id, offer.entry.id)
    labeled = {
        field: f"{extra[field]} ({label})" for field in fields if _is_shown(field, extra.get(field), offer.entry.id)
    }
    return (
        replace(offer, entry=replace(offer.entry, extra=msgspec.json.encode({**extra, **labeled})))
        if labeled
        else offer
    )


def _is_shown(field: str, name: object, own_id: str) -> bool:
    """Whether a name is meant to be shown. A `name` can also be an id."""
    if not isinstance(name, str) or not name:
        return False
    is_like_id = name in own_id or (" " not in name and ("/" in name or name == name.lower()))
    return field == "display_name" or not is_like_id


def label_of(public: str, own_id: str) -> str:
    """What was added before the own id, or else the whole id, which is an alias."""
    added = public.removesuffix(own_id)
    return (added.strip(_SEPARATORS) if added != public else "") or public

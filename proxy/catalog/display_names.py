"""Display names of models whose ids the operator changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.patterns import matcher

_SEPARATORS = " /-_:.@#"


def label_display_names(provider: Provider, config: Config) -> Callable[[Iterable[Offer]], Iterator[Offer]]:
    """Add what `prefix`, `aliases` or `duplicates` adds to an id to the display name: `GPT-5.5 (work)`.

    Ids that differ only by these settings would otherwise share a display name. A function of the entry and the
    configuration alone: names do not change with the lists of other providers. Display names that the operator sets
    (`overrides`, `models`) are not changed.
    """
    if not provider.aliases and not provider.prefix and config.merge.duplicates == "merge":
        return iter  # ids are those of the provider
    is_set = _is_set_by_operator(provider)

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            is_renamed = offer.id != offer.entry.id and b'"display_name"' in offer.entry.extra
            yield _labeled(offer) if is_renamed and not is_set(offer.entry.id) else offer

    return step


def _is_set_by_operator(provider: Provider) -> Callable[[str], bool]:
    """Return whether the operator sets the display name of a model, by its own id."""
    declared = {model["id"] for model in provider.models if "display_name" in model}
    patterns = [matcher(override.match) for override in provider.overrides if "display_name" in override.fields]
    return lambda own_id: own_id in declared or any(matches(own_id) for matches in patterns)


def _labeled(offer: Offer) -> Offer:
    fields = msgspec.json.decode(offer.entry.extra)
    name = fields.get("display_name")
    if not isinstance(name, str) or not name:
        return offer
    fields["display_name"] = f"{name} ({_label(offer.id, offer.entry.id)})"
    return replace(offer, entry=replace(offer.entry, extra=msgspec.json.encode(fields)))


def _label(public: str, own_id: str) -> str:
    """What was added before the own id, or else the whole id, which is an alias."""
    added = public.removesuffix(own_id)
    return (added.strip(_SEPARATORS) if added != public else "") or public

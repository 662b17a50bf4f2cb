"""Which offers a caller can use, and the rules that decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from proxy.catalog import Offer
from proxy.catalog.names import Accepted
from proxy.config.routing import VirtualModel
from proxy.explain.access import Caller, reasons_for, reasons_for_target, reasons_for_virtual
from proxy.explain.context import Context
from proxy.explain.values import OfferPart, Reason
from proxy.store.names import Names, Refusal

_REFUSALS: Mapping[Refusal, str] = {
    "listed model denied": "it is another name of {id!r}, and {rule}",
    "variant of denied model": "it is a variant of {id!r}, and {rule}",
    "similar to denied model": "the id {id!r} begins with it, or it begins with that id, and {rule}",
}
"""Why a name that is allowed by the rules is not available: the denied model, and the rule that denies it."""
_LIST_UNKNOWN = "the list of the provider is not known, so the name may mean a model that a rule denies"


class Decided(NamedTuple):
    """An offer, and what is explained of it."""

    offer: Offer
    part: OfferPart


def decided(
    context: Context,
    caller: Caller,
    names: Names,
    virtual: VirtualModel | None,
    offers: Sequence[Offer],
    accepted: Sequence[Accepted],
) -> list[Decided]:
    """Decide on all offers of a name. `virtual`: the virtual model with this id; `accepted`: without listing it."""
    if virtual:
        return [*_of_targets(context, caller, virtual, offers)]
    return [
        *(_listed(context, caller, offer) for offer in offers),
        *(_accepted(context, caller, names, each) for each in accepted),
    ]


def _listed(context: Context, caller: Caller, offer: Offer) -> Decided:
    if replacing := next(
        (each for each in context.config.models if context.form(each.id) == context.form(offer.id)), None
    ):
        return _replaced(context, offer, replacing)
    return _decided(offer, caller.policy.allows(offer), reasons_for(caller, offer, context.reasons))


def _replaced(context: Context, offer: Offer, virtual: VirtualModel) -> Decided:
    text = f"replaced by the virtual model {virtual.id!r}"
    return _decided(offer, False, [context.reasons.of("models", "removes", text, "models", virtual.id)])


def _accepted(context: Context, caller: Caller, names: Names, accepted: Accepted) -> Decided:
    refusal = names.refusal(accepted)
    if refusal is None or refusal == "rules":
        reasons = reasons_for(caller, accepted.offer, context.reasons)
    elif denied := names.denied_model(accepted) if refusal in _REFUSALS else None:
        rule, *_ = reasons_for(caller, denied, context.reasons)
        reasons = [replace(rule, text=_REFUSALS[refusal].format(id=denied.id, rule=rule.text))]
    else:
        reasons = [Reason("accept", "denies", _LIST_UNKNOWN)]
    return _decided(accepted.offer, refusal is None, reasons)


def _of_targets(context: Context, caller: Caller, virtual: VirtualModel, offers: Sequence[Offer]) -> Iterator[Decided]:
    form = context.form
    for target in virtual.targets:
        for offer in offers:
            if form(offer.id) == form(target):
                yield _of_target(context, caller, virtual, target, offer)
    targets = {form(target) for target in virtual.targets}
    for offer in offers:
        if form(offer.id) not in targets:
            yield _replaced(context, offer, virtual)


def _of_target(context: Context, caller: Caller, virtual: VirtualModel, target: str, offer: Offer) -> Decided:
    if context.providers[offer.provider].target is None:
        text = "list-only: a virtual model uses only offers that can be called"
        reason = context.reasons.of_provider("call", "stops", text, offer.provider, "call")
        return _decided(offer, False, [reason], target)
    allows = caller.policy.target_filter(virtual.id)
    if allows is None:
        return _decided(offer, False, reasons_for_virtual(caller, virtual.id, context.reasons), target)
    reasons = reasons_for_target(caller, virtual.id, offer, context.reasons)
    return _decided(offer, allows(offer), reasons, target)


def _decided(offer: Offer, is_allowed: bool, reasons: Sequence[Reason], target: str = "") -> Decided:
    part = OfferPart(offer.provider, offer.entry.id, offer.owned_by, offer.created, target, is_allowed, reasons)
    return Decided(offer, part)

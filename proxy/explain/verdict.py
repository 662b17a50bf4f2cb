"""The verdict on a model in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.dialects.identity import why_no_model
from proxy.explain.access import Caller
from proxy.explain.values import CallPart, Calls, OfferPart, ProviderPart, Verdict

_MAX_WHERE = 5


def sentence(
    name: str,
    verdict: Verdict,
    caller: Caller,
    providers: Sequence[ProviderPart],
    offers: Sequence[OfferPart],
    calls: Calls | None,
    *,
    is_virtual: bool,
    is_awaited: bool,
) -> str:
    """The verdict with its reason, or with where calls go. `is_awaited`: clients get 503 instead of 404."""
    who = "" if caller.key is None else f" for {caller.who}"
    found = {
        "listed": f"{name!r} is listed{who}. {_calls(calls)}",
        "accepted": f"{name!r} is not listed{who}, but accepted. {_calls(calls)}",
        "denied": f"{name!r} exists, but is not available{who}: {_denials(offers)}.",
        "not_listed": f"{name!r} is not listed{who}: {_removals(providers, offers, is_virtual=is_virtual)}.",
        "unknown": _unknown(name, providers),
    }[verdict]
    awaited = " Until a missing list is there, requests of it get 503 (model_list_incomplete)." * is_awaited
    return "".join((found, awaited, *(f" {note.text[0].upper()}{note.text[1:]}." for note in caller.notes)))


def _calls(calls: Calls | None) -> str:
    tried = [part for part in calls.candidates if part.position] if calls else []
    if calls is None or not tried:
        return "It cannot be called."
    if not calls.can_call:
        return "This caller cannot call it."
    usable = [part.provider for part in tried if not part.is_skipped]
    skipped = [part.provider for part in tried if part.is_skipped]
    if not usable:
        return f"Calls are rejected at the moment: {_listed(skipped)} cannot be called."
    if calls.strategy == "weighted" and len(usable) > 1:
        first, following = f"one of {_listed(usable)}, by weight and conversation", ""
    else:
        first, after = usable[0], _following(tried)
        following = f"; if it fails, to {', then to '.join(after)}" if after else ""
    without = f" {_listed(skipped)} {'is' if len(skipped) == 1 else 'are'} skipped at the moment." if skipped else ""
    return f"Calls go to {first}{following}.{without}"


def _following(tried: Sequence[CallPart]) -> list[str]:
    """The providers after the first one that can be called, up to one with `failover: false`."""
    names = []
    for part in tried:
        if not part.is_skipped:
            names.append(part.provider)
        if any(reason.rule == "failover" for reason in part.reasons):
            break
    return names[1:]


def _denials(offers: Sequence[OfferPart]) -> str:
    texts = [reason.text for offer in offers for reason in offer.reasons if reason.effect == "denies"]
    return "; ".join(dict.fromkeys(texts)) or "its rules do not allow it"


def _removals(providers: Sequence[ProviderPart], offers: Sequence[OfferPart], *, is_virtual: bool) -> str:
    if is_virtual:
        return "none of its targets can be used" if offers else "none of its targets is listed"
    texts = [reason.text for offer in offers for reason in offer.reasons if reason.effect == "removes"]
    for provider in providers:
        for model in provider.models:
            if model.ids:
                texts.append(f"{provider.name} lists it as {_listed([*map(repr, model.ids)])}")
            else:
                removed = [reason.text for reason in model.reasons if reason.effect == "removes"]
                texts.append(f"at {provider.name} it is {' and '.join(removed)}")
    return _listed([*dict.fromkeys(texts)], "; ")


def _unknown(name: str, providers: Sequence[ProviderPart]) -> str:
    why = why_no_model(name)
    no_model = f" It is a {why}." if why else ""
    expired = [each.name for each in providers if each.had_it]
    if expired:
        return f"{name!r} is not listed any more: the list of {_listed(expired)}, which contained it, has expired."
    unknown = [each.name for each in providers if not each.is_known]
    lists, are = ("list", "is") if len(unknown) == 1 else ("lists", "are")
    caveat = f" The {lists} of {_listed(unknown)} {are} not known." if unknown else ""
    return f"No provider lists {name!r}.{no_model}{caveat}"


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - _MAX_WHERE} more" if len(names) > _MAX_WHERE else ""
    return separator.join(names[:_MAX_WHERE]) + more

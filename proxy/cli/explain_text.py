"""An explanation as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from proxy.cli.terminal import Output, Styled
from proxy.cli.text import count, day
from proxy.config.call_limits import UNIT_NAMES
from proxy.explain.values import (
    AccessPart,
    CallPart,
    Calls,
    Explanation,
    Fact,
    LimitPart,
    Near,
    ProviderModel,
    ProviderPart,
    Reason,
)
from proxy.printable import printable

_MAX_VALUE = 80


def print_explanation(explanation: Explanation, output: Output) -> None:
    """Print an explanation for people."""
    for line in lines_of(explanation):
        is_heading = line != explanation.text and bool(line) and not line.startswith(" ")
        output.print(Styled(printable(line), "cyan", bold=True) if is_heading else printable(line))


def lines_of(explanation: Explanation) -> Iterator[str]:
    """The lines of the text, without line breaks for the terminal. Lines without indentation are headings."""
    yield explanation.text
    if explanation.is_virtual:
        yield from _targets(explanation)
    yield from _section("Providers", _providers(explanation))
    if explanation.access:
        yield from _access(explanation.access)
    yield from _section("Limits", map(_limit, explanation.limits))
    if explanation.offers:
        yield from _offers(explanation)
    yield from _section("Fields", map(_fact, explanation.facts))
    if explanation.calls:
        yield from _calls(explanation.calls)
    yield from _section("Similar ids", map(_near, explanation.nearest))


def _section(heading: str, lines: Iterable[str]) -> Iterator[str]:
    """A heading and its lines; nothing without lines."""
    for number, line in enumerate(lines):
        if number == 0:
            yield from ("", heading)
        yield f"  {line}"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _place(reason: Any) -> str:
    """` (config.yaml:12)`, "" if no file contains the setting."""
    return f" ({reason.file}:{reason.line})" if reason.file else ""


def _because(reason: Reason) -> str:
    return reason.text + _place(reason)


# -- providers ---------------------------------------------------------------------------------------------------------


def _providers(explanation: Explanation) -> Iterator[str]:
    for provider in explanation.providers:
        # The offers of a virtual model are those of its targets.
        if not explanation.is_virtual or provider.models or not provider.is_known:
            yield from _provider(provider)


def _provider(provider: ProviderPart) -> Iterator[str]:
    state = f"{provider.name} ({provider.state})"
    error = f": {provider.error}" if provider.error else ""
    if provider.models:
        yield f"{state} has it{error}"
        for model in provider.models:
            yield from _indented(_model(model))
    elif provider.accepts:
        yield f"{state} {_because(provider.accepts)}{error}"
    elif provider.is_known:
        dropped = "".join(f"; {count(n, 'entry', 'entries')} dropped: {why}" for why, n in provider.dropped.items())
        yield f"{state} does not have it{dropped}{error}"
    elif provider.had_it:
        yield f"{state} had it in its last list, which has expired{error}"
    else:
        yield f"{state} is not known to have it{error or ': no list yet'}"


def _model(model: ProviderModel) -> Iterator[str]:
    sources = [*["declared"] * model.is_declared, *["listed"] * model.is_listed]
    what = f"{' and '.join(sources) or 'another name'} as {model.id!r}"
    yield f"{what}: {_as(model)}"
    for reason in model.reasons:
        label = f"owner {model.owned_by}: " if reason.effect == "sets" else ""
        yield f"  {label}{_because(reason)}"


def _as(model: ProviderModel) -> str:
    if not model.ids:
        return "not listed by the proxy"
    return f"public id {', '.join(map(repr, model.ids))}"


def _targets(explanation: Explanation) -> Iterator[str]:
    yield ""
    yield "Virtual model, targets"
    for target in explanation.targets:
        providers = list(dict.fromkeys(offer.provider for offer in explanation.offers if offer.target == target))
        yield f"  {target!r}: {'listed by ' + ', '.join(providers) if providers else 'not listed'}"


# -- access ------------------------------------------------------------------------------------------------------------


def _access(access: AccessPart) -> Iterator[str]:
    yield ""
    of = "" if access.origin == access.caller else f" (rules of {access.origin})"
    yield f"Access of {access.caller}{of}"
    yield from _indented(map(_because, access.reasons))
    if not access.rules:
        yield "  no rules, so no model is allowed"
    for rule in access.rules:
        effect = "does not match" if rule.effect == "no_match" else f"{rule.effect} it"
        where = f" at {', '.join(rule.providers)}" if rule.providers else ""
        yield f"  {rule.rule!r} {effect}{where}{_place(rule)}"


def _limit(limit: LimitPart) -> str:
    per = f" per {UNIT_NAMES[limit.per]}" if limit.per else ""
    whose = f" of all members of group {limit.group}" if limit.group else ""
    rest = "" if limit.remaining is None else f": {limit.remaining:,} remaining"
    reset = f", reset in {limit.reset_seconds:,.0f} s" if limit.reset_seconds else ""
    return f"{limit.limit} {limit.amount:,}{per}{whose}{rest}{reset}{_place(limit)}"


def _offers(explanation: Explanation) -> Iterator[str]:
    yield ""
    yield "Offers, in the order of the file; the first that is allowed gives the fields"
    for offer in explanation.offers:
        target = f", target {offer.target!r}" if offer.target else ""
        because = "".join(f"; {_because(reason)}" for reason in offer.reasons)
        state = "allowed" if offer.is_allowed else "not used"
        yield (
            f"  {offer.provider} as {offer.id!r}{target}: {state}, owner {offer.owned_by}, created "
            f"{day(offer.created)}{because}"
        )


# -- fields ------------------------------------------------------------------------------------------------------------


def _fact(fact: Fact) -> str:
    value = day(fact.value) if fact.name == "created" else _value(fact.value)
    return f"{fact.name} {value}: {'; '.join(map(_because, fact.reasons))}"


def _value(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."


# -- calls -------------------------------------------------------------------------------------------------------------


def _calls(calls: Calls) -> Iterator[str]:
    yield ""
    yield "Calls" if calls.can_call else "Calls (this caller cannot call models)"
    yield from _indented(map(_because, calls.reasons))
    yield from _indented(_candidates(calls.candidates))


def _candidates(candidates: Sequence[CallPart]) -> Iterator[str]:
    for each in candidates:
        number = f"{each.position}." if each.position else "not used:"
        because = "".join(f"; {_because(reason)}" for reason in each.reasons)
        yield f"{number} {each.provider} as {each.id!r}{because}"


def _near(near: Near) -> str:
    at = f" at {', '.join(near.providers)}" if near.providers else ""
    because = "; ".join(map(_because, near.reasons))
    state = "available" if near.is_allowed else "not available"
    return f"{near.id!r}{at}: {state}{'; ' * bool(because)}{because}"

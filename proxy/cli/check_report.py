"""The report that `check` prints for people."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.values import TargetOffer
from proxy.cli.against import Differences
from proxy.cli.against_report import sections
from proxy.cli.audit import Audit, DuplicatesPreview
from proxy.cli.call_result import CallResult
from proxy.cli.findings import Finding
from proxy.cli.probe_result import ProbeResult
from proxy.cli.terminal import Output, Styled, show_table
from proxy.cli.text import count, day
from proxy.printable import printable
from proxy.upstream.list_url import list_url

_SHOWN_COLLISIONS = 10
STATES = {
    styled.text: styled
    for styled in (
        Styled("ok", "green"),
        Styled("declared", "green"),
        Styled("incomplete", "yellow"),
        Styled("empty", "yellow"),
        Styled("failing", "red", bold=True),
        Styled("skipped", dim=True),
        Styled("disabled", dim=True),
    )
}

_PROVIDER_COLUMNS = [
    ("state", "left"), ("provider", "fold"), ("models", "right"), ("pages", "right"), ("attempts", "right"),
    ("time", "right"), ("", "fold"),
]  # fmt: skip
_CALL_COLUMNS = [
    ("state", "left"), ("provider", "fold"), ("id", "fold"), ("status", "right"), ("time", "right"), ("path", "left"),
    ("", "fold"),
]  # fmt: skip
_MODEL_COLUMNS = [("id", "fold"), ("owner", "fold"), ("providers, preferred first", "fold"), ("created", "left")]


def print_report(audit: Audit, key: str | None, output: Output) -> None:
    """Print the sections for people: all models and findings, or those of one key."""
    _Report(audit, key, output).show()


def print_comparison(audit: Audit, found: Differences, output: Output) -> None:
    """Print the providers, findings, and what the file changes in the running proxy."""
    _Report(audit, None, output).show_differences(found)


def print_calls(audit: Audit, model: str, calls: Sequence[CallResult], output: Output) -> None:
    """Print the providers, and the result of the call to each provider of a model."""
    _Report(audit, None, output).show_calls(model, calls)


def print_findings(findings: Sequence[Finding], output: Output) -> None:
    heading = count(len(findings), "finding") if findings else "No findings"
    output.print(Styled(f"\n{heading}", "cyan", bold=True))
    for finding in findings:
        output.print(printable(f"- {finding}"))


class _Report:
    """The sections that a person reads, in this order."""

    def __init__(self, audit: Audit, key: str | None, output: Output) -> None:
        self._audit = audit
        self._key = key
        self._output = output
        self._catalog = audit.catalog_of(key)

    def show(self) -> None:
        self._providers()
        self._models()
        self._merged()
        self._virtual()
        if self._key is None:
            for preview in self._audit.other_duplicates():
                self._duplicates(preview)
        self._findings()

    def show_differences(self, found: Differences) -> None:
        self._providers()
        self._findings()
        for heading, lines in sections(found):
            self._heading(printable(heading))
            for line in lines:
                self._line(f"  {line}")

    def show_calls(self, model: str, calls: Sequence[CallResult]) -> None:
        self._providers()
        self._heading(f"Calls of {printable(model)}")
        show_table(self._output, _CALL_COLUMNS, [*map(_call, calls)])
        if names := self._audit.failed:
            self._line(_unchecked(names, "could not be fetched"))

    def _heading(self, text: str) -> None:
        self._output.print(Styled(f"\n{text}", "cyan", bold=True))

    def _line(self, text: str) -> None:
        self._output.print(printable(text))

    def _providers(self) -> None:
        self._output.print(Styled(count(len(self._audit.results), "provider"), "cyan", bold=True))
        skipped = [
            (STATES[skipped.state], skipped.name, "", "", "", "", skipped.reason)
            for skipped in self._audit.config.skipped
        ]
        show_table(self._output, _PROVIDER_COLUMNS, [*map(self._provider, self._audit.results), *skipped])

    def _provider(self, result: ProbeResult) -> tuple[str | Styled, ...]:
        name, state = result.provider.name, STATES[result.state]
        time = f"{result.seconds:.1f} s"
        if result.error:
            optional = " (optional)" if result.provider.optional else ""
            note = f"{result.error.reason}{optional}; URL: {result.error.url or list_url(result.provider)}"
            return state, name, "-", "", str(result.error.attempts), time, note
        notes = _notes(result, len({offer.entry.id for offer in self._audit.offers[name]}))
        if result.fetched is None:
            return state, name, f"{len(result.entries):,}", "", "", "", notes
        fetched = result.fetched
        return state, name, f"{len(fetched.entries):,}", str(fetched.pages), str(fetched.attempts), time, notes

    def _models(self) -> None:
        models = self._catalog.models
        for_key = "" if self._key is None else f" for key {self._key}"
        self._heading(count(len(models), "model") + for_key)
        if models:
            rows = [
                (
                    model.id,
                    model.owned_by,
                    ", ".join({each.provider: None for each in model.offers}),
                    day(model.created),
                )
                for model in models
            ]
            show_table(self._output, _MODEL_COLUMNS, rows)

    def _merged(self) -> None:
        merged = merged_models(self._catalog)
        if not merged:
            return
        self._heading(f"Merged: {count(len(merged), 'model')} from several providers")
        for model in merged:
            self._line(f"{model.id}: {_offers(model)}")

    def _virtual(self) -> None:
        virtual = [model for model in self._catalog.models if is_virtual(model)]
        if not virtual:
            return
        self._heading(count(len(virtual), "virtual model"))
        for model in virtual:
            self._line(f"{model.id}: {', then '.join(map(_offer_of_target, model.offers))}")

    def _duplicates(self, preview: DuplicatesPreview) -> None:
        collisions = preview.collisions
        self._heading(f"With `duplicates: {preview.duplicates}`: {count(preview.models, 'model')}")
        if not collisions:
            self._line("No id is shared by several providers.")
            return
        self._line(f"{count(len(collisions), 'id')} shared by several providers:")
        for model_id, providers in list(collisions.items())[:_SHOWN_COLLISIONS]:
            self._line(f"  {model_id}: {', '.join(providers)}")
        if len(collisions) > _SHOWN_COLLISIONS:
            self._line(f"  and {len(collisions) - _SHOWN_COLLISIONS:,} more; --json shows all")

    def _findings(self) -> None:
        print_findings(self._audit.findings(self._key), self._output)
        for names, problem in (
            (self._audit.failed, "could not be fetched"),
            (self._audit.partial, "{are} incomplete"),
            (self._audit.empty, "{are} empty"),
        ):
            if names:
                self._line(_unchecked(names, problem))


def _call(call: CallResult) -> tuple[str | Styled, ...]:
    target = f"{call.target} " if call.target else ""
    notes = []
    if call.error:
        notes.append(f"{call.error['code']}: {call.error['message']}")
    if call.tokens:
        notes.append(f"{call.tokens['input']} + {call.tokens['output']} tokens")
    time = "" if call.seconds is None else f"{call.seconds:.1f} s"
    status = "" if call.status is None else str(call.status)
    state = STATES.get(call.state, Styled(call.state, "yellow"))
    return state, call.provider, f"{target}as {call.id}", status, time, call.path or "", printable("; ".join(notes))


def _unchecked(names: Sequence[str], problem: str) -> str:
    lists, its, are = ("list", "its", "is") if len(names) == 1 else ("lists", "their", "are")
    return f"Incomplete: the {lists} of {', '.join(names)} {problem.format(are=are)}, so {its} models were not checked"


def _offers(model: Model) -> str:
    first, *others = (
        offer.provider + (f" (as {offer.entry.id})" if offer.entry.id != model.id else "") for offer in model.offers
    )
    owners = list(dict.fromkeys(offer.owned_by for offer in model.offers))
    differ = f"; owners differ: {', '.join(owners)}" if len(owners) > 1 else ""
    return f"{first}, then {', '.join(others)}{differ}"


def is_virtual(model: Model) -> bool:
    return isinstance(model.offers[0], TargetOffer)


def _offer_of_target(offer: Offer) -> str:
    target = offer.target if isinstance(offer, TargetOffer) else offer.id
    return f"{target} at {offer.provider}"


def _notes(result: ProbeResult, selected: int) -> str:
    """`selected`: number of ids after `include`, `exclude` and other filters."""
    dropped = result.fetched.dropped if result.fetched else {}
    notes = [result.shortcoming.reason] if result.shortcoming else []
    notes += [f"{count(number, 'entry', 'entries')} dropped: {reason}" for reason, number in dropped.items()]
    if result.fetched and result.fetched.shortened:
        notes.append(
            f"{count(result.fetched.shortened, 'entry', 'entries')} too large; the largest fields are not shown"
        )
    if result.fetched and result.fetched.redirected_to:
        notes.append(f"redirected to {result.fetched.redirected_to}")
    ids = {entry.id for entry in result.entries}
    merged = result.fetched.duplicates if result.fetched else 0
    if duplicates := merged + len(result.entries) - len(ids):
        notes.append(count(duplicates, "duplicate id"))
    if selected < len(ids):
        notes.append(f"{len(ids) - selected:,} removed by {result.filters}")
    if result.fetched:
        notes.append(f"URL: {list_url(result.provider)}")
    return "; ".join(notes)


def merged_models(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models if len(model.offers) > 1 and not is_virtual(model)]

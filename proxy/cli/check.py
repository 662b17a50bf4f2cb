"""`models-proxy check`: what a config.yaml would do, before it does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from proxy.catalog import Catalog, Fetch, Model
from proxy.cli.audit import Audit, DuplicatesPreview, ProbeResult
from proxy.cli.terminal import Failure, did_you_mean, err, out, show_table
from proxy.cli.text import count, day, printable
from proxy.clock import Clock, SystemClock
from proxy.config import Config, ConfigError, Provider, read
from proxy.config.problems import Problem
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from proxy.upstream.resolver import use_resolver_threads
from proxy.upstream.transport import disable_http_logging

_SHOWN_COLLISIONS = 10
_STYLES = {"ok": "green", "failed": "bold red", "declared": "green", "left out": "dim"}

Notify = Callable[[ProbeResult], None]


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The file to check.",
)  # fmt: skip
@click.option("--key", metavar="NAME", help="Show the catalogue as the key of this name sees it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there.")
def check(path: Path, key: str | None, as_json: bool) -> None:
    """Show what config.yaml would list, and what is wrong.

    The file is checked, every provider is asked once, and the answers are merged as the server does it; nothing is
    served or changed. A provider that cannot be reached is told with its reason, so this works without a network.

    \b
    Exit code: 0  fine
               1  an error in the file, a provider failed that is not
                  `optional: true`, or a pattern with `[` should hide models
                  and matches none (finding hides_nothing)
               2  wrong usage

    \b
    Examples:
      models-proxy check
      models-proxy check --config /etc/models-proxy.yaml --key alice
      models-proxy check --json | jq '.findings[].text'

    \b
    --json: an object of which these fields stay as they are; more may come:
      ok         whether the exit code is 0
      problems   [{line, setting, text}]: errors in the file; with one, nobody
                 was asked, and everything below is empty
      warnings   [text]: what looks wrong in the file, but works
      providers  [{name, kind, optional, state, models, listed, pages,
                 attempts, seconds, dropped: {reason: number}, error: {kind,
                 reason} or null}]; state: ok, failed, declared, left_out;
                 models: what came, listed: what is left of it by the rules
      key        the name that --key gave, or null
      models     [{id, owned_by, created, offers: [{provider, id}]}], ordered
                 as they are listed; the first offer is the preferred one
      merged     [id]: the models with several offers
      duplicates the policy of the file
      other_duplicates
                 [{duplicates, models, collisions: {id: [provider]}}]
      findings   [{kind, who, text}]; kind: sees_nothing, expired,
                 matches_nothing, hides_nothing, seen_by_nobody
    """
    try:
        config = read(path)
    except ConfigError as error:
        if as_json:
            _print_json(_document(problems=error.problems))
        raise Failure(str(error)) from None
    if key is not None and key not in (names := [known.name for known in config.keys]):
        # Not repeated: what was typed may be the key itself.
        raise click.BadParameter(f"no key has this name; {did_you_mean(key, names)}", param_hint="'--key'")
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    clock = SystemClock()
    heard = asyncio.run(_ask_with_progress(config, clock, quiet=as_json))
    survey = Audit(config, heard, clock.time())
    if as_json:
        _print_json(_document(survey, key))
    else:
        _Report(survey, key, out()).show()
    if failed := needed_and_failed(heard):
        hint = "mend what is said above, or mark it `optional: true`"
        raise Failure(f"{count(len(failed), 'provider')} failed: {', '.join(failed)}; {hint}")
    if errors := survey.errors():
        raise Failure("; ".join(map(str, errors)))


def needed_and_failed(heard: Sequence[ProbeResult]) -> list[str]:
    """The providers that failed and may not."""
    return [one.provider.name for one in heard if one.error and not one.provider.optional]


# -- asking ----------------------------------------------------------------------------------------------------------


async def ask_all(config: Config, fetch: Fetch, clock: Clock, notify: Notify) -> list[ProbeResult]:
    """Every provider, asked once and all at the same time. `told` hears of each as it ends."""

    async def ask(provider: Provider) -> ProbeResult:
        if not provider.is_remote:
            return ProbeResult(provider)
        began, answer, failure = clock.monotonic(), None, None
        try:
            answer = await fetch(provider, provider.retries)
        except UpstreamError as error:
            failure = error
        except Exception as bug:
            failure = UpstreamError.from_bug(bug)
        heard = ProbeResult(provider, answer, failure, clock.monotonic() - began)
        notify(heard)
        return heard

    return await asyncio.gather(*map(ask, config.providers))


async def _ask_with_progress(config: Config, clock: Clock, *, quiet: bool) -> list[ProbeResult]:
    use_resolver_threads(len(config.providers))
    disable_http_logging()
    fetch = ListFetcher(config.providers, clock)
    names = [provider.name for provider in config.providers if provider.is_remote]
    where = err()
    if where.is_terminal:
        with _Live(names, where) as live:
            return await ask_all(config, fetch, clock, live.notify)
    plain = _Lines(names, where)
    return await ask_all(config, fetch, clock, (lambda heard: None) if quiet else plain.notify)


class _Lines:
    """Progress where there is no terminal: a line for each provider that has answered or failed."""

    def __init__(self, names: Sequence[str], where: Console) -> None:
        self._where = where
        self._total = len(names)
        self._done = 0

    def notify(self, heard: ProbeResult) -> None:
        self._done += 1
        what = "failed" if heard.error else "answered"
        seconds = f"{heard.seconds:.1f} s"
        self._where.print(f"{heard.provider.name} {what} after {seconds} ({self._done} of {self._total})")


class _Live(Progress):
    """Progress on a terminal: one line with those who are still waited for. It leaves nothing behind."""

    def __init__(self, names: Sequence[str], where: Console) -> None:
        super().__init__(
            SpinnerColumn(finished_text=" "),
            MofNCompleteColumn(),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=where,
            transient=True,
        )
        self._waiting = list(names)
        self._task = self.add_task(self._description, total=len(names))

    @property
    def _description(self) -> str:
        return f"waiting for {', '.join(self._waiting)}"

    def notify(self, heard: ProbeResult) -> None:
        self._waiting.remove(heard.provider.name)
        self.update(self._task, advance=1, description=self._description)


# -- for people ------------------------------------------------------------------------------------------------------


class _Report:
    """The sections that a person reads, in this order."""

    def __init__(self, survey: Audit, key: str | None, where: Console) -> None:
        self._survey = survey
        self._key = key
        self._where = where
        self._catalog = _catalog(survey, key)

    def show(self) -> None:
        self._providers()
        self._models()
        self._merged()
        if self._key is None:
            for other in self._survey.other_policies():
                self._other_policy(other)
        self._findings()

    def _heading(self, text: str) -> None:
        self._where.print(Text(f"\n{text}", style="bold cyan"))

    def _say(self, text: str) -> None:
        self._where.print(Text(printable(text)))

    def _providers(self) -> None:
        heading = f"{count(len(self._survey.heard), 'provider')}"
        self._where.print(Text(heading, style="bold cyan"))
        skipped = [
            (Text("left out", style=_STYLES["left out"]), one.name, "", "", "", "", one.reason)
            for one in self._survey.config.skipped
        ]
        columns = [
            ("state", "left"), ("provider", "fold"), ("models", "right"), ("pages", "right"), ("tries", "right"),
            ("time", "right"), ("", "note"),
        ]  # fmt: skip
        show_table(self._where, columns, [*map(self._provider, self._survey.heard), *skipped])

    def _provider(self, one: ProbeResult) -> tuple[str | Text, ...]:
        name = one.provider.name
        state = _state(one)
        shown = Text(state, style=_STYLES[state])
        if state == "declared":
            return shown, name, f"{len(one.entries):,}", "", "", "", _notes(one, len(self._kept(name)))
        time = f"{one.seconds:.1f} s"
        if one.error:
            optional = " (optional)" if one.provider.optional else ""
            return shown, name, "-", "", str(one.error.attempts), time, one.error.reason + optional
        assert one.answer is not None, "who was asked has answered or failed"
        figures = (f"{len(one.answer.entries):,}", str(one.answer.pages), str(one.answer.attempts), time)
        return shown, name, *figures, _notes(one, len(self._kept(name)))

    def _kept(self, provider: str) -> set[str]:
        return {offer.entry.id for offer in self._survey.offers[provider]}

    def _models(self) -> None:
        sees = "" if self._key is None else f", as the key {self._key} sees them"
        self._heading(count(len(self._catalog.models), "model") + sees)
        if self._catalog.models:
            rows = [
                (model.id, model.owned_by, ", ".join(offer.provider for offer in model.offers), day(model.created))
                for model in self._catalog.models
            ]
            columns = [("id", "fold"), ("owner", "fold"), ("providers, preferred first", "fold"), ("created", "left")]
            show_table(self._where, columns, rows)

    def _merged(self) -> None:
        merged = _merged(self._catalog)
        if not merged:
            return
        self._heading(f"Merged: {count(len(merged), 'model')} of several providers")
        for model in merged:
            self._say(f"{model.id}: {_who_is_merged(model)}")

    def _other_policy(self, other: DuplicatesPreview) -> None:
        collisions = other.collisions
        self._heading(f"With `duplicates: {other.duplicates}`: {count(other.models, 'model')}")
        if not collisions:
            self._say("No id would come from several providers.")
            return
        self._say(f"{count(len(collisions), 'id')} would come from several providers:")
        for model_id, providers in list(collisions.items())[:_SHOWN_COLLISIONS]:
            self._say(f"  {model_id}: {', '.join(providers)}")
        if len(collisions) > _SHOWN_COLLISIONS:
            self._say(f"  and {len(collisions) - _SHOWN_COLLISIONS:,} more; --json shows all")

    def _findings(self) -> None:
        findings = self._survey.findings(self._key)
        self._heading(f"{count(len(findings), 'finding')}" if findings else "No findings")
        for finding in findings:
            self._say(f"- {finding}")
        if self._survey.unheard:
            self._say(f"Judged without the models of {', '.join(self._survey.unheard)}.")


def _who_is_merged(model: Model) -> str:
    first, *others = (
        offer.provider + (f" (as {offer.entry.id})" if offer.entry.id != model.id else "") for offer in model.offers
    )
    owners = list(dict.fromkeys(offer.owned_by for offer in model.offers))
    differ = f"; owners differ: {', '.join(owners)}" if len(owners) > 1 else ""
    return f"{first}, then {', '.join(others)}{differ}"


def _notes(one: ProbeResult, kept: int) -> str:
    dropped = one.answer.dropped if one.answer else {}
    notes = [f"{count(number, 'entry', 'entries')} dropped: {reason}" for reason, number in dropped.items()]
    ids = {entry.id for entry in one.entries}
    if len(ids) < len(one.entries):
        notes.append(f"{len(one.entries) - len(ids):,} listed twice")
    if kept < len(ids):
        notes.append(f"{len(ids) - kept:,} left out by include and exclude")
    return "; ".join(notes)


def _state(one: ProbeResult) -> str:
    if one.error:
        return "failed"
    return "ok" if one.answer else "declared"


def _catalog(survey: Audit, key: str | None) -> Catalog:
    if key is None:
        return survey.catalog()
    return survey.catalog(next(known.rules for known in survey.config.keys if known.name == key))


def _merged(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models if len(model.offers) > 1]


# -- for machines ----------------------------------------------------------------------------------------------------


def _document(
    survey: Audit | None = None, key: str | None = None, *, problems: Sequence[Problem] = ()
) -> dict[str, Any]:
    """What `--json` prints; its fields are a promise of the help text."""
    catalog = _catalog(survey, key) if survey else Catalog(())
    return {
        "ok": survey is not None and not needed_and_failed(survey.heard) and not survey.errors(),
        "problems": problems,
        "warnings": survey.config.warnings if survey else (),
        "providers": list(_provider_objects(survey)) if survey else (),
        "key": key,
        "models": [
            {
                "id": model.id,
                "owned_by": model.owned_by,
                "created": model.created,
                "offers": [{"provider": offer.provider, "id": offer.entry.id} for offer in model.offers],
            }
            for model in catalog.models
        ],
        "merged": [model.id for model in _merged(catalog)],
        "duplicates": survey.config.merge.duplicates if survey else None,
        "other_duplicates": survey.other_policies() if survey else (),
        "findings": survey.findings(key) if survey else (),
    }


def _provider_objects(survey: Audit) -> Iterator[dict[str, Any]]:
    for one in survey.heard:
        provider, answer, error = one.provider, one.answer, one.error
        yield {
            "name": provider.name,
            "kind": provider.kind,
            "optional": provider.optional,
            "state": _state(one),
            "models": len(one.entries),
            "listed": len(survey.offers[provider.name]),
            "pages": answer.pages if answer else 0,
            "attempts": answer.attempts if answer else error.attempts if error else 0,
            "seconds": round(one.seconds, 3),
            "dropped": answer.dropped if answer else {},
            "error": {"kind": error.kind, "reason": error.reason} if error else None,
        }
    for skipped in survey.config.skipped:
        yield {
            "name": skipped.name, "kind": None, "optional": True, "state": "left_out", "models": 0, "listed": 0,
            "pages": 0, "attempts": 0, "seconds": 0.0, "dropped": {},
            "error": {"kind": "left_out", "reason": skipped.reason},
        }  # fmt: skip


def _print_json(document: Mapping[str, Any]) -> None:
    """As UTF-8, in whatever encoding the terminal is."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))

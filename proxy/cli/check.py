"""`models-proxy check`: validate a config.yaml and preview its model list, without serving it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from proxy.cli.audit import Audit, failures
from proxy.cli.check_ask import probe_with_progress
from proxy.cli.check_report import document, document_of_file, print_json, print_report
from proxy.cli.terminal import Failure, out
from proxy.cli.text import available
from proxy.clock import SystemClock
from proxy.config import Config, ConfigError, read
from proxy.config.hints import did_you_mean
from proxy.printable import printable
from proxy.upstream.event_loop import EventLoop


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The file to validate.",
)  # fmt: skip
@click.option("--key", metavar="NAME", help="Show the model list of this key.")
@click.option("--offline", is_flag=True, help="Validate the file only. No provider is contacted.")
@click.option(
    "--strict", is_flag=True, help="Also fail if any provider fails, is skipped, or has an incomplete or empty list."
)
@click.option(
    "--retries", type=click.IntRange(0, 10), default=0, show_default=True,
    help="Maximum number of retries per provider after a failed attempt.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
def check(path: Path, key: str | None, offline: bool, strict: bool, retries: int, as_json: bool) -> None:
    """Validate config.yaml and preview the model list.

    Validates the file, fetches the list of every provider (one attempt each), and merges the lists as the server does.
    Nothing is served or changed. A provider that cannot be reached is shown with the reason and the URL.

    With --offline only the file is validated: syntax, names and rules. Variables, key files and CA files may be
    missing (each is a warning), and nothing is contacted. Use it for pull requests and in ExecStartPre.

    \b
    Exit code: 0  no errors
               1  the file has errors; a provider failed that is not
                  `optional: true`; or a pattern with `[` that should hide
                  models matches none (finding hides_nothing).
                  With --strict also: an optional provider failed, or a
                  provider is skipped, has no models or an incomplete
                  list
               2  usage error

    \b
    Examples:
      models-proxy check
      models-proxy check --config /etc/models-proxy.yaml --key alice
      models-proxy check --offline
      models-proxy check --strict --retries 2
      models-proxy check --json | jq '.findings[].text'

    \b
    --json: an object with these stable fields; more may be added:
      ok         true if the exit code is 0
      problems   [{file, line, setting, text}]: errors in the configuration;
                 if there are any, no provider is contacted and the fields
                 below are empty or null
      warnings   [text]: probable mistakes in the file
      providers  [{name, kind, optional, state, url, models, listed, pages,
                 attempts, seconds, dropped: {reason: number}, error: {kind,
                 reason} or null, reason}]; state: ok, incomplete, empty,
                 failing, skipped, disabled, declared; error: also if
                 incomplete or empty; reason: why it is skipped or disabled,
                 else null;
                 url: of the list, without secrets, null if not contacted;
                 models: number received, listed: number after all rules
      key        the NAME of --key, or null
      models     [{id, owned_by, created, offers: [{provider, id}]}], in the
                 order of the list; the first offer is the preferred one
      merged     [id]: models with several offers, without virtual ones
      duplicates the value of merge.duplicates
      other_duplicates
                 [{duplicates, models, collisions: {id: [provider]}}]
      findings   [{kind, who, text}]; kind: no_access, expired,
                 matches_nothing, hides_nothing, inaccessible, differs_in_case,
                 looks_denied
    With --offline all fields after `warnings` are empty or null.
    """
    _refuse_conflicts(offline, {"--key": key is not None, "--strict": strict, "--retries": retries > 0})
    config = read_or_fail(path, offline=offline, as_json=as_json)
    for warning in config.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    if offline:
        _report_offline(config, path, as_json=as_json)
    else:
        require_key(config, key)
        _check_providers(config, key, strict=strict, retries=retries, as_json=as_json)


def _refuse_conflicts(offline: bool, others: Mapping[str, bool]) -> None:
    for option in others:
        if offline and others[option]:
            raise click.UsageError(f"--offline and {option} are mutually exclusive.")


def read_or_fail(path: Path, *, offline: bool = False, as_json: bool = False) -> Config:
    """Read the file. Raises Failure with all problems; `as_json` prints them as JSON, too."""
    try:
        return read(path, offline=offline)
    except ConfigError as error:
        if as_json:
            print_json(document_of_file(error.problems))
        raise Failure(str(error)) from None


def _report_offline(config: Config, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(document_of_file((), config.warnings))
    else:
        out().print(f"{path} is valid; no provider was contacted")


def _check_providers(config: Config, key: str | None, *, strict: bool, retries: int, as_json: bool) -> None:
    """Contact all providers and print the report. Raises Failure, for exit code 1."""
    audit = audited(config, retries=retries, quiet=as_json)
    if as_json:
        print_json(document(audit, key, strict=strict))
    else:
        print_report(audit, key, out())
    if errors := failures(audit, strict=strict):
        raise Failure("; ".join(errors))


def audited(config: Config, *, retries: int = 0, quiet: bool = False) -> Audit:
    """Contact all providers. `quiet`: progress only on a terminal."""
    clock = SystemClock()
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        results = runner.run(probe_with_progress(config, clock, retries=retries, quiet=quiet))
    return Audit(config, results, clock.time())


def require_key(config: Config, key: str | None) -> None:
    """Raise click.BadParameter if no key has this name."""
    names = [known.name for known in config.keys]
    if key is not None and key not in names:
        # The message does not repeat the value, which may be the key itself.
        hint = did_you_mean(key, names) or f"; {available(names)}"
        raise click.BadParameter(f"no such key{hint}", param_hint="'--key'")

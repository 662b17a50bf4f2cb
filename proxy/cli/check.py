"""`models-proxy check`: what a config.yaml would list, before it is served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from proxy.cli.audit import Audit, required_failures
from proxy.cli.check_ask import ask_with_progress
from proxy.cli.check_report import document, print_json, print_report
from proxy.cli.terminal import Failure, did_you_mean, out
from proxy.cli.text import count
from proxy.clock import SystemClock
from proxy.config import Config, ConfigError, read


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
                 reason} or null}]; state: ok, failing, skipped, declared;
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
            print_json(document(problems=error.problems))
        raise Failure(str(error)) from None
    _require_key(config, key)
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    clock = SystemClock()
    results = asyncio.run(ask_with_progress(config, clock, quiet=as_json))
    audit = Audit(config, results, clock.time())
    if as_json:
        print_json(document(audit, key))
    else:
        print_report(audit, key, out())
    _fail_on_errors(audit)


def _require_key(config: Config, key: str | None) -> None:
    names = [known.name for known in config.keys]
    if key is not None and key not in names:
        # Not repeated: what was typed may be the key itself.
        raise click.BadParameter(f"no key has this name; {did_you_mean(key, names)}", param_hint="'--key'")


def _fail_on_errors(audit: Audit) -> None:
    """Raise Failure, for exit code 1."""
    if failed := required_failures(audit.results):
        hint = "mend what is said above, or mark it `optional: true`"
        raise Failure(f"{count(len(failed), 'provider')} failed: {', '.join(failed)}; {hint}")
    if errors := audit.errors():
        raise Failure("; ".join(map(str, errors)))

"""`models-proxy check`: validate a config.yaml and preview its model list, without serving it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.cli.against import Differences, Running, differences
from proxy.cli.audit import Audit, errors_of, failures, findings_of_file
from proxy.cli.call_result import CallResult
from proxy.cli.check_document import document, document_of_file
from proxy.cli.check_fetch import probe_with_progress
from proxy.cli.check_report import print_calls, print_comparison, print_findings, print_report
from proxy.cli.client import key_from, refuse_admin_key_without
from proxy.cli.terminal import Failure, out, print_json
from proxy.cli.text import available, count
from proxy.clock import SystemClock
from proxy.config import Config, ConfigError, read
from proxy.config.hints import did_you_mean
from proxy.printable import printable
from proxy.upstream.event_loop import EventLoop

_DIFFERENT = 3
"""The exit code if the running server differs from the file."""


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The file to validate.",
)  # fmt: skip
@click.option("--key", metavar="NAME", help="Show the model list of this key, or of a group (`group:NAME`).")
@click.option(
    "--against", metavar="URL", help="Compare the file with the running server at this URL, with an admin key."
)
@click.option(
    "--admin-key", "admin_key", envvar="MODELS_PROXY_KEY", show_envvar=True, prompt="API key", prompt_required=False,
    hide_input=True, help="API key for --against. Values on the command line are visible to other users.",
)  # fmt: skip
@click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the API key for --against from this file.")
@click.option(
    "--call",
    "model",
    metavar="MODEL",
    help="Send a small call of this model to each of its providers. May cost money.",
)
@click.option("--offline", is_flag=True, help="Validate the file only. No provider is contacted.")
@click.option(
    "--strict", is_flag=True, help="Also fail if any provider fails, is skipped, or has an incomplete or empty list."
)
@click.option(
    "--retries", type=click.IntRange(0, 10), default=0, show_default=True,
    help="Maximum number of retries per provider after a failed attempt.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
@click.pass_context
def check(
    context: click.Context,
    path: Path,
    key: str | None,
    against: str | None,
    admin_key: str | None,
    key_file: Any,
    model: str | None,
    offline: bool,
    strict: bool,
    retries: int,
    as_json: bool,
) -> None:
    """Validate config.yaml and preview the model list.

    Validates the file, fetches the list of every provider (one attempt each), and merges the lists as the server does.
    Nothing is served or changed. A provider that cannot be reached is shown with the reason and the URL.

    With --offline only the file is validated: syntax, names and rules. Variables, key files and CA files may be
    missing (each is a warning), and nothing is contacted. Findings that do not depend on fetched lists are
    shown; with missing values, only those about validity dates of keys, empty rules and limits. Use it for pull
    requests and in ExecStartPre.

    With --against the file is compared with a running server, before it is applied: models that are added, removed or
    changed (owner, created, facts, order of providers), and keys that see other models. Providers whose list is missing
    on one of both sides are not compared.

    With --call one small call is sent to each provider of the model, with the credentials, ids and parameters of the
    file: one token of output (16 for models that do not accept `max_tokens`), 30 s at most, no failover. Providers may
    charge for it. With --key only the providers that the key can use are called.

    \b
    Exit code: 0  no errors
               1  the file has errors; a provider failed that is not
                  `optional: true`; or a pattern with `[` that should hide
                  models matches none (finding hides_nothing).
                  With --strict also: an optional provider failed, or a
                  provider is skipped, has no models or an incomplete
                  list
                  With --call also: a call failed
               2  usage error
               3  no errors, but the running server differs (--against)

    \b
    Examples:
      models-proxy check
      models-proxy check --config /etc/models-proxy.yaml --key alice
      models-proxy check --offline
      MODELS_PROXY_KEY=... models-proxy check --against http://127.0.0.1:8000
      models-proxy check --call gpt-4o
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
                 expires_soon, not_yet_valid, matches_nothing, hides_nothing,
                 inaccessible, differs_in_case, looks_denied, not_kept
      against    null without --against, else {url, same, generation:
                 {running, file}, not_compared: [{provider, reason}],
                 models: {added: [id], removed: [id], changed: [{id, fields:
                 {name: {running, file}}}]}, keys: {added: [name], removed:
                 [name], changed: [{name, models: {running, file}, settings,
                 added, removed, rerouted}]}}; settings: admin, call, expires,
                 not_before, allowed_ips and limits, if they change; the three
                 lists of ids are null beyond 20 different changes
      calls      null without --call, else [{provider, id, target, state,
                 path, status, seconds, tokens: {input, output} or null,
                 error: {code, message} or null}]; state: ok, limited (429),
                 failing, not_callable
    With --offline all fields after `warnings` except `findings` are empty
    or null.
    """
    others = {"--key": key is not None, "--strict": strict, "--retries": retries > 0}
    _refuse_conflicts(offline, {**others, "--against": against is not None, "--call": model is not None})
    if against is not None and model is not None:
        raise click.UsageError("--against and --call are mutually exclusive.")
    if against is None:
        refuse_admin_key_without("--against", context)
    config = read_or_fail(path, offline=offline, as_json=as_json)
    for warning in config.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    if offline:
        _report_offline(config, path, as_json=as_json)
    else:
        require_key(config, key)
        running = Running(against, key_from(context, admin_key, key_file, "admin_key")) if against is not None else None
        _check_providers(config, key, running, model, strict=strict, retries=retries, as_json=as_json)


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
    """Print the findings that need no list of a provider. Raises Failure if there are errors among them."""
    findings = findings_of_file(config, SystemClock().time())
    if as_json:
        print_json(document_of_file((), config.warnings, findings))
    else:
        out().print(f"{path} is valid; no provider was contacted")
        if findings:
            print_findings(findings, out())
    if errors := errors_of(findings):
        raise Failure("; ".join(map(str, errors)))


def _check_providers(
    config: Config,
    key: str | None,
    running: Running | None,
    model: str | None,
    *,
    strict: bool,
    retries: int,
    as_json: bool,
) -> None:
    """Contact all providers and print the report. Raises Failure, for exit code 1."""
    audit = audited(config, retries=retries, quiet=as_json)
    errors = [*failures(audit, strict=strict)]
    found: Differences | None = None
    calls: Sequence[CallResult] | None = None if model is None else ()
    try:
        if running:
            found = differences(audit, running)
        if model is not None:
            calls = _calls(audit, model, key)
            if failed := [call.provider for call in calls if call.state not in ("ok", "not_callable")]:
                errors.append(f"calls failed: {', '.join(failed)}")
            elif not any(call.state == "ok" for call in calls):
                errors.append(f"no provider of {model} can be called")
    except Failure as failure:  # the report is printed in any case
        errors.append(failure.message)
    if as_json:
        print_json(document(audit, key, found=found, calls=calls, is_ok=not errors))
    elif found is not None:
        print_comparison(audit, found, out())
    elif calls is not None and model is not None:
        print_calls(audit, model, calls, out())
    else:
        print_report(audit, key, out())
    if errors:
        raise Failure("; ".join(errors))
    if found is not None and not found.is_empty:
        raise SystemExit(_DIFFERENT)


def _calls(audit: Audit, model: str, key: str | None) -> Sequence[CallResult]:
    """Call the model at each of its providers. Raises Failure."""
    from proxy.cli.check_call import TIMEOUT, call_each, offers_of  # needs 20 MiB that no other check needs

    offers = offers_of(audit, model, key)
    providers = count(len(offers), "provider")
    click.echo(f"Calling {printable(model)} at {providers} (timeout {TIMEOUT:g} s); this may cost money", err=True)
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(call_each(audit, model, offers, key, SystemClock()))


def audited(config: Config, *, retries: int = 0, quiet: bool = False) -> Audit:
    """Contact all providers. `quiet`: progress only on a terminal."""
    clock = SystemClock()
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        results = runner.run(probe_with_progress(config, clock, retries=retries, quiet=quiet))
    return Audit(config, results, clock.time())


def require_key(config: Config, key: str | None) -> None:
    """Raise click.BadParameter if neither a key nor a group (`group:staff`) has this name."""
    names = [known.name for known in config.keys]
    if key is not None and config.rules_of(key) is None:
        # The message does not repeat the value, which may be the key itself.
        hint = did_you_mean(key, names) or f"; {available(names)}"
        raise click.BadParameter(f"no such key{hint}", param_hint="'--key'")

"""`models-proxy usage`: the usage of callers of a running server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from proxy.cli.client import admin_url, connection_options, decoded, get, key_from, list_url
from proxy.cli.terminal import out, print_json, show_table
from proxy.cli.text import count
from proxy.printable import printable_lines
from proxy.telemetry.usage_rows import OTHER_CALLERS

_LABELS = {
    "hour": "hour (UTC)",
    "day": "day",
    "key": "key",
    "model": "model",
    "provider": "provider",
    "requests": "requests",
    "failed": "failed",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "last_used": "last used",
}
"""Field of a row -> heading of its column."""
_TEXTS = ("key", "model", "provider")
_WORDS = {
    ("key", ""): "(no key)",
    ("key", OTHER_CALLERS): "(other)",
    ("model", ""): "(unknown)",
    ("provider", ""): "(none)",
}
"""Field and value -> the text of the cell, for values that are no names."""


class _Total(msgspec.Struct):
    requests: int
    failed: int
    input_tokens: int
    output_tokens: int


class _Usage(msgspec.Struct):
    data: list[dict[str, str | int | None]]
    total: _Total


@click.command()
@connection_options
@click.option(
    "--from", "first", metavar="DATE", help="First day, like 2026-11-01. Default: 30 days, with the last one."
)
@click.option("--to", "last", metavar="DATE", help="Last day. Default: today.")
@click.option(
    "--by", default="key,model", show_default=True, metavar="FIELDS",
    help="Fields of each total, separated by commas: hour, day, key, model, provider.",
)  # fmt: skip
@click.option("--own", is_flag=True, help="Only the usage of this key, by day and model. No admin key is required.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV to stdout, with a header line.")
@click.pass_context
def usage(
    context: click.Context,
    url: str,
    key: str | None,
    key_file: Any,
    first: str | None,
    last: str | None,
    by: str,
    own: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show the calls and tokens of all keys of a running server. An admin key is required, unless --own is given.

    Days are those of the server's time zone (`server.timezone`).

    \b
    Exit code: 0  shown
               1  no response, or no admin key; a wrong date or field
               2  usage error

    \b
    Examples:
      models-proxy usage
      models-proxy usage --from 2026-11-01 --to 2026-11-30 --by key
      models-proxy usage --by day,provider --csv > usage.csv
      models-proxy usage --own

    \b
    --json: an object with these stable fields; more may be added:
      timezone, from, to
      complete  false without the usage that only the shared store
             (store.valkey) contains, because it is not available
      data   [{<fields of --by>, requests, failed, input_tokens,
             output_tokens, last_used}]; last_used with `key` only,
             null if it is not known
      total  {requests, failed, input_tokens, output_tokens}
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are mutually exclusive.")
    if own and context.get_parameter_source("by") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--own and --by are mutually exclusive.")
    query = {"format": "csv" if as_csv else "json"}
    query |= {name: value for name, value in (("from", first), ("to", last)) if value}
    if not own:
        query["by"] = by
    base = list_url(url).removesuffix("/models") if own else admin_url(url)
    response = get(f"{base}/usage", key_from(context, key, key_file), query)
    if "x-usage-incomplete" in response.headers:
        click.echo("incomplete: the shared store is not available, so usage of other replicas is missing", err=True)
    if as_csv:
        text = response.content.decode(errors="replace").replace("\r\n", "\n")
        click.echo(printable_lines(text), nl=False)
    elif as_json:
        print_json(decoded(response, dict[str, Any]))
    else:
        _show(decoded(response, _Usage))


def _show(shown: _Usage) -> None:
    if not shown.data:
        click.echo("no usage in this period", err=True)
        return
    output, fields = out(), [name for name in _LABELS if name in shown.data[0]]
    layouts = {"left": ("hour", "day", "last_used"), "fold": _TEXTS}
    columns = [
        (_LABELS[name], next((layout for layout, names in layouts.items() if name in names), "right"))
        for name in fields
    ]
    show_table(output, columns, [_row(row, fields) for row in shown.data])
    if output.is_terminal:
        total = shown.total
        output.print(
            f"{count(total.requests, 'request')}, {total.failed:,} failed; "
            f"{total.input_tokens:,} input and {total.output_tokens:,} output tokens"
        )


def _row(row: Mapping[str, str | int | None], fields: Sequence[str]) -> Sequence[str]:
    return [_cell(name, row.get(name)) for name in fields]


def _cell(name: str, value: str | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else _WORDS.get((name, value), value) or "-"

"""`models-proxy top`: providers, keys and calls of a running server as a table that is refreshed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from proxy.cli.client import connection_options, decoded, key_from
from proxy.cli.terminal import Output, out, print_json
from proxy.cli.top.layout import Line
from proxy.cli.top.status import Fetch, fetch_document, status_in
from proxy.cli.top.view import View, table_of
from proxy.clock import SystemClock
from proxy.config.fields import Seconds
from proxy.printable import printable

_SHORTEST, _LONGEST = 0.5, 3600.0
_SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


class _Interval(click.ParamType[float]):
    """A duration as in the configuration -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = _SECONDS.validate_python(value)
        except ValidationError:
            seconds = 0.0
        if not _SHORTEST <= seconds <= _LONGEST:
            self.fail("must be a duration from 500ms to 1h, like 2s", param, ctx)
        return seconds


@click.command()
@connection_options
@click.option(
    "--interval", type=_Interval(), default="2s", show_default=True, help="Time between two requests, like 500ms or 5s."
)
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout, and exit.")
@click.pass_context
def top(
    context: click.Context, url: str, key: str | None, key_file: Any, interval: float, once: bool, as_json: bool
) -> None:
    """Watch providers, keys and calls of a running server. An admin key is required.

    Entries that need attention come first. Rates cover the last 60 seconds, times to first byte (p50, p95) those of
    the last full minute with calls. Narrow terminals show fewer columns, short ones fewer rows. Without a terminal, one
    table is printed, with all columns and rows.

    \b
    Keys: q, Ctrl-C  quit
          s          sort by attention, calls, errors, first byte, name
          p, space   pause, continue

    \b
    Exit code: 0  shown
               1  no response to the first request, or no admin key; later
                  requests that fail are retried
               2  usage error

    \b
    Examples:
      models-proxy top
      models-proxy top --url https://llm.example.com --key-file ~/.key
      models-proxy top --once
      models-proxy top --json | jq '.attention[] | [.provider, .reason]'

    \b
    --json: /status.json of the server; its fields are documented in
      docs/status.md
    """
    secret = key_from(context, key, key_file)
    response = fetch_document(url, secret)
    if as_json:
        print_json(decoded(response, dict[str, Any]))
        return
    view = View(printable(url), status_in(response))
    output = out()
    if once or not output.can_redraw or find_spec("termios") is None:
        _print(table_of(view, output.width), output)
    else:
        _watch(view, lambda: status_in(fetch_document(url, secret)), output, interval)


def _print(lines: Sequence[Line], output: Output) -> None:
    for line in lines:
        output.write("".join(map(output.style, line)) + "\n")


def _watch(view: View, fetch: Fetch, output: Output, interval: float) -> None:
    from proxy.cli.top.screen import opened  # not on Windows
    from proxy.cli.top.watch import ThreadedRequests, watch

    try:
        with opened(output, sys.stdin, sys.stdout) as screen:
            watch(view, screen, ThreadedRequests(fetch, screen.wake), SystemClock.monotonic, interval)
    except KeyboardInterrupt:
        return

"""`models-proxy reload`: make a running server read its configuration again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from proxy.cli.client import admin_url, connection_options, decoded, key_from, post
from proxy.cli.terminal import out, print_json


class _Reloaded(msgspec.Struct):
    generation: str
    changed: Mapping[str, Any] | None = None
    """Section -> names, or what happened -> names or their number; None if nothing has changed."""
    restart_needed: Sequence[str] = ()


@click.command()
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
@click.pass_context
def reload(context: click.Context, url: str, key: str | None, key_file: Any, as_json: bool) -> None:
    """Make a running server read its configuration files now. An admin key is required.

    Without this command, the server reads files that have changed within seconds, unless `server.reload` is `signal` or
    `off`. If the files have errors, nothing is changed, and the errors are printed.

    \b
    Exit code: 0  the configuration in the files is in use
               1  the files have errors; no response, or no admin key
               2  usage error

    \b
    Examples:
      models-proxy reload
      models-proxy reload --url https://llm.example.com --key-file ~/.key
      models-proxy reload --json | jq -r .generation

    \b
    --json: an object with these stable fields; more may be added:
      generation      of the configuration that is in use
      changed         {providers: {added, removed, changed: [name]},
                      keys: {added, removed, changed: number},
                      sections: [name]}, null if nothing has changed
      restart_needed  [setting]: changed settings that need a restart
    """
    response = post(f"{admin_url(url)}/reload", key_from(context, key, key_file))
    reloaded = decoded(response, _Reloaded)
    if as_json:
        print_json(msgspec.json.decode(response.content))
        return
    what = "unchanged" if reloaded.changed is None else "reloaded"
    out().print(f"configuration {what}: generation {reloaded.generation}")
    for line in _changes(reloaded.changed or {}):
        out().print(f"  {line}")
    if reloaded.restart_needed:
        click.echo(f"warning: restart the server to apply {', '.join(reloaded.restart_needed)}", err=True)


def _changes(changed: Mapping[str, Any]) -> Iterator[str]:
    for section, what in changed.items():
        for how, names in what.items() if isinstance(what, dict) else [("changed", what)]:
            if names:
                yield f"{section} {how}: {', '.join(map(str, names)) if isinstance(names, list) else names}"

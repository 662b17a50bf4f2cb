"""`models-proxy refresh`: fetch the model lists of a running server's providers now."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from proxy.cli.client import admin_url, connection_options, decoded, key_from, post
from proxy.cli.terminal import Failure, out, print_json, show_table


class _Provider(msgspec.Struct):
    name: str
    state: str
    models: int
    error: str | None = None
    refreshing: bool = False


class _Refreshed(msgspec.Struct):
    providers: list[_Provider]


@click.command()
@click.argument("provider", required=False)
@connection_options
@click.option("--accept", is_flag=True, help="Accept a list that is empty or much shorter at once, without waiting.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
@click.pass_context
def refresh(
    context: click.Context, provider: str | None, url: str, key: str | None, key_file: Any, accept: bool, as_json: bool
) -> None:
    """Fetch the model list of a PROVIDER, or of all, now. The server does it; an admin key is required.

    Without it, lists are refreshed before their `ttl` ends. An empty or much shorter list replaces the old one only
    after `confirm_empty`; with --accept at once.

    \b
    Exit code: 0  all lists were fetched
               1  a refresh failed or has not ended within 30 s; no such
                  provider; no response, or no admin key
               2  usage error

    \b
    Examples:
      models-proxy refresh
      models-proxy refresh openrouter
      models-proxy refresh lab --accept
      models-proxy refresh --url https://llm.example.com --key-file ~/.key

    \b
    --json: an object with these stable fields; more may be added:
      providers  [{name, state, models, error, refreshing}]; error: the reason
                 if the refresh failed, else null; refreshing: true if it has
                 not ended
    """
    query = {"provider": provider} if provider else {}
    if accept:
        query["accept"] = "true"
    response = post(f"{admin_url(url)}/refresh", key_from(context, key, key_file), query)
    refreshed = decoded(response, _Refreshed).providers
    if as_json:
        print_json(msgspec.json.decode(response.content))
    else:
        columns = [("provider", "fold"), ("state", "left"), ("models", "right"), ("error", "fold")]
        show_table(out(), columns, [(each.name, each.state, str(each.models), _error(each)) for each in refreshed])
    if failed := [each.name for each in refreshed if each.error or each.refreshing]:
        raise Failure(f"not refreshed: {', '.join(failed)}")


def _error(provider: _Provider) -> str:
    return "refresh still in progress" if provider.refreshing else provider.error or "-"

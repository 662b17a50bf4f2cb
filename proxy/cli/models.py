"""`models-proxy models`: the list of a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from proxy.access import Policy
from proxy.catalog import Offer
from proxy.cli.client import Response, connection_options, get, key_from, list_url
from proxy.cli.terminal import Failure, out, show_table
from proxy.cli.text import count, day, printable
from proxy.config.access_rules import RULES, split
from proxy.dialects.entry import Entry

_NOTES = {"x-models-stale": "old, because their provider fails", "x-models-missing": "missing at the moment"}

Listed = Mapping[str, Any]
"""A listed model as the server sent it, with a string `id` and `owned_by` and an integer `created`."""


class _Model(msgspec.Struct):
    id: str
    owned_by: str
    created: int


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_SORTS: Mapping[str, Callable[[Listed], tuple[Any, ...]]] = {
    "id": lambda model: (model["id"],),
    "owner": lambda model: (model["owned_by"], model["id"]),
    "created": lambda model: (model["created"], model["id"]),
}


@click.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@connection_options
@click.option("--sort", type=click.Choice(list(_SORTS)), default="id", show_default=True)
@click.option("--reverse", is_flag=True, help="The other way round: with `--sort created`, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="The models as the server sent them, as one JSON document.")
@click.pass_context
def models(
    context: click.Context,
    patterns: Sequence[str],
    url: str,
    key: str | None,
    key_file: Any,
    sort: str,
    reverse: bool,
    as_json: bool,
) -> None:
    """Show the models that a running models-proxy lists.

    A PATTERN is written as in config.yaml: `gpt-*` over ids, `owner:openai`, and `!` before either to leave out.

    \b
    Examples:
      models-proxy models
      models-proxy models 'gpt-*' owner:anthropic '!*-preview'
      models-proxy models --sort created --reverse | head
      models-proxy models --url https://models.example.com --key-file ~/.key
      MODELS_PROXY_KEY=... models-proxy models --json | jq -r '.data[].id'
    """
    allowed = _allowed(patterns)
    response = get(list_url(url), key_from(context, key, key_file))
    listed = [model for model in _read(response) if allowed.allows(_offer(model))]
    listed.sort(key=_SORTS[sort], reverse=reverse)
    _print_notes(response)
    if as_json:
        click.echo(msgspec.json.encode({"object": "list", "data": listed}))
    elif listed:
        _print_table(listed)
    else:
        click.echo("no model matches" if patterns else "the list is empty: this key may see nothing", err=True)


def _print_notes(response: Response) -> None:
    """Print what is missing or old, which the server says in headers: a count, or names."""
    for header, meaning in _NOTES.items():
        if names := response.headers.get(header):
            whose = count(int(names), "provider") if names.isdecimal() else printable(names)
            click.echo(f"note: models of {whose} are {meaning}", err=True)


def _print_table(listed: Sequence[Listed]) -> None:
    console = out()
    rows = [(model["id"], model["owned_by"], day(model["created"])) for model in listed]
    show_table(console, [("id", "fold"), ("owner", "fold"), ("created", "left")], rows)
    if console.is_terminal:
        console.print(count(len(listed), "model"))


def _allowed(patterns: Sequence[str]) -> Policy:
    for pattern in patterns:
        kind, _ = split(pattern.removeprefix("!"))
        if RULES[kind].per_provider:
            raise click.UsageError("a list does not say which provider a model is from; use `owner:...` or ids.")
    only_denied = all(pattern.startswith("!") for pattern in patterns)
    return Policy((*patterns, "*") if only_denied else patterns)


def _offer(model: Listed) -> Offer:
    entry = Entry(model["id"], created=model["created"], extra=msgspec.json.encode(model))
    return Offer(model["id"], "", model["owned_by"], entry)


def _read(response: Response) -> list[Listed]:
    try:
        listed = msgspec.json.decode(response.content, type=_List).data
        for raw in listed:
            msgspec.json.decode(raw, type=_Model)
        return [msgspec.json.decode(raw) for raw in listed]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = printable(response.headers.get("content-type", "no content-type"))
        raise Failure(
            f"{response.url} answers with something that is no list of models ({content}); is this a models-proxy?"
        ) from None

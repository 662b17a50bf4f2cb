"""`models-proxy models`: the model list of a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from proxy.access import Policy
from proxy.catalog import Offer
from proxy.catalog.offer_facts import facts_of
from proxy.cli.client import Response, connection_options, get, key_from, list_url
from proxy.cli.terminal import Failure, out, show_table
from proxy.cli.text import count, day
from proxy.config.access_rules import RULES, split
from proxy.dialects.entry import Entry
from proxy.printable import printable, printable_json

_WARNINGS = {
    "x-models-stale": "{are} failing{names}; {its} models come from a stale cache",
    "x-models-missing": "{are} failing{names}; {its} models are missing from this list",
    "x-models-incomplete": "returned an incomplete list{names}; models may be missing",
}
"""Header with providers, by number or by name -> what follows their number in a warning."""

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
@click.option("--reverse", is_flag=True, help="Reverse the order (with `--sort created`: newest first).")
@click.option("--json", "as_json", is_flag=True, help="Print the models as one JSON document, with all fields.")
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
    """List the models of a running server.

    A PATTERN has the syntax of access rules in config.yaml: `gpt-*` matches ids, `owner:openai` matches owners, and a
    leading `!` excludes.

    \b
    Exit code: 0  shown, also if no model matches
               1  no response, or none that contains a model list
               2  usage error

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
    _print_warnings(response)
    if as_json:
        click.echo(printable_json(msgspec.json.encode({"object": "list", "data": listed}).decode()).encode())
    elif listed:
        _print_table(listed)
    else:
        click.echo("no models match" if patterns else "the list is empty: no access to any model", err=True)


def _print_warnings(response: Response) -> None:
    """Print which parts of the list are stale or missing. The headers contain a number, or names for admins."""
    for header, warning in _WARNINGS.items():
        if value := response.headers.get(header):
            number = int(value) if value.isdecimal() else value.count(",") + 1
            names = "" if value.isdecimal() else f" ({printable(value)})"
            are, its = ("is", "its") if number == 1 else ("are", "their")
            text = warning.format(are=are, its=its, names=names)
            click.echo(f"warning: {count(number, 'provider')} {text}", err=True)


def _print_table(listed: Sequence[Listed]) -> None:
    output = out()
    rows = [(model["id"], model["owned_by"], day(model["created"])) for model in listed]
    show_table(output, [("id", "fold"), ("owner", "fold"), ("created", "left")], rows)
    if output.is_terminal:
        output.print(count(len(listed), "model"))


def _allowed(patterns: Sequence[str]) -> Policy:
    for pattern in patterns:
        name, value = split(pattern.removeprefix("!"))
        kind = RULES[name]
        if problem := kind.problem(value) if kind.problem else "":
            raise click.UsageError(f"{pattern}: {problem}")
        if kind.per_provider:
            raise click.UsageError(
                "`provider:` is not supported here: a list does not contain providers; use ids or `owner:...`."
            )
    only_denied = all(pattern.startswith("!") for pattern in patterns)
    return Policy((*patterns, "*") if only_denied else patterns)


def _offer(model: Listed) -> Offer:
    entry = Entry(model["id"], created=model["created"], extra=msgspec.json.encode(model))
    offer = Offer(model["id"], "", model["owned_by"], entry)
    return replace(offer, facts=facts_of(offer))


def _read(response: Response) -> list[Listed]:
    try:
        listed = msgspec.json.decode(response.content, type=_List).data
        for raw in listed:
            msgspec.json.decode(raw, type=_Model)
        return [msgspec.json.decode(raw) for raw in listed]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = printable(response.headers.get("content-type", "no content-type"))
        what = f"not a model list ({content}); is this the URL of a models-proxy server?"
        raise Failure(f"{response.url}: invalid response: {what}") from None

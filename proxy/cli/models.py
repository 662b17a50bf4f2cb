"""`models-proxy models`: the list of a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import msgspec
from click.core import ParameterSource
from pydantic import TypeAdapter, ValidationError

from proxy import __version__
from proxy.access import Policy
from proxy.catalog import Offer
from proxy.cli.terminal import Failure, out, show_table
from proxy.cli.text import count, day, printable
from proxy.config.access_rules import RULES, split
from proxy.config.fields import Url
from proxy.dialects.entry import Entry
from proxy.upstream.errors import from_exception

TIMEOUT = 30.0
"""Seconds: a server that has just started responds when `initial_wait` has passed."""

_URL: TypeAdapter[str] = TypeAdapter(Url)
_NOTES = {"x-models-stale": "old, because their provider fails", "x-models-missing": "missing at the moment"}


Listed = Mapping[str, Any]
"""A listed model as it was answered, with a text `id` and `owned_by` and a whole number `created`."""


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
@click.option(
    "--url", envvar="MODELS_PROXY_URL", show_envvar=True, default="http://127.0.0.1:8000", show_default=True,
    help="The server, with or without /v1.",
)  # fmt: skip
@click.option(
    "--key", envvar="MODELS_PROXY_KEY", show_envvar=True, prompt="Key", prompt_required=False, hide_input=True,
    help="Your key. Last and without a value, it is asked for; a value can be seen by others here.",
)  # fmt: skip
@click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the key from this file, `-` for stdin.")
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
    if key_file is not None:
        if key is not None and context.get_parameter_source("key") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--key and --key-file stand beside each other; keep one of them.")
        key = key_file.read().strip()
    wanted = _wanted(patterns)
    answer = _get(_list_url(url), key)
    listed = [model for model in _read(answer) if wanted.allows(_offer(model))]
    listed.sort(key=_SORTS[sort], reverse=reverse)
    for header, meaning in _NOTES.items():
        if names := answer.headers.get(header):
            whose = count(int(names), "provider") if names.isdecimal() else printable(names)
            click.echo(f"note: models of {whose} are {meaning}", err=True)
    if as_json:
        click.echo(msgspec.json.encode({"object": "list", "data": listed}))
        return
    if not listed:
        click.echo("no model matches" if patterns else "the list is empty: this key may see nothing", err=True)
        return
    where = out()
    rows = [(model["id"], model["owned_by"], day(model["created"])) for model in listed]
    show_table(where, [("id", "fold"), ("owner", "fold"), ("created", "left")], rows)
    if where.is_terminal:
        where.print(count(len(listed), "model"))


def _wanted(patterns: Sequence[str]) -> Policy:
    for pattern in patterns:
        kind, _ = split(pattern.removeprefix("!"))
        if RULES[kind].per_provider:
            raise click.UsageError("a list does not say which provider a model is from; use `owner:...` or ids.")
    only_leaves_out = all(pattern.startswith("!") for pattern in patterns)
    return Policy((*patterns, "*") if only_leaves_out else patterns)


def _offer(model: Listed) -> Offer:
    return Offer(model["id"], "", model["owned_by"], Entry(model["id"]))


def _list_url(url: str) -> str:
    """Where the list is: as for a client's base_url, `/v1` and `/models` may stand there or not."""
    try:
        base = _URL.validate_python(url).rstrip("/").removesuffix("/models").rstrip("/")
    except ValidationError:
        # Not repeated: a login may stand in it.
        text = "must be a URL like http://127.0.0.1:8000, without a login, `?` and `#`"
        raise click.BadParameter(text, param_hint="'--url'") from None
    return f"{base}/models" if urlsplit(base).path else f"{base}/v1/models"


def _get(url: str, key: str | None) -> httpx.Response:
    try:
        headers = {"User-Agent": f"models-proxy/{__version__}", **({"Authorization": f"Bearer {key}"} if key else {})}
        with httpx.Client(transport=httpx.HTTPTransport(), timeout=TIMEOUT, trust_env=False) as client:
            answer = client.get(url, headers=headers)
    except UnicodeEncodeError:
        raise Failure("the key holds what no header can; is it the right one?") from None
    except (httpx.HTTPError, OSError) as error:
        why = from_exception(error, TIMEOUT).reason
        hint = "start it with `models-proxy serve`, or name another one with --url or MODELS_PROXY_URL"
        raise Failure(f"{url}: {why}; {hint}") from None
    if answer.status_code != 200:
        raise Failure(_refusal(url, answer, with_key=bool(key)))
    return answer


def _refusal(url: str, answer: httpx.Response, *, with_key: bool) -> str:
    if answer.status_code == 401:
        what = "does not know this key, or it has expired" if with_key else "asks for a key"
        return f"{url} {what}; give one with --key-file, MODELS_PROXY_KEY, or --key, which asks for it (status 401)"
    if answer.status_code == 503:
        return f"{url} has heard no provider yet; try again later (status 503)"
    if answer.is_redirect:
        return f"{url} sends us elsewhere (status {answer.status_code}), which is not followed; mend --url"
    return f"{url} answers with status {answer.status_code}; is this the address of a models-proxy?"


def _read(answer: httpx.Response) -> list[Listed]:
    try:
        listed = msgspec.json.decode(answer.content, type=_List).data
        for raw in listed:
            msgspec.json.decode(raw, type=_Model)
        return [msgspec.json.decode(raw) for raw in listed]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = printable(answer.headers.get("content-type", "no content-type"))
        raise Failure(
            f"{answer.url} answers with something that is no list of models ({content}); is this a models-proxy?"
        ) from None

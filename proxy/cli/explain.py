"""`models-proxy explain`: why a model is listed, hidden or called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from proxy.api.explain import MAX_NAME
from proxy.cli.check import audited, read_or_fail, require_key
from proxy.cli.client import admin_url, decoded, get, key_from, refuse_admin_key_without
from proxy.cli.explain_text import print_explanation
from proxy.cli.terminal import out, print_json
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.explain.calls import NoCalls
from proxy.explain.context import Context, Lists, ProviderList
from proxy.explain.explanation import explaining
from proxy.explain.values import Explanation
from proxy.store.names import Lazy, name_index


@click.command()
@click.argument("model")
@click.option(
    "--key",
    "key_name",
    metavar="NAME",
    help="Explain what the API key of this name can access, or a group (`group:NAME`).",
)
@click.option("--no-key", is_flag=True, help="Explain what requests without an API key can access.")
@click.option(
    "--url", help="Query the running server at this URL, or unix:PATH, with an admin key. Without it, the file is used."
)
@click.option(
    "--admin-key", "admin_key", envvar="MODELS_PROXY_KEY", show_envvar=True, prompt="API key", prompt_required=False,
    hide_input=True, help="API key for --url. Values on the command line are visible to other users.",
)  # fmt: skip
@click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the API key for --url from this file.")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The file to use without --url.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
@click.pass_context
def explain(
    context: click.Context,
    model: str,
    key_name: str | None,
    no_key: bool,
    url: str | None,
    admin_key: str | None,
    key_file: Any,
    path: Path,
    as_json: bool,
) -> None:
    """Explain why a MODEL is listed, hidden or called.

    Shows which providers have it, which setting selects, removes or renames it, which rule allows or denies it for a
    key, where each field comes from, and to which provider a call is sent, each with file and line. For an unknown id
    it shows the most similar ones.

    Without --url, the lists of all providers are fetched (one attempt each), as `check` does; nothing is known of the
    state of calls then. With --url, the running server explains its current lists.

    \b
    Exit code: 0  the model was explained, also if it is unknown
               1  the file has errors; no response of the server, or no
                  admin key
               2  usage error

    \b
    Examples:
      models-proxy explain gpt-4o
      models-proxy explain gpt-4o --key alice
      MODELS_PROXY_KEY=... models-proxy explain gpt-4o --url http://127.0.0.1:8000
      models-proxy explain gpt-4o --json | jq .verdict
    """
    _check_name(model)
    if no_key and key_name is not None:
        raise click.UsageError("--key and --no-key are mutually exclusive.")
    key = "" if no_key else key_name
    if url is None:
        refuse_admin_key_without("--url", context)
        explanation = _from_file(path, model, key, as_json=as_json)
    else:
        explanation = _from_server(url, key_from(context, admin_key, key_file, "admin_key"), model, key)
    if as_json:
        print_json(msgspec.to_builtins(explanation))
    else:
        print_explanation(explanation, out())


def _check_name(model: str) -> None:
    """Raise click.BadParameter for what cannot be the name of a model."""
    if not 0 < len(model) <= MAX_NAME or any("\ud800" <= each <= "\udfff" for each in model):
        raise click.BadParameter(f"must be 1 to {MAX_NAME} characters of UTF-8", param_hint="'MODEL'")


def _from_server(url: str, admin_key: str | None, model: str, key: str | None) -> Explanation:
    query = {"model": model} if key is None else {"model": model, "key_name": key}
    return decoded(get(f"{admin_url(url)}/explain", admin_key, query), Explanation)


def _from_file(path: Path, model: str, key: str | None, *, as_json: bool) -> Explanation:
    config = read_or_fail(path)
    require_key(config, key or None)
    context = _context(config, quiet=as_json)
    caller = context.caller(key)
    assert caller is not None, "the key exists"
    return run_now(explaining(context, model, caller, context.names(caller)))


def _context(config: Config, *, quiet: bool) -> Context:
    """Fetch all lists."""
    audit = audited(config, quiet=quiet)
    sources = [result.source(audit.offers[result.provider.name]) for result in audit.results]
    providers = []
    for source, result in zip(sources, audit.results, strict=True):
        error = result.error or result.shortcoming
        dropped = result.fetched.dropped if result.fetched else {}
        providers.append(ProviderList(source, result.state, error.reason if error else "", dropped))
    index = Lazy(lambda: name_index(sources, config))
    return Context(config, Lists(providers, index), NoCalls(), audit.now)

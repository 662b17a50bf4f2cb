"""`models-proxy demo`: the complete proxy without an account, and commands to try it with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import click

from proxy.access import Policy
from proxy.cli.demo.upstreams import upstreams
from proxy.cli.serve import bound, start
from proxy.cli.startup import Screen, StartupReport
from proxy.config import Config, parse
from proxy.server.listeners import Listeners
from proxy.server.log import LogOptions
from proxy.server.process_setup import protect_process
from proxy.store import Store

HOST, PORT = "127.0.0.1", 8000
KEYS = {
    "ops": "access to all models, admin",
    "team": "models of openai and anthropic, except gpt-3.5-*",
    "solo": "models of the provider `backup` only",
}
"""Name of each key in the demo's config.yaml -> its access rules in words."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help=f"Port to listen on.  [default: {PORT}, or any free port]")
@click.option("--config", "shows_config", is_flag=True, help="Print the config.yaml of the demo and exit.")
def demo(port: int | None, shows_config: bool) -> None:
    """Run a demo without an account.

    Starts six simulated providers on this machine, one of which never responds, serves their merged list with three
    API keys, forwards calls to them, and prints commands to run in another terminal. Each command shows one feature.
    Press Ctrl-C to stop.

    \b
    Examples:
      models-proxy demo
      models-proxy demo --port 8080
      models-proxy demo --config
    """
    text = files("proxy.cli.demo").joinpath("config.yaml").read_text(encoding="utf-8")
    if shows_config:
        click.echo(text, nl=False)
        return
    protect_process()
    # Short, so that the commands fit a terminal: the keys are valid for this process only, and give access to examples
    # on loopback only.
    keys = {name: f"{name}-{secrets.token_urlsafe(6)}" for name in KEYS}
    upstream_key = secrets.token_urlsafe(16)
    with _bound(port) as listeners, upstreams(upstream_key) as upstream_port:
        given = {"UPSTREAM_PORT": str(upstream_port), "UPSTREAM_KEY": upstream_key}
        config = parse(text, "config.yaml", given | {f"{name.upper()}_KEY": key for name, key in keys.items()})
        start(config, partial(_Guide, config, keys), listeners, LogOptions(format="console"))


@contextmanager
def _bound(port: int | None) -> Iterator[Listeners]:
    with ExitStack() as stack:
        if port is not None:
            yield stack.enter_context(bound(HOST, port, hint="use --port to choose another port"))
            return
        try:
            listeners = stack.enter_context(bound(HOST, PORT))
        except click.ClickException:
            listeners = stack.enter_context(bound(HOST, 0))
        yield listeners


class _Guide(StartupReport):
    """The start table of `serve`, then the keys and commands to try."""

    def __init__(self, config: Config, keys: Mapping[str, str], screen: Screen | None) -> None:
        super().__init__(config, "demo", screen)
        self._keys = keys

    def print_example(self, url: str, store: Store) -> None:
        """Print the keys and all commands."""
        self.print("\nThree API keys, valid for this run:")
        for name, key in self._keys.items():
            self.print(f"  {key}  {' ' * (4 - len(name))}{KEYS[name]}")
        self.print("\nCommands for another terminal (the Python ones need `pip install openai`).")
        self.print("`models-proxy demo --config` prints the configuration.")
        etag = store.view(Policy(["*"])).status.etags[0].decode()
        for line in lines(url, self._keys, etag):
            self.print(f"\n# {line.shows}\n{line.command}")
        self.print("\nPress Ctrl-C to stop.")


@dataclass(frozen=True)
class Line:
    """A shell command, and the feature that it shows."""

    shows: str
    command: str


def lines(url: str, keys: Mapping[str, str], etag: str) -> Iterator[Line]:
    """The commands to try, in order. `etag`: of the complete list, uncompressed."""
    ops, team, solo = (keys[name] for name in KEYS)
    models = f"{url}/v1/models"
    yield Line("Merged: one model list from five providers, for any OpenAI client", _ids(url, ops))
    yield Line("Call: a streaming chat completion with the same `base_url` and API key", _chat(url, team))
    yield Line(
        "The same call with curl: server-sent events",
        f"curl -sNH api-key:{team} {url}/v1/chat/completions "
        """-d '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}],"stream":true}'""",
    )
    yield Line(
        "Two providers have this model: it is listed once, with its real creation time",
        f"curl -sH api-key:{ops} {models}/gpt-4o-mini; echo",
    )
    yield Line(
        "Owner: the provider returns `system`, the list contains the vendor",
        f"curl -sH api-key:{ops} {models}/DeepSeek-R1; echo",
    )
    yield Line("Access rules: the same list for the key `team`", _ids(url, team))
    yield Line(
        "A model that a key cannot access gets 404, like an unknown one",
        f"curl -sH api-key:{solo} {models}/DeepSeek-R1; echo",
    )
    yield Line(
        "A key for `backup` only gets the entry of `backup`, with a context_length",
        f"curl -sH api-key:{solo} {models}/gpt-4o-mini; echo",
    )
    yield Line("Requests without an API key get the models of the group `default`", f"curl -s {models}; echo")
    yield Line(
        "Versions: the Pangu API, with every field as returned by Pangu",
        f"curl -sH X-Auth-Token:{ops} {url}/v1/workspaces/demo/models/nlp/versions; echo",
    )
    yield Line(
        "Missing: a header names failing providers; the list does not wait for them",
        f"curl -sIH api-key:{ops} {models} | grep -i missing",
    )
    yield Line(
        "Health: `/health` shows admins why a provider fails",
        f"curl -sH api-key:{ops} {url}/health | grep -o 'slow[^}}]*'",
    )
    yield Line(
        "304: an unchanged list is not sent again",
        f"curl -sIH api-key:{ops} -H 'If-None-Match: {etag}' {models} | head -1",
    )


def _ids(url: str, key: str) -> str:
    """A command that lists models with the `openai` package."""
    client = f'OpenAI(base_url="{url}/v1", api_key="{key}")'
    return f"python3 -c 'from openai import OpenAI; [print(m.id, m.owned_by) for m in {client}.models.list()]'"


def _chat(url: str, key: str) -> str:
    """A command that streams a chat completion with the `openai` package."""
    client = f'OpenAI(base_url="{url}/v1", api_key="{key}")'
    return f"""python3 -c 'from openai import OpenAI
chat = {client}.chat.completions
for event in chat.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hi"}}], stream=True):
    print(event.choices[0].delta.content or "\\n", end="", flush=True)'"""

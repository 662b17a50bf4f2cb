"""`models-proxy demo`: the whole product without an account, and lines to try it with."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import click

from proxy.access import Policy
from proxy.cli.demo.upstreams import upstreams
from proxy.cli.serve import bind, start
from proxy.cli.startup import StartupReport, say
from proxy.config import Config, parse
from proxy.store import Store

HOST, PORT = "127.0.0.1", 8000
KEYS = {
    "ops": "may see everything, and is an admin",
    "team": "models of openai and anthropic, less gpt-3.5-*",
    "solo": "only what the provider `backup` has",
}
"""The keys by their names in the demo's config.yaml, and what they are for."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help=f"Listen here.  [default: {PORT}, or any free port]")
@click.option("--config", "shows_config", is_flag=True, help="Only print the config.yaml that the demo serves.")
def demo(port: int | None, shows_config: bool) -> None:
    """Try everything without an account.

    Starts six small providers on this machine, one of which hangs, serves their merged list with three keys, passes
    calls on to them, and prints lines to paste into another terminal. Each line shows one thing. Ctrl-C ends it.

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
    sockets = _bind(port)
    # Short, so that the lines fit a terminal: they end with this process, and open nothing but examples on loopback.
    keys = {name: f"{name}-{secrets.token_urlsafe(6)}" for name in KEYS}
    upstream_key = secrets.token_urlsafe(16)
    with upstreams(upstream_key) as upstream_port:
        given = {"UPSTREAM_PORT": str(upstream_port), "UPSTREAM_KEY": upstream_key}
        config = parse(text, "config.yaml", given | {f"{name.upper()}_KEY": key for name, key in keys.items()})
        start(config, _Guide(config, keys), sockets)


def _bind(port: int | None) -> list[socket.socket]:
    if port is not None:
        return bind(HOST, port, "--port names another one")
    try:
        return bind(HOST, PORT)
    except click.ClickException:
        return bind(HOST, 0)


class _Guide(StartupReport):
    """The rows of `serve`, then the keys and what to try with them."""

    def __init__(self, config: Config, keys: Mapping[str, str]) -> None:
        super().__init__(config, "demo")
        self._keys = keys

    def invite(self, url: str, store: Store) -> None:
        """Everything that there is to try."""
        say("\nThree keys, made for this run:")
        for name, key in self._keys.items():
            say(f"  {key}  {' ' * (4 - len(name))}{KEYS[name]}")
        say("\nPaste these into another terminal; Python needs `pip install openai`.")
        say("`models-proxy demo --config` shows the file behind it.")
        etag = store.view(Policy(["*"])).rendered.etags["identity"].decode()
        for line in lines(url, self._keys, etag):
            say(f"\n# {line.shows}\n{line.command}")
        say("\nCtrl-C ends the demo.")


@dataclass(frozen=True)
class Line:
    """One line for a shell, and the one thing that it shows."""

    shows: str
    command: str


def lines(url: str, keys: Mapping[str, str], etag: str) -> Iterator[Line]:
    """What to try, in an order that tells a story. `etag`: of the whole list, as it is answered uncompressed."""
    ops, team, solo = (keys[name] for name in KEYS)
    models = f"{url}/v1/models"
    yield Line("Merged: one list from five providers, for any OpenAI client", _ids(url, ops))
    yield Line("Call: a streamed answer through the same `base_url`, with the same key", _chat(url, team))
    yield Line(
        "The same call without a client, as it comes over the wire",
        f"""curl -sNH api-key:{team} {url}/v1/chat/completions -d '{{"model":"gpt-4o-mini","stream":true}}'""",
    )
    yield Line(
        "Two providers have this model: it is listed once, with the only true date",
        f"curl -sH api-key:{ops} {models}/gpt-4o-mini; echo",
    )
    yield Line(
        "Owner: the provider says `system`, the list says who made it",
        f"curl -sH api-key:{ops} {models}/DeepSeek-R1; echo",
    )
    yield Line("Key rules: the same list for the key `team`", _ids(url, team))
    yield Line(
        "What a key may not see does not exist for it",
        f"curl -sH api-key:{team} {models}/DeepSeek-R1; echo",
    )
    yield Line(
        "A key for `backup` alone gets the entry of `backup`: it has a context_length",
        f"curl -sH api-key:{solo} {models}/gpt-4o-mini; echo",
    )
    yield Line("Who brings no key sees the group `default`", f"curl -s {models}; echo")
    yield Line(
        "Versions: the Pangu contract, every field as Pangu sent it",
        f"curl -sH X-Auth-Token:{ops} {url}/v1/workspaces/demo/models/nlp/versions; echo",
    )
    yield Line(
        "Missing: the list says who has not answered, and does not wait for them",
        f"curl -sIH api-key:{ops} {models} | grep -i missing",
    )
    yield Line(
        "Why: `/health` tells an admin",
        f"curl -sH api-key:{ops} {url}/health | grep -o 'slow[^}}]*'",
    )
    yield Line(
        "304: who has the list already gets no second one",
        f"curl -sIH api-key:{ops} -H 'If-None-Match: {etag}' {models} | head -1",
    )


def _ids(url: str, key: str) -> str:
    """The list as the `openai` package reads it."""
    client = f'OpenAI(base_url="{url}/v1", api_key="{key}")'
    return f"python3 -c 'from openai import OpenAI; [print(m.id, m.owned_by) for m in {client}.models.list()]'"


def _chat(url: str, key: str) -> str:
    """A call as the `openai` package makes it; what comes is printed when it comes."""
    client = f'OpenAI(base_url="{url}/v1", api_key="{key}")'
    return f"""python3 -c 'from openai import OpenAI
chat = {client}.chat.completions
for event in chat.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hi"}}], stream=True):
    print(event.choices[0].delta.content or "\\n", end="", flush=True)'"""

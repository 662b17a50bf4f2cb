"""The command line: the group of all commands."""

from __future__ import annotations

import sys
from importlib import import_module
from types import TracebackType

import click

from proxy import __version__
from proxy.errors import describe_bug

COMMANDS = {
    "demo": "proxy.cli.demo.command",
    "serve": "proxy.cli.serve",
    "check": "proxy.cli.check",
    "keygen": "proxy.cli.keygen",
    "keys": "proxy.cli.keys",
    "models": "proxy.cli.models",
    "explain": "proxy.cli.explain",
    "usage": "proxy.cli.usage",
    "top": "proxy.cli.top.command",
    "health": "proxy.cli.health",
    "refresh": "proxy.cli.refresh",
    "reload": "proxy.cli.reload",
    "schema": "proxy.cli.schema",
    "completion": "proxy.cli.completion",
}
"""Name -> module with a command of this name."""


class Commands(click.Group):
    """Imports the module of a command on first use: all modules together would cost a server 6 MiB."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="models-proxy")
def main() -> None:
    """OpenAI-compatible aggregating proxy for LLM providers.

    \b
    Examples:
      models-proxy demo                         run a demo without an account
      models-proxy check                        validate config.yaml
      models-proxy serve                        start the server
      models-proxy keygen --name alice          generate an API key
      models-proxy keys add alice --group staff add an API key to config.yaml
      models-proxy models 'gpt-*'               list models of a running server
      models-proxy explain gpt-4o               explain how a model is listed
      models-proxy usage --by key               show calls and tokens per key
      models-proxy top                          watch providers, keys and calls
      eval "$(models-proxy completion bash)"    enable completion (or zsh, fish)
    """
    sys.excepthook = _print_bug


def _print_bug(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    """Print an exception that nothing handles. Python would print its text, which may contain a secret."""
    click.echo(f"internal error: {describe_bug(error)}", err=True)

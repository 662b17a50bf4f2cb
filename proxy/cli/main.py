"""The command line: its commands, and nothing else."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from proxy import __version__

# Importing httpx imports its command line client, and with it rich and pygments, unless that import fails, which httpx
# handles. No command uses that client; with it, a server takes 3.5 MiB more, which exceeds its 80 MiB, and starts 60 ms
# later.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

COMMANDS = {
    "demo": "proxy.cli.demo.command",
    "serve": "proxy.cli.serve",
    "check": "proxy.cli.check",
    "keygen": "proxy.cli.keygen",
    "models": "proxy.cli.models",
    "completion": "proxy.cli.completion",
}
"""Name -> module with a command of this name."""


class Commands(click.Group):
    """Imports the module of a command when it is called. The modules of the others would cost a server 6 MiB."""

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
    """One OpenAI-compatible model list in front of many providers.

    \b
    Examples:
      models-proxy demo                           try it without an account
      models-proxy check                          what config.yaml would list
      models-proxy serve                          serve it
      models-proxy keygen --name alice            a key for a client
      models-proxy models 'gpt-*'                 the list of a running server
      eval "$(models-proxy completion bash)"      completion (or zsh, fish)
    """

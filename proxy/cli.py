"""The command line: its commands, and nothing else."""

from __future__ import annotations

import click

from proxy import __version__
from proxy.commands.check import check
from proxy.commands.completion import completion
from proxy.commands.demo import demo
from proxy.commands.keygen import keygen
from proxy.commands.models import models
from proxy.commands.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for command in (demo, serve, check, keygen, models, completion):
    main.add_command(command)

"""The command line: its commands, and nothing else."""

from __future__ import annotations

import click

from proxy import __version__
from proxy.commands.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="models-proxy")
def main() -> None:
    """One OpenAI-compatible model list in front of many providers."""


main.add_command(serve)

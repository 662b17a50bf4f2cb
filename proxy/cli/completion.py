"""`models-proxy completion`: shell completion of commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell completion script.

    \b
    Examples:
      eval "$(models-proxy completion bash)"                in ~/.bashrc
      eval "$(models-proxy completion zsh)"                 in ~/.zshrc
      models-proxy completion fish > ~/.config/fish/completions/models-proxy.fish
    """
    make = get_completion_class(shell)
    assert make is not None, "click supports all of SHELLS"
    click.echo(make(context.find_root().command, {}, "models-proxy", "_MODELS_PROXY_COMPLETE").source())

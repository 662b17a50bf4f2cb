"""`models-proxy keygen`: a new API key for a client, and its entry for config.yaml."""

from __future__ import annotations

import hashlib
import secrets

import click
from pydantic import TypeAdapter, ValidationError

from proxy.config.fields import Name

PREFIX = "mp-"
"""Makes a leaked key recognizable."""
RANDOM_BYTES = 32

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def generate() -> tuple[str, str]:
    """A new API key, and its digest as written in config.yaml."""
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return key, "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def problem_of(name: str) -> str:
    """Why a name of a key is not valid, "" if it is."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return ""


@click.command()
@click.option("--name", default="new-key", show_default=True, help="Name of the key in config.yaml.")
def keygen(name: str) -> None:
    """Generate an API key for a client and print it once.

    The key itself is not stored: config.yaml contains only its digest. No file is read or written.

    \b
    Examples:
      models-proxy keygen
      models-proxy keygen --name alice
    """
    if problem := problem_of(name):
        raise click.BadParameter(problem, param_hint="'--name'")
    key, digest = generate()
    click.echo(
        f"""\
New API key (shown once; store it now):

  {key}

SHA-256 digest (safe to commit):

  {digest}

Add this entry to config.yaml (omit the first line if the file has `keys:`),
and set its access rules: `models: [...]`, or `group: NAME` instead:

keys:
  - {{name: "{name}", hash: "{digest}", models: ["*"]}}

The server applies the change within seconds. Clients send the key as `Authorization: Bearer <key>`."""
    )

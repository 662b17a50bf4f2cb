"""`models-proxy keygen`: a new key for a client, and the lines to paste."""

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


@click.command()
@click.option("--name", default="new-key", show_default=True, help="What the key is called in config.yaml.")
def keygen(name: str) -> None:
    """Make a new key for a client, and show it once.

    The key is not kept anywhere: config.yaml holds only its digest. Nothing is read or written.

    \b
    Examples:
      models-proxy keygen
      models-proxy keygen --name alice
    """
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(text, param_hint="'--name'") from None
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    digest = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    click.echo(
        f"""\
The key, for whoever will use it. It is shown only now:

  {key}

Its digest, which tells nobody the key:

  {digest}

Paste this into config.yaml, without its first line if `keys:` stands there
already, and say what it may see: `models: [...]`, or `group: ...` instead:

keys:
  - {{name: "{name}", hash: "{digest}", models: ["*"]}}

Then start the proxy again. The key is sent as `Authorization: Bearer <key>`."""
    )

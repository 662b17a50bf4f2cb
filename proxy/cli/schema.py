"""`models-proxy schema`: the JSON Schema of config.yaml, for editors."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import click

from proxy.config.documents import INCLUDABLE

_FILE = "config.schema.json"


@click.command()
@click.option("--included", is_flag=True, help="The schema of a file that `include` names, instead of the main file.")
def schema(included: bool) -> None:
    """Print the JSON Schema (2020-12) of config.yaml.

    Editors with the YAML language server complete and check a file with it, if its first line is
    `# yaml-language-server: $schema=config.schema.json`.

    `models-proxy check` also finds what a schema cannot express.

    \b
    Examples:
      models-proxy schema > config.schema.json
      models-proxy schema --included > keys/keys.schema.json
    """
    click.echo(json.dumps(included_schema() if included else main_schema(), indent=1, ensure_ascii=False).encode())


def main_schema() -> dict[str, Any]:
    """The schema of the main file. It is generated from the configuration model (`scripts/write_schema.py`)."""
    text = files("proxy.cli").joinpath(_FILE).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def included_schema() -> dict[str, Any]:
    schema = main_schema()
    schema["title"] = "Included configuration of models-proxy"
    schema["properties"] = {name: schema["properties"][name] for name in INCLUDABLE}
    return schema

"""What a text or the fields of a model become: values, or problems in the words that an operator reads."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from proxy.config import Config, ConfigError, Provider, parse

CANARY = "sk-canary-1234567890"
DIGEST = "sha256:" + "0a" * 32
OTHER_DIGEST = "sha256:" + "0b" * 32
ENVIRON = {"API_KEY": CANARY, "CI_KEY": CANARY, "HOST": "h.example", "LIST": "a,b"}
PROVIDER = """\
providers:
  - name: a
    base_url: http://h
"""
KEY = f"""\
{PROVIDER}keys:
  - name: k
    hash: {DIGEST}
"""
LIST = "must be a list: begin each entry with `- `, or write [ ] around them"
PAIRS = "must hold lines of `name: value`"
NO_VALUE = "has no value; give it one or take the line away"
STRING = "must be a string; put quotes around it"


def problems_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> list[str]:
    """All problems of a text in the words that an operator sees, [] if it has none."""
    made = outcome(text, environ, files)
    return [str(problem) for problem in made.problems] if isinstance(made, ConfigError) else []


def outcome(
    text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None
) -> Config | ConfigError:
    try:
        return parsed(text, environ, files)
    except ConfigError as error:
        return error


def parsed(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Config:
    """The configuration of a text; `files` are those that hold keys."""

    def read_secret(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return parse(text, environ=environ, read_secret=read_secret)


def provider_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Provider:
    (provider,) = parsed(text, environ, files).providers
    return provider


def refusals(model: type[BaseModel], **fields: object) -> list[str]:
    """Why a model refuses these fields, [] where it takes them."""
    try:
        model.model_validate(fields)
    except ValidationError as refused:
        return [error["msg"].removeprefix("Value error, ") for error in refused.errors()]
    return []

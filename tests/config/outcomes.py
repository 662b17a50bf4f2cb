"""Helpers that load a text or the fields of a model: values, or problems as shown to the operator."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from proxy.config import Config, ConfigError, Provider, parse

BEARER = "must not begin with `Bearer `; remove it: the proxy adds it"
QUOTES = "must not begin or end with a quote; remove the quotes: they are part of the value"
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
LIST = "must be a list: start each entry with `- `, or use [ ]"
PAIRS = "must be a mapping of `name: value` lines"
NO_VALUE = "has no value; set a value or remove the line"
STRING = "must be a string; add quotes"


def problems_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> list[str]:
    """All problems of a text as shown to the operator, [] if it has none."""
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
    """The configuration of a text; `files`: path -> content of its `api_key_file`s."""

    def read_secret(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return parse(text, environ=environ, read_secret=read_secret, is_installed=lambda library: True)


def provider_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Provider:
    (provider,) = parsed(text, environ, files).providers
    return provider


def rejections(model: type[BaseModel], **fields: object) -> list[str]:
    """The reasons why a model rejects these fields, [] if it accepts them."""
    try:
        model.model_validate(fields)
    except ValidationError as rejected:
        return [error["msg"].removeprefix("Value error, ") for error in rejected.errors()]
    return []

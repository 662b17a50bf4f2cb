"""HTTP requests of commands to a running models-proxy. Every failure is one sentence with a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import httpx
from click.core import ParameterSource
from pydantic import TypeAdapter, ValidationError

from proxy import __version__
from proxy.cli.terminal import Failure
from proxy.config.fields import Url
from proxy.upstream.errors import from_exception

TIMEOUT = 30.0
"""Seconds: a server that has just started responds when `initial_wait` has passed."""

_URL: TypeAdapter[str] = TypeAdapter(Url)
_OPTIONS = (
    click.option(
        "--url", envvar="MODELS_PROXY_URL", show_envvar=True, default="http://127.0.0.1:8000", show_default=True,
        help="The server, with or without /v1.",
    ),
    click.option(
        "--key", envvar="MODELS_PROXY_KEY", show_envvar=True, prompt="Key", prompt_required=False, hide_input=True,
        help="Your key. Last and without a value, it is asked for; a value can be seen by others here.",
    ),
    click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the key from this file, `-` for stdin."),
)  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Response:
    """A response with status 200."""

    url: str
    headers: Mapping[str, str]
    """Names in any case."""
    content: bytes


def connection_options(command: Command) -> Command:
    """Add --url, --key and --key-file: the parameters `url`, `key` and `key_file` of the command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def key_from(context: click.Context, key: str | None, key_file: Any) -> str | None:
    """The key of --key-file, --key or the environment, in this order. Raises click.UsageError if both are given."""
    if key_file is None:
        return key
    if key is not None and context.get_parameter_source("key") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--key and --key-file stand beside each other; keep one of them.")
    content: str = key_file.read()
    return content.strip()


def list_url(url: str) -> str:
    """The URL of the model list under a base URL, which may end in `/v1` and `/models` or not."""
    try:
        base = _URL.validate_python(url).rstrip("/").removesuffix("/models").rstrip("/")
    except ValidationError:
        # Not repeated: it may contain a password.
        text = "must be a URL like http://127.0.0.1:8000, without a login, `?` and `#`"
        raise click.BadParameter(text, param_hint="'--url'") from None
    return f"{base}/models" if urlsplit(base).path else f"{base}/v1/models"


def get(url: str, key: str | None) -> Response:
    """GET a URL of the server. Raises Failure without a response, and for every status but 200."""
    headers = {"User-Agent": f"models-proxy/{__version__}", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        with httpx.Client(transport=httpx.HTTPTransport(), timeout=TIMEOUT, trust_env=False) as client:
            response = client.get(url, headers=headers)
    except UnicodeEncodeError:
        raise Failure("the key holds what no header can; is it the right one?") from None
    except (httpx.HTTPError, OSError) as error:
        why = from_exception(error, TIMEOUT).reason
        hint = "start it with `models-proxy serve`, or name another one with --url or MODELS_PROXY_URL"
        raise Failure(f"{url}: {why}; {hint}") from None
    if response.status_code != 200:
        raise Failure(_refusal(url, response, with_key=bool(key)))
    return Response(url, response.headers, response.content)


def _refusal(url: str, response: httpx.Response, *, with_key: bool) -> str:
    status = response.status_code
    if status == 401:
        what = "does not know this key, or it has expired" if with_key else "asks for a key"
        return f"{url} {what}; give one with --key-file, MODELS_PROXY_KEY, or --key, which asks for it (status 401)"
    if status == 503:
        return f"{url} has heard no provider yet; try again later (status 503)"
    if response.is_redirect:
        return f"{url} sends us elsewhere (status {status}), which is not followed; mend --url"
    return f"{url} answers with status {status}; is this the address of a models-proxy?"

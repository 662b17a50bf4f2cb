"""HTTP requests of commands to a running models-proxy. Every failure is one sentence with a hint."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import httpx
import msgspec
from click.core import ParameterSource
from pydantic import TypeAdapter, ValidationError

from proxy import __version__
from proxy.cli.terminal import Failure
from proxy.config.addresses import UNIX, Url
from proxy.printable import printable
from proxy.upstream.errors import from_exception

TIMEOUT = 30.0
"""Seconds: a server that has just started responds after `initial_wait` at the latest."""
ACTION_TIMEOUT = 60.0
"""Seconds: the server waits for the end of what was requested, for at most half of it."""

_URL: TypeAdapter[str] = TypeAdapter(Url)
_UNIX_URL = re.compile(r"unix:/[^:?#\s]+(:/[^?#\s]*)?")
_OTHER_SERVER = "is this the URL of a models-proxy server?"
_OPTIONS = (
    click.option(
        "--url", envvar="MODELS_PROXY_URL", show_envvar=True, default="http://127.0.0.1:8000", show_default=True,
        help="URL of the server, with or without /v1; or unix:PATH of its socket.",
    ),
    click.option(
        "--key", envvar="MODELS_PROXY_KEY", show_envvar=True, prompt="API key", prompt_required=False, hide_input=True,
        help="API key. Prompts if given without a value. Values on the command line are visible to other users.",
    ),
    click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the API key from this file (`-`: stdin)."),
)  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


class RequestFailed(Failure):
    """There is no response, or none that a command can use."""

    def __init__(self, url: str, reason: str, hint: str = "", status: int | None = None) -> None:
        """`reason`: what happened, without the URL; `status`: of the response, None without one."""
        super().__init__(f"{url}: {reason}" + f"; {hint}" * bool(hint))
        self.url = url
        self.reason = reason
        self.status = status


@dataclass(frozen=True)
class Response:
    """A response with status 200."""

    url: str
    headers: Mapping[str, str]
    """Names in any case."""
    content: bytes


class _ErrorBody(msgspec.Struct):
    message: str = ""
    problems: Sequence[str] = ()
    """In the files of the configuration."""


class _Error(msgspec.Struct):
    error: _ErrorBody


def connection_options(command: Command) -> Command:
    """Add --url, --key and --key-file: the parameters `url`, `key` and `key_file` of the command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def key_from(context: click.Context, key: str | None, key_file: Any, parameter: str = "key") -> str | None:
    """The key of --key-file, --key or the environment, in this order. Raises click.UsageError if both are given.

    `parameter`: of the command, for the option with the key.
    """
    if key_file is None:
        return key
    if key is not None and context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--{parameter.replace('_', '-')} and --key-file are mutually exclusive.")
    content: str = key_file.read()
    return content.strip()


def refuse_admin_key_without(option: str, context: click.Context) -> None:
    """Raise click.UsageError for --admin-key or --key-file: without `option`, no request is sent."""
    for parameter in ("admin_key", "key_file"):
        if context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{parameter.replace('_', '-')} is used with {option} only.")


def list_url(url: str) -> str:
    """The URL of the model list under a base URL, which may end in `/v1` and `/models` or not."""
    base = _base(url)
    path = base.partition(":/")[2].partition(":")[2] if base.startswith(UNIX) else urlsplit(base).path
    return f"{base}/models" if path else f"{base}/v1/models"


def admin_url(url: str) -> str:
    """The URL below which the paths for admin keys are, under a base URL as in `list_url`."""
    return f"{_base(url).removesuffix('/v1')}/admin"


def status_url(url: str) -> str:
    """The URL of `/status.json`, under a base URL as in `list_url`."""
    return f"{_base(url).removesuffix('/v1')}/status.json"


def _base(url: str) -> str:
    """The URL without what `list_url` adds. That of a Unix socket is `unix:SOCKET:PATH`."""
    if _UNIX_URL.fullmatch(url):
        url = url if ":/" in url.removeprefix(UNIX) else f"{url}:"
        return url.rstrip("/").removesuffix("/models").rstrip("/")
    try:
        return _URL.validate_python(url).rstrip("/").removesuffix("/models").rstrip("/")
    except ValidationError:
        # The message does not repeat the URL, which may contain a password.
        text = "must be a URL like http://127.0.0.1:8000, or unix:PATH, without credentials, query or fragment"
        raise click.BadParameter(text, param_hint="'--url'") from None


def get(url: str, key: str | None, query: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> Response:
    """GET a URL of the server. Raises RequestFailed if there is no response, or if its status is not 200,
    and Failure for a key that cannot be sent.

    `query`: parameters, which messages do not contain.
    """
    return _request("GET", url, key, query, timeout)


def post(url: str, key: str | None, query: Mapping[str, str] | None = None) -> Response:
    """POST without a body. Raises Failure as `get` does."""
    return _request("POST", url, key, query, ACTION_TIMEOUT)


def _request(method: str, url: str, key: str | None, query: Mapping[str, str] | None, timeout: float) -> Response:
    headers = {"User-Agent": f"models-proxy/{__version__}", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        socket, target = _connection(url)
        transport = httpx.HTTPTransport(uds=socket, verify=_tls())
        with httpx.Client(transport=transport, timeout=timeout, trust_env=False) as client:
            response = client.request(method, target, params=query, headers=headers)
    except UnicodeEncodeError:
        raise Failure("invalid API key: it contains characters that HTTP headers cannot contain") from None
    except (httpx.HTTPError, OSError) as error:
        why = from_exception(error, timeout).reason
        hint = "start the server with `models-proxy serve`, or set --url or MODELS_PROXY_URL"
        raise RequestFailed(url, why, hint) from None
    if response.status_code != 200:
        raise _refusal(url, response, with_key=bool(key))
    return Response(url, response.headers, response.content)


@cache
def _tls() -> ssl.SSLContext:
    """As httpx creates it for each client, which takes 40 ms."""
    return httpx.create_ssl_context()


def _connection(url: str) -> tuple[str | None, str]:
    """The Unix socket to connect to, if it is one, and the URL to request there."""
    if not url.startswith(UNIX):
        return None, url
    socket, _, path = url.removeprefix(UNIX).partition(":")
    return socket, f"http://localhost{path}"


def _refusal(url: str, response: httpx.Response, *, with_key: bool) -> RequestFailed:
    status = response.status_code
    if status == 401:
        what = "API key rejected (401): it is invalid or has expired" if with_key else "API key required (401)"
        return RequestFailed(url, what, "use --key-file or MODELS_PROXY_KEY", status)
    error = _error_in(response)
    if error.message:
        lines = [f"{printable(error.message)} ({status})", *map(printable, error.problems)]
        return RequestFailed(url, "\n  ".join(lines), status=status)
    if status == 503:
        what = "no model list available (503): none has been fetched yet, or all have expired"
        return RequestFailed(url, what, "retry later", status)
    if response.is_redirect:
        what = f"unexpected redirect ({status}), which is not followed"
        return RequestFailed(url, what, "check --url", status)
    return RequestFailed(url, f"unexpected status {status}", _OTHER_SERVER, status)


def decoded(response: Response, kind: type[T]) -> T:
    """The values in a JSON response. Raises RequestFailed if it is something else."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestFailed(response.url, "invalid response", _OTHER_SERVER) from None


def _error_in(response: httpx.Response) -> _ErrorBody:
    """The error of the server, without a message if the response is none."""
    try:
        return msgspec.json.decode(response.content, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _ErrorBody()

"""`models-proxy health`: a probe for containers. It starts fast: no HTTP library, and no model of the configuration."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click

from proxy.cli.terminal import Failure
from proxy.printable import printable

_DEFAULT = "http://127.0.0.1:8000"
_SERVER = re.compile(r"(?ms)^server:.*?(?=^[^\s#]|\Z)")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})")
_WORD = re.compile(rb'"status":\s*"([a-z_]{1,20})"')
# Nothing listens here: these are names for all addresses, and the one to connect to.
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # nosec B104
_PORTS = {"http": 80, "https": 443}
_MAX_BYTES = 64 * 1024
_MAX_CHARACTERS = 5 * 1024 * 1024


@click.command()
@click.option(
    "--url", envvar="MODELS_PROXY_URL", show_envvar=True,
    help="URL of the server, or unix:PATH of its socket. Without it: `server.host` and `server.port` of --config, or "
    f"{_DEFAULT}.",
)  # fmt: skip
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The configuration file of a server on this machine, if it exists.",
)  # fmt: skip
@click.option("--live", is_flag=True, help="Ask /livez (the process responds) instead of /readyz (it can serve lists).")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=2.0, show_default=True,
    help="Seconds to wait for the connection, and for each part of the response.",
)  # fmt: skip
def health(url: str | None, path: Path, live: bool, timeout: float) -> None:
    """Check whether a server is ready, and print one line. For probes of containers and scripts.

    \b
    Exit code: 0  ready (with --live: the process responds)
               1  not ready, or no response
               2  usage error

    \b
    Examples:
      models-proxy health
      models-proxy health --live --timeout 1
      models-proxy health --url http://127.0.0.1:8080
      until models-proxy health; do sleep 1; done
    """
    address = _parsed((url or _local_url(path)) + ("/livez" if live else "/readyz"))
    shown = address.geturl()
    try:
        response = _get(address, timeout, is_own=not url)
    except TimeoutError:
        raise Failure(f"{shown}: timed out after {timeout:g} s") from None
    except OSError as error:
        raise Failure(f"{shown}: {printable(error.strerror or str(error))}") from None
    status, word = _STATUS.match(response), _WORD.search(response)
    if status is None:
        raise Failure(f"{shown}: the response is not HTTP; check --url")
    said = word[1].decode() if word else "no status"
    if status[1] != b"200":
        raise Failure(f"{shown}: {said} ({status[1].decode()})")
    click.echo(f"{said} ({shown})")


def _local_url(path: Path) -> str:
    """The URL of the server that this file configures."""
    server = _server(path)
    host, port = str(server.get("host", "127.0.0.1")), str(server.get("port", 8000))
    if "${" in host + port:
        raise Failure(f"{path}: `server.host` or `server.port` contains a variable; use --url or MODELS_PROXY_URL")
    if host.startswith("unix:"):
        return host
    host = _ALL_ADDRESSES.get(host, host)
    scheme = "https" if server.get("tls") else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _server(path: Path) -> dict[str, Any]:
    """The section `server`, {} without one. The rest of the file, which may be long, is not parsed."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="replace") as file:
        section = _SERVER.search(file.read(_MAX_CHARACTERS))
    if section is None:
        return {}
    import yaml  # only if there is something to parse

    try:
        server = yaml.safe_load(section[0])["server"]
    except yaml.YAMLError:
        raise Failure(f"{path}: `server` is not valid YAML; use --url, or run `models-proxy check`") from None
    return server if isinstance(server, dict) else {}


def _parsed(url: str) -> SplitResult:
    """The URL of a probe. That of a Unix socket has the scheme `unix`, and its path ends in that of the probe."""
    base, _, probe = url.rpartition("/")
    try:
        address = urlsplit(f"{_without_api(base)}/{probe}")
        is_valid = address.scheme in ("http", "https") and address.hostname and (address.port or 1)
        is_valid = is_valid or (address.scheme == "unix" and not address.netloc and base.startswith("unix:/"))
    except ValueError:
        is_valid = False
    if not is_valid or "@" in url or not url.isprintable() or not url.isascii() or " " in url:
        # The message does not repeat the URL, which may contain a password.
        raise click.BadParameter(
            "must be a URL like http://127.0.0.1:8000, or unix:PATH, without credentials", param_hint="'--url'"
        )
    return address


def _without_api(base: str) -> str:
    """The base URL without `/v1` or `/v1/models`, which other commands accept, too; of a socket without a path."""
    if base.startswith("unix:"):
        return "unix:" + base.removeprefix("unix:").partition(":")[0]
    return base.rstrip("/").removesuffix("/models").rstrip("/").removesuffix("/v1")


def _get(address: SplitResult, timeout: float, *, is_own: bool) -> bytes:
    """The response to a GET request, as far as its status. Raises OSError.

    `is_own`: the server is that of the configuration, whose certificate is for other names than a loopback address.
    """
    _, _, probe = address.path.rpartition("/")
    path, host = (f"/{probe}", "localhost") if address.scheme == "unix" else (address.path, address.netloc)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with _connected(address, timeout, is_own=is_own) as connection:
        connection.sendall(request.encode())
        response = b""
        while len(response) < _MAX_BYTES and not _WORD.search(response) and (data := connection.recv(_MAX_BYTES)):
            response += data
        return response


def _connected(address: SplitResult, timeout: float, *, is_own: bool) -> socket.socket:
    if address.scheme == "unix":
        return _connected_to_file(address.path.rpartition("/")[0], timeout)
    connection = socket.create_connection((address.hostname, address.port or _PORTS[address.scheme]), timeout)
    if address.scheme == "http":
        return connection
    import ssl  # only for TLS

    context = ssl.create_default_context()
    if is_own:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(connection, server_hostname=address.hostname)
    except BaseException:
        connection.close()
        raise


def _connected_to_file(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection

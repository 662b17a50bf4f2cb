"""Requests of commands to a running server: its URL, the API key, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from proxy.cli.client import connection_options, get, key_from, list_url
from tests.processes import free_port
from tests.providers.lists import lists
from tests.providers.scripted import FakeProvider, FakeProviders, Script, replies

KEY = "sk-canary-client"


@click.command()
@connection_options
@click.pass_context
def fetch(context: click.Context, url: str, key: str | None, key_file: Any) -> None:
    """Print the response of the server."""
    click.echo(get(list_url(url), key_from(context, key, key_file)).content)


@pytest.fixture
def server(upstreams: FakeProviders) -> FakeProvider:
    return upstreams.open(lists("m"))


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    environ = {"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": None, **(env or {})}
    return CliRunner().invoke(fetch, arguments, env=environ, input=stdin)


def refusal(reply: Script, upstreams: FakeProviders, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr without the address."""
    upstream = upstreams.open(reply)
    result = run("--url", upstream.url, *arguments)
    return result.exit_code, result.stdout, result.stderr.replace(f"{upstream.url}/v1/models", "URL")


def sent_key(server: FakeProvider) -> str | None:
    (request,) = server.requests
    return request.headers.get("authorization")


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/models"])
def test_every_base_url_of_a_client_is_accepted(path: str, server: FakeProvider) -> None:
    assert run("--url", server.url + path).exit_code == 0
    assert [request.path for request in server.requests] == ["/v1/models"]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("127.0.0.1:8000", id="no scheme"),
        pytest.param("ftp://127.0.0.1", id="unsupported scheme"),
        pytest.param("http://user:sk-canary@127.0.0.1", id="a password"),
        pytest.param("http://127.0.0.1/v1?key=sk-canary", id="a query"),
        pytest.param("", id="empty"),
    ],
)
def test_an_invalid_url_is_a_usage_error_and_is_not_repeated(url: str) -> None:
    result = run("--url", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be a URL like http://127.0.0.1:8000" in result.stderr
    assert "canary" not in result.stderr


# -- keys --------------------------------------------------------------------------------------------------------------


def test_no_key_is_sent_by_default(server: FakeProvider) -> None:
    assert run("--url", server.url).exit_code == 0
    assert sent_key(server) is None


def test_a_key_is_read_from_a_file(server: FakeProvider, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert run("--url", server.url, "--key-file", str(file), env={"MODELS_PROXY_KEY": "sk-canary-other"}).exit_code == 0
    assert sent_key(server) == f"Bearer {KEY}"


def test_a_key_is_read_from_stdin(server: FakeProvider) -> None:
    assert run("--url", server.url, "--key-file", "-", stdin=f"{KEY}\n").exit_code == 0
    assert sent_key(server) == f"Bearer {KEY}"


def test_a_key_is_prompted_for_and_not_echoed(server: FakeProvider) -> None:
    result = run("--url", server.url, "--key", stdin=f"{KEY}\n")
    assert result.exit_code == 0
    assert sent_key(server) == f"Bearer {KEY}"
    assert "canary" not in result.output


def test_key_and_key_file_are_mutually_exclusive(server: FakeProvider) -> None:
    result = run("--url", server.url, "--key", KEY, "--key-file", "-", stdin=f"{KEY}\n")
    assert (result.exit_code, result.stdout, server.requests) == (2, "", [])
    assert result.stderr.endswith("Error: --key and --key-file are mutually exclusive.\n")
    assert "canary" not in result.stderr


def test_a_key_that_a_header_cannot_contain_is_rejected_without_being_shown(server: FakeProvider) -> None:
    result = run("--url", server.url, env={"MODELS_PROXY_KEY": "钥匙-canary"})
    expected = "Error: invalid API key: it contains characters that HTTP headers cannot contain\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_an_error_with_a_hint() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run("--url", url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {url}/v1/models: connection refused; start the server with `models-proxy serve`, or set --url or "
        "MODELS_PROXY_URL\n"
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(
            replies({"error": {}}, 401),
            "URL: API key required (401); use --key-file or MODELS_PROXY_KEY",
            id="401",
        ),
        pytest.param(
            replies(b"", 503),
            "URL: no model list available (503): none has been fetched yet, or all have expired; retry later",
            id="503",
        ),
        pytest.param(
            replies(b"", 302, {"Location": "http://elsewhere.example"}),
            "URL: unexpected redirect (302), which is not followed; check --url",
            id="redirect",
        ),
        pytest.param(
            replies(b"", 404), "URL: unexpected status 404; is this the URL of a models-proxy server?", id="404"
        ),
    ],
)
def test_a_status_other_than_200_is_an_error_of_one_line(
    reply: Script, expected: str, upstreams: FakeProviders
) -> None:
    assert refusal(reply, upstreams) == (1, "", f"Error: {expected}\n")


def test_a_response_has_its_url_its_headers_in_any_case_and_its_content(upstreams: FakeProviders) -> None:
    upstream = upstreams.open(replies({"data": []}, headers={"X-Models-Stale": "3"}))
    response = get(list_url(upstream.url), None)
    assert (response.url, response.headers["x-models-stale"], response.content) == (
        f"{upstream.url}/v1/models", "3", b'{"data":[]}',
    )  # fmt: skip

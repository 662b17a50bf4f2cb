"""The command `serve` until it listens: usage, errors in the file, the address it listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli.main import main
from proxy.config import ConfigError, parse
from tests.processes import free_port, models_proxy, serving
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders

LAB = """
server: {drain_delay: 500ms}
providers:
  - {name: lab, kind: static, models: [{id: our-own-13b}]}
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=30, trust_env=False)


# -- before the server starts ------------------------------------------------------------------------------------------


def test_the_version_option_prints_name_and_version() -> None:
    with models_proxy("--version") as process:
        assert (process.wait(), process.out, process.err) == (0, [f"models-proxy, version {__version__}"], [])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(["--help"], "  serve       Serve the merged model list and forward calls.", id="of the command"),
        pytest.param(["serve", "-h"], "    models-proxy serve", id="of serve, with examples"),
    ],
)
def test_help_is_shown_on_request(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")
    assert line in result.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["server"], id="a command that does not exist"),
        pytest.param(["serve", "--confg", "x"], id="an option that does not exist"),
        pytest.param(["serve", "--port", "65536"], id="an invalid port"),
    ],
)
def test_a_usage_error_exits_with_2_and_prints_the_usage_on_stderr(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")


def test_a_config_error_exits_with_1_and_prints_all_problems_on_stderr(config: Path) -> None:
    text = """
server: {prot: 8000}
providers:
  - {name: a, base_url: "ftp://127.0.0.1"}
  - {name: b, base_url: "http://127.0.0.1", api_key: "${NO_SUCH_VARIABLE}"}
keys:
  - {name: k, key: sk-canary-in-plain-text, models: ["*"]}
"""
    with pytest.raises(ConfigError) as error:
        parse(text, str(config))
    settings = {problem.setting for problem in error.value.problems}
    assert settings >= {"server.prot", "providers[0].base_url", "providers[1].api_key", "keys[0].key"}
    with serving(config, text) as process:
        assert (process.wait(), process.out) == (1, [])
    assert process.err == f"Error: {error.value}".splitlines()
    assert "canary" not in "".join(process.err)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("absent.yaml", "No such file or directory", id="absent"),
        pytest.param(".", "Is a directory", id="a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_config_error(path: str, why: str, tmp_path: Path) -> None:
    place = tmp_path / path
    result = CliRunner().invoke(main, ["serve", "--config", str(place)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"Error: {place} has 1 problem:",
        f"  {place}: {why}; set another path with --config",
    ]


def test_a_provider_that_points_to_the_proxy_itself_is_an_error(config: Path) -> None:
    port = free_port()
    text = f"providers: [{{name: me, base_url: 'http://localhost:{port}/v1'}}]"
    with serving(config, text, port=port) as process:
        assert process.wait() == 1
    assert process.err == ["Error: provider me may point to this proxy; change its base_url, or use another --port"]


def test_a_server_without_keys_does_not_listen_beyond_loopback(config: Path) -> None:
    with serving(config, LAB, "--host", "0.0.0.0") as process:  # noqa: S104
        assert (process.wait(), process.out) == (1, [])
    assert process.err[0].startswith("Error: refusing to listen on 0.0.0.0: no keys are configured")


def test_a_server_that_allows_anonymous_requests_listens_beyond_loopback(config: Path) -> None:
    text = LAB.replace("drain_delay: 500ms", "drain_delay: 500ms, allow_anonymous: true")
    with serving(config, text, "--host", "0.0.0.0") as process:  # noqa: S104
        port = process.url.rpartition(":")[2]
        assert get(f"http://127.0.0.1:{port}/livez").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_a_port_in_use_is_an_error_before_any_provider_is_contacted(
    config: Path, taken: int, upstreams: FakeProviders
) -> None:
    upstream = upstreams.open(lists("m"))
    config.write_text(f'providers: [{{name: a, base_url: "{upstream.url}"}}]')
    with models_proxy("serve", "--config", str(config), "--port", str(taken)) as process:
        assert (process.wait(), process.out) == (1, [])
    assert process.err == [
        f"Error: cannot listen on 127.0.0.1, port {taken}: Address already in use; "
        "use --host or --port to listen on another address"
    ]
    assert upstream.requests == []


def test_host_and_port_options_override_the_file(config: Path, taken: int) -> None:
    text = LAB.replace("drain_delay: 500ms", f"host: 0.0.0.0, port: {taken}")
    with serving(config, text, "--host", "127.0.0.1") as process:
        assert process.url.startswith("http://127.0.0.1:")
        assert process.url != f"http://127.0.0.1:{taken}"
        assert get(f"{process.url}/livez").status_code == 200

"""`models-proxy health`: one line and an exit code, for probes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.paths import ROOT
from tests.processes import free_port, serving
from tests.providers.scripted import Exchange, FakeProviders, replies

LAB = "providers: [{name: lab, kind: static, models: [{id: m}]}]\n"


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["health", *arguments], env={"MODELS_PROXY_URL": None, **(env or {})})


def outcome(*arguments: str) -> tuple[int, str, str]:
    result = run(*arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_real_server_is_ready_and_alive(config: Path) -> None:
    with serving(config, LAB) as process:
        for url in (process.url, f"{process.url}/", f"{process.url}/v1", f"{process.url}/v1/models"):
            assert outcome("--url", url) == (0, f"ready ({process.url}/readyz)\n", "")
        assert outcome("--url", process.url, "--live") == (0, f"alive ({process.url}/livez)\n", "")
        assert run(env={"MODELS_PROXY_URL": process.url}).exit_code == 0


def test_a_server_without_a_list_is_alive_and_not_ready(config: Path) -> None:
    text = f"providers: [{{name: lab, base_url: 'http://127.0.0.1:{free_port()}', initial_wait: 100ms}}]\n"
    with serving(config, text) as process:
        assert outcome("--url", process.url) == (1, "", f"Error: {process.url}/readyz: waiting (503)\n")
        assert run("--url", process.url, "--live").exit_code == 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("server: {{port: {port}}}\n", id="in brackets"),
        pytest.param("server:\n  # all addresses\n\n  host: 0.0.0.0\n  port: {port}\n", id="all addresses"),
        pytest.param("cache:\n  ttl: 1m\nserver:\n  port: {port}   # server\nmerge: [\n", id="an error in the rest"),
    ],
)
def test_the_address_is_that_of_the_configuration_file(settings: str, config: Path, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(replies({"status": "ready"}))
    config.write_text(f"# comment\n{settings.format(port=upstream.port)}{LAB}")
    assert outcome("--config", str(config)) == (0, f"ready (http://127.0.0.1:{upstream.port}/readyz)\n", "")


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        pytest.param("server: {host: '::', port: 1}\n", "[::1]:1", id="all IPv6 addresses"),
        pytest.param("server: {host: localhost, port: 1}\n", "localhost:1", id="a name"),
    ],
)
def test_a_closed_port_is_an_error(settings: str, address: str, config: Path) -> None:
    config.write_text(settings)
    assert outcome("--config", str(config)) == (1, "", f"Error: http://{address}/readyz: Connection refused\n")


@pytest.mark.parametrize("text", [None, LAB, "server:\n", "x-server: {port: 1}\n"])
def test_the_default_is_used_without_an_address_in_the_file(text: str | None, config: Path) -> None:
    if text is not None:
        config.write_text(text)
    output = run("--config", str(config)).output
    assert "http://127.0.0.1:8000/readyz" in output


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            "server: {port: '${PORT}'}\n",
            "`server.host` or `server.port` contains a variable; use --url or MODELS_PROXY_URL",
        ),
        ("server: {port: [}\n", "`server` is not valid YAML; use --url, or run `models-proxy check`"),
    ],
)
def test_an_address_that_cannot_be_read_is_an_error(settings: str, problem: str, config: Path) -> None:
    config.write_text(settings)
    assert outcome("--config", str(config)) == (1, "", f"Error: {config}: {problem}\n")


async def _page(exchange: Exchange) -> None:
    exchange.keep = False
    await exchange.reply(b"<html>", 404)


async def _silent(exchange: Exchange) -> None:
    await exchange.closed()


def test_other_servers_are_errors(upstreams: FakeProviders) -> None:
    page = upstreams.open(_page)
    assert outcome("--url", page.url) == (1, "", f"Error: {page.url}/readyz: no status (404)\n")
    silent = upstreams.open(_silent)
    assert outcome("--url", silent.url, "--timeout", "0.1") == (
        1, "", f"Error: {silent.url}/readyz: timed out after 0.1 s\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://h", "http://u:sk-canary@h", "http://h:99999999", "http://h h", "http://", "http://[::1"],
)
def test_an_invalid_url_is_a_usage_error_and_is_not_repeated(url: str) -> None:
    code, stdout, stderr = outcome("--url", url)
    assert (code, stdout) == (2, "")
    assert "must be a URL like http://127.0.0.1:8000, or unix:PATH, without credentials" in stderr
    assert "canary" not in stderr


def test_an_unknown_host_is_an_error() -> None:
    code, _, stderr = outcome("--url", "http://nothing.invalid:1")
    assert (code, stderr.startswith("Error: http://nothing.invalid:1/readyz: ")) == (1, True)


def test_the_probe_starts_fast_without_pydantic_and_http_libraries(
    config: Path, upstreams: FakeProviders, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream = upstreams.open(replies({"status": "ready"}))
    config.write_text(f"server: {{port: {upstream.port}}}\n{LAB}")
    code = f"""
import sys, time
sys.argv = ["models-proxy", "health", "--config", {str(config)!r}]
from proxy.cli.main import main
try:
    main()
except SystemExit as end:
    heavy = ("pydantic", "httpx", "aiohttp", "msgspec", "ssl", "asyncio", "email", "http.client")
    print(end.code, [name for name in heavy if name in sys.modules], time.process_time())
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "MODELS_PROXY"))}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env=env, cwd=ROOT)  # noqa: S603  # our command
    line = output.stdout.splitlines()[1]
    seconds = float(line.split()[-1])
    with capsys.disabled():
        print(f" [{seconds * 1000:.0f} ms of CPU] ", end="")
    assert line == f"0 [] {line.split()[-1]}"
    assert seconds < 1, "about 0.1 s; more on a slow machine"


@pytest.mark.parametrize("path", ["", ":", ":/v1", ":/llm/v1/models"])
def test_a_socket_may_be_named_like_a_path_of_the_api(path: str, tmp_path: Path) -> None:
    socket = tmp_path / "models"
    expected = f"Error: unix:{socket}/readyz: No such file or directory\n"

    assert outcome("--url", f"unix:{socket}{path}") == (1, "", expected)

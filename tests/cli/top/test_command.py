"""`models-proxy top`: in a pipe, on a terminal, and errors of the server."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.cli.top.documents import document, provider
from tests.paths import ROOT
from tests.processes import free_port
from tests.providers.scripted import FakeProviders, Script, in_sequence, replies

KEY = "sk-canary-admin"
LEAVE = b"\x1b[?7h\x1b[?25h\x1b[?1049l"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["top", *arguments], env={"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": KEY})
    assert "canary" not in result.output
    return result


def refusal(reply: Script, upstreams: FakeProviders) -> str:
    """Stderr, without the address."""
    upstream = upstreams.open(reply)
    result = run("--url", upstream.url)
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr.replace(upstream.url, "URL")


@pytest.mark.parametrize("arguments", [["--once"], []])
@pytest.mark.parametrize("path", ["", "/v1"])
def test_one_table_is_printed_without_a_terminal(path: str, arguments: list[str], upstreams: FakeProviders) -> None:
    server = upstreams.open(replies(document(provider("实验室" * 40))))
    result = run("--url", server.url + path, *arguments)

    assert (result.exit_code, result.stderr) == (0, "")
    summary, _, heading, row = result.stdout.splitlines()
    assert summary.startswith("ok  0 of 1 provider with problems  20 calls/min  0 errors/min  0 in progress  10:15:30 ")
    assert heading.split() == [
        *("provider", "list", "calls", "models", "age", "calls/min", "errors/min", "p50", "p95"),
        *("in", "flight", "queue", "last", "error"),
    ]
    assert row.split()[:3] == ["实验室" * 40, "ok", "ok"]
    (request,) = server.requests
    assert (request.line, request.headers["authorization"]) == ("GET /status.json HTTP/1.1", f"Bearer {KEY}")


def test_json_is_the_document_of_the_server(upstreams: FakeProviders) -> None:
    sent = {**document(), "further": "\x1b[31m"}
    result = run("--url", upstreams.open(replies(sent)).url, "--json")

    assert (result.exit_code, "\x1b" in result.stdout, json.loads(result.stdout)) == (0, False, sent)


def test_a_server_that_is_not_there_is_an_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    expected = "connection refused; start the server with `models-proxy serve`, or set --url or MODELS_PROXY_URL\n"

    assert run("--url", url).stderr == f"Error: {url}/status.json: {expected}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(
            replies({"error": {"message": "Invalid API key."}}, 401),
            "API key rejected (401): it is invalid or has expired; use --key-file or MODELS_PROXY_KEY",
            id="a wrong key",
        ),
        pytest.param(
            replies({"error": {"message": "This API key is not an admin key."}}, 403),
            "This API key is not an admin key. (403)",
            id="no admin key",
        ),
        pytest.param(
            replies({"error": {"message": "Unknown path /status.json."}}, 404),
            "not found (404); the server is older than this command, or --url lacks its `server.base_path`",
            id="an older server",
        ),
        pytest.param(
            replies(b"<html>"), "invalid response; is this the URL of a models-proxy server?", id="another server"
        ),
        pytest.param(
            replies({**document(), "time": "2026-11-29T10:15:30"}),
            "invalid response; is this the URL of a models-proxy server?",
            id="another document",
        ),
    ],
)
def test_errors_of_the_server_say_what_to_do(reply: Script, expected: str, upstreams: FakeProviders) -> None:
    assert refusal(reply, upstreams) == f"Error: URL/status.json: {expected}\n"


@pytest.mark.parametrize("interval", ["499ms", "2h", "0", "often", "-1s"])
def test_an_interval_that_is_too_short_or_no_duration_is_a_usage_error(interval: str) -> None:
    result = run("--interval", interval)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("'--interval': must be a duration from 500ms to 1h, like 2s\n")


# -- on a terminal -----------------------------------------------------------------------------------------------------


class Process:
    """The command on a terminal of 100 columns and 12 lines."""

    def __init__(self, *arguments: str) -> None:
        self._user, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
        environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-m", "proxy", "top", *arguments],
            stdin=program,
            stdout=program,
            stderr=program,
            cwd=ROOT,
            env={**environ, "TERM": "xterm", "MODELS_PROXY_KEY": KEY},
        )
        os.close(program)
        self._received = b""

    def shows(self, expected: bytes) -> bytes:
        """Wait until the terminal has received this, after what has been waited for before. Return all until then."""
        while expected not in self._received:
            assert select.select([self._user], [], [], 60)[0], self._received
            self._received += os.read(self._user, 65536)
        before, _, self._received = self._received.partition(expected)
        return before

    def types(self, key: bytes) -> None:
        os.write(self._user, key)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._user)


def test_a_terminal_shows_a_restarting_server_and_is_restored_by_ctrl_z_and_ctrl_c(upstreams: FakeProviders) -> None:
    away = replies({"error": {"message": "The server is shutting down."}}, 503)
    script = in_sequence(replies(document()), away, replies(document(provider("back"))))
    top = Process("--url", upstreams.open(script).url, "--interval", "500ms")
    try:
        assert b"canary" not in top.shows(b"The server is shutting down. (503); retrying.")
        top.shows(b"back")
        top.process.send_signal(signal.SIGTSTP)
        top.shows(LEAVE)
        assert os.WIFSTOPPED(os.waitpid(top.process.pid, os.WUNTRACED)[1])
        top.process.send_signal(signal.SIGCONT)
        top.shows(b"sorted by attention")
        top.types(b"s")
        top.shows(b"sorted by calls")
        top.process.send_signal(signal.SIGINT)
        top.shows(LEAVE)
        assert top.process.wait(60) == 0
    finally:
        top.close()

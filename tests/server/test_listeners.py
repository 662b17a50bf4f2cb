"""Listening sockets: TCP, and Unix sockets with their files. Those of systemd: `test_handover`."""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.config import ConfigError, parse
from proxy.server.listeners import CannotListen, accept_waiting, drop_new_connections, listening
from tests.fakes import digest
from tests.processes import CONSOLE, Process, models_proxy

KEY = "sk-fake-of-a-client"
PROVIDERS = "providers: [{name: lab, kind: static, models: [m]}]"
WITH_KEY = f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*'], admin: true}}]\n{PROVIDERS}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "http.sock"


def serving(path: Path, text: str, *options: str) -> Process:
    """A server on a Unix socket."""
    config = path.parent / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return models_proxy("serve", "--config", str(config), "--host", f"unix:{path}", *CONSOLE, *options)


def get(path: Path, target: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=30) as client:
        return client.get(f"http://localhost{target}", headers={"Authorization": f"Bearer {KEY}"})


# -- the end -----------------------------------------------------------------------------------------------------------


def opens_at_once(listening: socket.socket, stack: ExitStack) -> bool:
    """Whether a client can open a connection, which takes no time on one machine."""
    client = stack.enter_context(socket.socket())
    client.setblocking(False)
    client.connect_ex(listening.getsockname())
    return bool(select.select([], [client], [], 0)[1])


def test_before_a_listener_is_closed_all_connections_are_accepted_and_no_others_are_opened() -> None:
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)
        opened = [opens_at_once(listening, stack) for _ in range(2)]
        drop_new_connections(listening)
        opened.append(opens_at_once(listening, stack))
        accepted = [stack.enter_context(connection) for connection in accept_waiting(listening)]
        assert (opened, len(accepted)) == ([True, True, False], 2)


# -- files -------------------------------------------------------------------------------------------------------------


def test_socket_file_has_the_mode_and_is_removed_at_the_end(path: Path) -> None:
    umask = os.umask(0o022)
    try:
        with listening(f"unix:{path}", 0, 0o640, environ={}) as listeners:
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            assert listeners.addresses == [f"unix:{path}"]
            assert (len(listeners.ports), listeners.handed_down) == (0, False)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
    assert not path.exists()


def test_socket_file_of_another_process_is_not_removed_at_the_end(path: Path) -> None:
    with listening(f"unix:{path}", 0, environ={}):
        path.unlink()
        path.write_text("of another process", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "of another process"


def test_stale_socket_file_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with listening(f"unix:{path}", 0, environ={}), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_socket_on_which_a_process_listens_is_not_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(CannotListen) as error, listening(f"unix:{path}", 0, environ={}):
            pass
        assert str(error.value) == f"cannot listen on unix:{path}: another process is listening"
        assert path.exists()


def test_file_that_is_not_a_socket_is_not_replaced(path: Path) -> None:
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(CannotListen) as error, listening(f"unix:{path}", 0, environ={}):
        pass
    why = "the path exists and is not a socket; remove it, or set another path"
    assert str(error.value) == f"cannot listen on unix:{path}: {why}"
    assert path.read_text(encoding="utf-8") == "precious"


def test_missing_directory_is_an_error(path: Path) -> None:
    with pytest.raises(CannotListen) as error, listening(f"unix:{path.parent}/none/http.sock", 0, environ={}):
        pass
    assert str(error.value) == f"cannot listen on unix:{path.parent}/none/http.sock: No such file or directory"


@pytest.mark.parametrize("host", ["unix:", "unix:http.sock", "unix:/" + "x" * 100])
def test_path_of_a_unix_socket_is_absolute_and_short(host: str) -> None:
    with pytest.raises(ConfigError, match="must be unix: and an absolute path of at most 100 bytes"):
        parse(f"server: {{host: '{host}'}}\n{PROVIDERS}", "config.yaml")


@pytest.mark.parametrize("mode", ["0660", '"rw"', '"0888"', "432"])
def test_mode_of_a_unix_socket_is_octal_digits_in_quotes(mode: str) -> None:
    with pytest.raises(ConfigError, match="must be file permissions in quotes, like"):
        parse(f"server: {{socket_mode: {mode}}}\n{PROVIDERS}", "config.yaml")


# -- the server --------------------------------------------------------------------------------------------------------


def test_server_on_a_unix_socket_serves_lists_and_stops_without_its_file(path: Path) -> None:
    with serving(path, f'server: {{socket_mode: "0600"}}\n{WITH_KEY}') as process:
        assert process.url == f"unix:{path}"
        assert process.line(process.out, r"^  curl (.*)$")[1] == (
            f'--unix-socket {path} -H "Authorization: Bearer $KEY" http://localhost/v1/models'
        )
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [model["id"] for model in get(path, "/v1/models").json()["data"]] == ["m"]
        assert (process.stop(), process.err) == (0, [])
    assert not path.exists()


def test_unix_socket_is_not_loopback(path: Path) -> None:
    with serving(path, PROVIDERS) as process:
        assert (process.wait(), process.out) == (1, [])
    assert process.err[0].startswith(f"Error: refusing to listen on unix:{path}: no keys are configured")
    assert not path.exists()


def test_client_on_a_unix_socket_is_no_trusted_proxy(path: Path) -> None:
    server = "server: {trusted_proxies: [127.0.0.0/8, '::1']}\nlogging: {access: all}"
    with serving(path, f"{server}\n{WITH_KEY}", "--log-format", "json") as process:
        process.line(process.err, "Listening on")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=30) as client:
            headers = {"Authorization": f"Bearer {KEY}", "X-Forwarded-For": "192.0.2.9"}
            client.get("http://localhost/v1/models", headers=headers)
        line = process.line(process.err, r'.*"/v1/models".*')[0]
        assert process.stop() == 0
    assert "192.0.2.9" not in line


def test_commands_connect_to_a_unix_socket(path: Path) -> None:
    with serving(path, WITH_KEY) as process:
        assert process.url
        config = str(path.parent / "config.yaml")
        environ = {"MODELS_PROXY_URL": f"unix:{path}", "MODELS_PROXY_KEY": KEY}
        results = [CliRunner().invoke(main, [command], env=environ) for command in ("health", "models", "reload")]
        (path.parent / "config.yaml").write_text(f"server: {{host: 'unix:{path}'}}\n{WITH_KEY}", encoding="utf-8")
        results.append(CliRunner().invoke(main, ["health", "--config", config]))
        assert process.stop() == 0
    assert [result.exit_code for result in results] == [0, 0, 0, 0], [result.output for result in results]
    assert results[0].stdout == results[3].stdout == f"ready (unix:{path}/readyz)\n"
    assert "m" in results[1].stdout.split()


def test_command_without_a_server_on_the_unix_socket_names_it(path: Path) -> None:
    with models_proxy("models", "--url", f"unix:{path}", "--key", KEY) as process:
        assert process.wait() == 1
    assert process.err == [
        f"Error: unix:{path}:/v1/models: connection failed; start the server with `models-proxy serve`, or set --url "
        "or MODELS_PROXY_URL"
    ]

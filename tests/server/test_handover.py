"""Socket activation: the server uses listening sockets that systemd holds, and a restart fails no request."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.listening import until
from tests.processes import free_port
from tests.providers.scripted import fake_provider
from tests.service_manager import Unit
from tests.traffic import KEY, KEYS, Traffic, provider

pytestmark = pytest.mark.anyio

LAB = f"server: {{drain_delay: 300ms}}\nproviders: [{{name: lab, kind: static, models: [m]}}]\n{KEYS}"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(LAB, encoding="utf-8")
    return file


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def get(listening: socket.socket, path: str) -> httpx.Response:
    return httpx.get(url_of(listening) + path, headers=HEADERS, timeout=30, trust_env=False)


def test_server_uses_the_socket_that_is_handed_down(config: Path, listening: socket.socket) -> None:
    other = free_port()
    with Unit(config, listening, "--port", str(other)) as unit:
        unit.start()
        unit.received("READY=1")
        assert [model["id"] for model in get(listening, "/v1/models").json()["data"]] == ["m"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other))
        assert unit.stop() == 0
    assert f"Listening on {url_of(listening)}" in unit.log


async def test_request_that_arrives_while_no_process_runs_is_served_by_the_next_one(
    config: Path, listening: socket.socket
) -> None:
    with Unit(config, listening) as unit:
        unit.start()
        unit.received("READY=1")
        assert unit.stop() == 0
        waiting = asyncio.create_task(asyncio.to_thread(get, listening, "/v1/models"))
        await asyncio.sleep(0)
        unit.start()
        assert (await waiting).status_code == 200


def _configure(config: Path, provider_url: str) -> None:
    lab = f"providers: [{{name: lab, base_url: '{provider_url}/v1', models: [m]}}]"
    config.write_text(f"server: {{drain_delay: 500ms}}\n{lab}\n{KEYS}", encoding="utf-8")


@pytest.mark.usefixtures("own_protocol")  # `Connection: close` from the signal on
async def test_restart_under_load_fails_no_request(
    config: Path, listening: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic = Traffic()
    async with fake_provider(provider) as lab:
        _configure(config, lab.url)
        with Unit(config, listening) as unit:
            unit.start()
            unit.received("READY=1")
            async with (
                httpx.AsyncClient(base_url=url_of(listening), timeout=30, trust_env=False) as keeps_alive,
                httpx.AsyncClient(
                    base_url=url_of(listening), timeout=30, trust_env=False, headers={"connection": "close"}
                ) as reconnects,
                traffic.flowing(keeps_alive),
                traffic.flowing(reconnects),
            ):
                codes = [await asyncio.to_thread(unit.restart) for _ in range(2)]
                await until(lambda: traffic.sent > 50)
            assert unit.stop() == 0
    with capsys.disabled():
        print(f" [{traffic.sent} requests] ", end="")
    assert (codes, traffic.failures) == ([0, 0], [])


# -- notifications -----------------------------------------------------------------------------------------------------


def test_life_of_the_server_is_reported(config: Path, listening: socket.socket) -> None:
    with Unit(config, listening) as unit:
        unit.start()
        assert unit.received("READY=1")[:2] == ["READY=1", "STATUS=1 of 1 providers have a model list"]
        unit.send(signal.SIGHUP)
        lines = [*unit.received("READY=1")]
        unit.send(signal.SIGTERM)
        lines += unit.received("STATUS=draining")
        assert unit.wait() == 0
    assert lines[0] == "RELOADING=1"
    assert lines[1].startswith("MONOTONIC_USEC=")
    assert lines[2:] == ["READY=1", "STOPPING=1", "STATUS=draining"]


def test_ready_is_not_reported_before_the_lists_that_server_ready_requires(
    config: Path, listening: socket.socket
) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    config.write_text(
        "server: {ready: all}\n"
        "providers:\n"
        f"- {{name: down, base_url: '{down}', initial_wait: 100ms}}\n"
        f"- {{name: lab, kind: static, models: [m]}}\n{KEYS}",
        encoding="utf-8",
    )
    with Unit(config, listening) as unit:
        unit.start()
        assert unit.received("STATUS=1 of 2 providers have a model list") == [
            "STATUS=1 of 2 providers have a model list"
        ]
        assert "READY=1" not in unit.waiting(1.5)
        assert get(listening, "/livez").status_code == 200


def test_watchdog_is_notified_only_while_the_process_works(config: Path, listening: socket.socket) -> None:
    with Unit(config, listening, WATCHDOG_USEC="300000") as unit:
        unit.start()
        unit.received("READY=1")
        for _ in range(3):
            unit.received("WATCHDOG=1")
        unit.send(signal.SIGSTOP)
        unit.waiting(0.3)
        assert unit.waiting(0.7) == []
        unit.send(signal.SIGCONT)
        unit.received("WATCHDOG=1")
        assert unit.stop() == 0


# -- what cannot be used -----------------------------------------------------------------------------------------------


def failure(unit: Unit) -> str:
    unit.start()
    assert unit.wait() == 1
    return unit.log


def test_proxy_without_keys_is_judged_by_the_address_of_the_socket(config: Path) -> None:
    config.write_text("providers: [{name: lab, kind: static, models: [m]}]", encoding="utf-8")
    with (
        socket.create_server(("0.0.0.0", 0)) as everywhere,  # noqa: S104
        Unit(config, everywhere, "--host", "127.0.0.1") as unit,
    ):
        assert failure(unit).startswith("Error: refusing to listen on 0.0.0.0: no keys are configured")


def test_socket_that_does_not_listen_is_refused_with_its_name(config: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        Unit(config, datagrams, LISTEN_FDNAMES="http") as unit,
    ):
        assert failure(unit) == (
            "Error: cannot use the sockets that were handed down (LISTEN_FDS): file descriptor 3 (http) is not a "
            "listening stream socket; use ListenStream= without Accept=yes in the socket unit\n"
        )


def test_sockets_of_another_process_are_ignored(
    config: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("tests.service_manager._START", 'shift; export LISTEN_PID=1; exec "$@"')
    with Unit(config, listening, "--port", str(port)) as unit:
        unit.start()
        unit.received("READY=1")
        assert httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=30).status_code == 200
        assert unit.stop() == 0

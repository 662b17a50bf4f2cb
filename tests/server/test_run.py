"""Shutdown of a server process: drain, signals, requests in progress, exit code."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.processes import Process, accepts_connections, free_port, serving, until
from tests.providers.scripted import FakeProviders, hangs

LAB = """
server: {drain_delay: 500ms}
providers:
  - {name: lab, kind: static, models: [{id: our-own-13b}]}
"""


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=10, trust_env=False)


def test_sigterm_fails_readyz_and_requests_are_served_during_drain_delay(config: Path) -> None:
    with serving(config, LAB.replace("500ms", "60s")) as process:
        url = process.url
        assert get(f"{url}/readyz").json() == {"status": "ready"}
        process.send(signal.SIGTERM)
        until(lambda: get(f"{url}/readyz").status_code == 503)
        assert get(f"{url}/readyz").json() == {"status": "draining"}
        assert [model["id"] for model in get(f"{url}/v1/models").json()["data"]] == ["our-own-13b"]
        assert get(f"{url}/livez").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_sigterm_stops_the_process_after_drain_delay(config: Path) -> None:
    with serving(config, LAB) as process:
        assert process.url
        seconds = process.seconds_to_end_by(signal.SIGTERM)
        assert (process.wait(), process.err) == (0, [])
    assert 0.5 <= seconds < 0.5 + 1.5


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="Ctrl-C"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], id="SIGTERM twice"),
        pytest.param([signal.SIGTERM, signal.SIGINT], id="SIGTERM, then Ctrl-C"),
    ],
)
def test_sigint_or_a_second_signal_skips_drain_delay(config: Path, signals: list[signal.Signals]) -> None:
    with serving(config, LAB.replace("500ms", "60s")) as process:
        url = process.url
        for sig in signals[:-1]:
            process.send(sig)
            until(lambda: get(f"{url}/readyz").json() == {"status": "draining"})
        seconds = process.seconds_to_end_by(signals[-1])
        assert (process.wait(), process.err) == (0, [])
    assert seconds < 5


def test_a_request_in_progress_is_finished_before_the_process_stops(config: Path, upstreams: FakeProviders) -> None:
    with request_in_progress(config, upstreams, initial_wait="1s") as (process, connection):
        process.send(signal.SIGINT)
        assert connection.getresponse().status == 200
        assert (process.wait(), process.err) == (0, [])
        assert len(process.out) == 2, "`listening` is not printed after the signal"


def test_another_sigint_stops_without_waiting_for_requests_in_progress(config: Path, upstreams: FakeProviders) -> None:
    with request_in_progress(config, upstreams, initial_wait="60s") as (process, connection):
        process.send(signal.SIGINT)
        until(lambda: not accepts_connections((connection.host, connection.port)))
        seconds = process.seconds_to_end_by(signal.SIGINT)
        assert (process.wait(), process.err) == (0, [])
    assert seconds < 5


def test_an_idle_connection_is_kept_for_keepalive_timeout(config: Path) -> None:
    limits = "server: {limits: {keepalive_timeout: 300ms}}"
    with serving(config, LAB.replace("server: {drain_delay: 500ms}", limits)) as process:
        with closing(http.client.HTTPConnection(process.url.removeprefix("http://"), timeout=10)) as connection:
            connection.request("GET", "/livez")
            connection.getresponse().read()
            idle_since = time.monotonic()
            assert connection.sock.recv(1) == b""
            assert time.monotonic() - idle_since >= 0.2
        assert (process.stop(), process.err) == (0, [])


@contextmanager
def request_in_progress(
    config: Path, upstreams: FakeProviders, initial_wait: str
) -> Iterator[tuple[Process, http.client.HTTPConnection]]:
    """A proxy, and a connection whose list request waits for the end of `initial_wait`."""
    text = f"""
cache: {{initial_wait: {initial_wait}}}
providers:
  - {{name: silent, base_url: "{upstreams.open(hangs).url}", timeout: 100s}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
"""
    port = free_port()
    with serving(config, text, port=port) as process:
        until(lambda: accepts_connections(("127.0.0.1", port)))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b'{"status":"alive"}'
            connection.request("GET", "/v1/models")
            yield process, connection

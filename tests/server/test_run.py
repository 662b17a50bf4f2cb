"""Shutdown of a server process: drain, signals, requests in progress, exit code."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests import processes
from tests.processes import Process, accepts_connections, free_port, until
from tests.providers.calls import DONE
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders, hangs

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


def serving(config: Path, text: str, port: int = 0) -> Process:
    """A server whose log contains no requests."""
    return processes.serving(config, f"logging: {{access: off}}\n{text}", port=port)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=30, trust_env=False)


@pytest.mark.usefixtures("own_protocol")  # `Connection: close` from the signal on
def test_sigterm_fails_readyz_and_requests_are_served_during_drain_delay(config: Path) -> None:
    with serving(config, LAB.replace("500ms", "60s")) as process:
        url = process.url
        assert get(f"{url}/readyz").json() == {"status": "ready"}
        process.send(signal.SIGTERM)
        until(lambda: get(f"{url}/readyz").status_code == 503)
        assert get(f"{url}/readyz").json() == {"status": "draining"}
        assert [model["id"] for model in get(f"{url}/v1/models").json()["data"]] == ["our-own-13b"]
        alive = get(f"{url}/livez")
        assert (alive.status_code, alive.headers["connection"]) == (200, "close"), "the next request needs another one"
        assert (process.stop(), process.err) == (0, [])


def test_sigterm_stops_the_process_after_drain_delay(config: Path) -> None:
    with serving(config, LAB) as process:
        assert process.url
        seconds = process.seconds_to_end_by(signal.SIGTERM)
        assert (process.wait(), process.err) == (0, [])
    assert seconds >= 0.5


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
        process.send(signals[-1])
        assert (process.wait(), process.err) == (0, []), "within less time than drain_delay"


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
        process.send(signal.SIGINT)
        assert (process.wait(), process.err) == (0, []), "within less time than initial_wait"


CALLS = {
    "/v1/chat/completions": (
        b'data: {"error":{"message":"The proxy is shutting down and ended this request; retry after 1 s.",'
        b'"type":"service_unavailable_error","status":503,"param":null,"code":"shutting_down"}}\n\n'
    ),
    "/v1/messages": (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"The proxy is shutting down and ended this request; retry after 1 s.","status":503}}\n\n'
    ),
    "/v1/responses": (
        b'event: error\ndata: {"type":"error",'
        b'"message":"The proxy is shutting down and ended this request; retry after 1 s.",'
        b'"param":null,"code":"shutting_down","status":503,"sequence_number":1,"error":{'
        b'"message":"The proxy is shutting down and ended this request; retry after 1 s.",'
        b'"param":null,"code":"shutting_down","status":503,"type":"service_unavailable_error"}}\n\n'
    ),
}
EVENT = b'data: {"type":"response.created","sequence_number":0}\n\n'
ENDED = r"WARNING models_proxy: shutdown: ended 1 call that was still in progress$"


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGINT, signal.SIGTERM]], ids=["timeout", "second signal"]
)
def test_a_stream_in_progress_ends_with_an_error_event(
    path: str, signals: list[signal.Signals], config: Path, upstreams: FakeProviders
) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(EVENT)
        await exchange.closed()

    timeout = "500ms" if len(signals) == 1 else "60s"
    with call_in_progress(config, upstreams.open(stalls), timeout, path) as (process, connection):
        response = connection.getresponse()
        assert response.read(len(EVENT)) == EVENT
        for sig in signals:
            process.send(sig)
            until(lambda: not accepts_connections((connection.host, connection.port)))
        assert response.read() == CALLS[path]
        assert process.wait() == 0
        assert [re.search(ENDED, line) is not None for line in process.err] == [True]


def test_a_call_without_a_response_gets_a_503_at_the_end_of_shutdown_timeout(
    config: Path, upstreams: FakeProviders
) -> None:
    provider = upstreams.open(hangs)
    with call_in_progress(config, provider, "500ms", "/v1/chat/completions") as (process, connection):
        until(lambda: bool(provider.requests))
        process.send(signal.SIGINT)
        response = connection.getresponse()
        assert (response.status, response.getheader("Retry-After")) == (503, "1")
        assert json.loads(response.read())["error"]["code"] == "shutting_down"
        assert process.wait() == 0
        assert [re.search(ENDED, line) is not None for line in process.err] == [True]


def test_a_stream_finishes_within_shutdown_timeout(config: Path, upstreams: FakeProviders) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(EVENT)
        await asyncio.sleep(0.5)
        await exchange.chunk(DONE)
        await exchange.end()

    with call_in_progress(config, upstreams.open(slow), "60s", "/v1/chat/completions") as (process, connection):
        response = connection.getresponse()
        process.send(signal.SIGINT)
        assert response.read() == EVENT + DONE
        assert (process.wait(), process.err) == (0, [])


def test_an_upload_that_does_not_end_gets_a_503_without_a_traceback(config: Path, upstreams: FakeProviders) -> None:
    call = call_in_progress(config, upstreams.open(hangs), "60s", "/v1/chat/completions", length=100)
    with call as (process, connection):
        for _ in range(2):
            process.send(signal.SIGINT)
            until(lambda: not accepts_connections((connection.host, connection.port)))
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (503, "shutting_down")
        assert (process.wait(), process.err) == (0, [])


def test_a_client_that_does_not_read_its_stream_is_disconnected_without_a_traceback(
    config: Path, upstreams: FakeProviders
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.stream()
        with suppress(ConnectionError):
            while True:
                await exchange.chunk(EVENT * 1000)
        exchange.keep = False

    call = call_in_progress(config, upstreams.open(endless), "60s", "/v1/chat/completions")
    with call as (process, connection):
        assert connection.getresponse().status == 200
        for _ in range(2):
            process.send(signal.SIGINT)
            until(lambda: not accepts_connections((connection.host, connection.port)))
        assert process.wait() == 0
        assert [re.search(ENDED, line) is not None for line in process.err] == [True]


def test_idle_connections_are_closed_at_the_start_of_the_shutdown(config: Path, upstreams: FakeProviders) -> None:
    with call_in_progress(config, upstreams.open(hangs), "60s", "/v1/chat/completions") as (process, busy):
        with closing(http.client.HTTPConnection(busy.host, busy.port, timeout=30)) as idle:
            idle.request("GET", "/livez")
            idle.getresponse().read()
            process.send(signal.SIGINT)
            assert idle.sock.recv(1) == b""
        process.send(signal.SIGINT)
        assert process.wait() == 0


@contextmanager
def call_in_progress(
    config: Path, provider: FakeProvider, shutdown_timeout: str, path: str, length: int | None = None
) -> Iterator[tuple[Process, http.client.HTTPConnection]]:
    """A proxy, and a connection on which a call was sent. `length`: of its body, instead of the real one."""
    text = f"""
server: {{shutdown_timeout: {shutdown_timeout}}}
groups: {{default: {{models: ["*"], call: true}}}}
providers: [{{name: a, kind: static, models: [{{id: m}}], call: {{base_url: "{provider.url}/v1"}}}}]
"""
    body = json.dumps({"model": "m", "stream": True})
    headers = {"Content-Type": "application/json", "Content-Length": str(length or len(body))}
    with (
        serving(config, text) as process,
        closing(http.client.HTTPConnection(process.url.removeprefix("http://"), timeout=30)) as connection,
    ):
        connection.request("POST", path, body, headers)
        yield process, connection


def test_sighup_is_logged_and_ignored_if_reloading_is_off(config: Path) -> None:
    with serving(config, LAB.replace("server: {", "server: {reload: off, ")) as process:
        url = process.url
        process.send(signal.SIGHUP)
        message = "SIGHUP ignored: `server.reload` is `off`; restart to apply a changed configuration"
        process.line(process.err, re.escape(message))
        assert get(f"{url}/livez").status_code == 200
        assert (process.stop(), len(process.err)) == (0, 1)


def test_an_idle_connection_is_kept_for_keepalive_timeout(config: Path) -> None:
    limits = "server: {limits: {keepalive_timeout: 300ms}}"
    with (
        serving(config, LAB.replace("server: {drain_delay: 500ms}", limits)) as process,
        closing(http.client.HTTPConnection(process.url.removeprefix("http://"), timeout=30)) as connection,
    ):
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
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(connection):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b'{"status":"alive"}'
            connection.request("GET", "/v1/models")
            yield process, connection

"""Behind nginx and HAProxy, which share connections to the proxy between clients, no request is counted differently."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.errors import ApiError
from proxy.server.protocol import Protocol
from tests import processes
from tests.fakes import FakeClock, FakeFetch
from tests.listening import until
from tests.reliability.smuggling import FORM, FORMS, SMUGGLED, VICTIM, victim
from tests.reliability.targets import all_of, responses, target

pytestmark = pytest.mark.anyio

_NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    log_format responses "$http_x_request_id $upstream_http_x_request_id";
    access_log {directory}/responses.log responses;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_header_timeout 200ms;
    client_body_timeout 200ms;
    keepalive_timeout 200ms;
    lingering_close off;
    map $http_upgrade $upgrade {{ default upgrade; "" ""; }}
    upstream proxy {{ server 127.0.0.1:{proxy}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://proxy;
            proxy_http_version 1.1;
            proxy_next_upstream off;
            proxy_set_header Host $host;
            {settings}
        }}
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    log stdout format raw local0
    timeout connect 1s
    timeout server 5s
    timeout client 200ms
    timeout http-request 200ms
    timeout http-keep-alive 200ms
    http-reuse always
frontend clients
    bind 127.0.0.1:{port}
    http-request set-var(txn.request) req.hdr(x-request-id)
    http-response set-var(txn.response) res.hdr(x-request-id)
    log-format "%[var(txn.request)] %[var(txn.response)]"
    default_backend proxy
backend proxy
    server proxy 127.0.0.1:{proxy} maxconn 1 pool-max-conn 1
"""
_KEEP_ALIVE = 'proxy_set_header Connection "";'
_STREAMING = f"{_KEEP_ALIVE} proxy_request_buffering off; proxy_buffering off;"
_UPGRADES = "proxy_set_header Connection $upgrade; proxy_set_header Upgrade $http_upgrade; proxy_request_buffering off;"


class Front(NamedTuple):
    port: int
    log: Path

    @property
    def exchanges(self) -> list[tuple[str, str]]:
        """The ids of requests and of the responses to them that it has received from the proxy."""
        lines = [line.split(" ") for line in self.log.read_text(encoding="utf-8").splitlines() if line.count(" ") == 1]
        return [(request, response) for request, response in lines if response != "-"]


def nginx(settings: str) -> Callable[[int, int, Path], list[str]]:
    def command(port: int, proxy: int, directory: Path) -> list[str]:
        config = directory / "nginx.conf"
        text = _NGINX.format(directory=directory, port=port, proxy=proxy, settings=settings)
        config.write_text(text, encoding="utf-8")
        return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(config)]

    return command


def haproxy(port: int, proxy: int, directory: Path) -> list[str]:
    config = directory / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, proxy=proxy), encoding="utf-8")
    return ["haproxy", "-db", "-f", str(config)]


FRONTS = {
    "nginx": nginx(_KEEP_ALIVE),
    "nginx, without buffers": nginx(_STREAMING),
    "nginx, with Upgrade": nginx(_UPGRADES),
    "HAProxy": haproxy,
}


@asynccontextmanager
async def front(name: str, proxy: int, directory: Path) -> AsyncIterator[Front]:
    port, log = processes.free_port(), directory / "responses.log"
    with log.open("wb") as out:
        command = FRONTS[name](port, proxy, directory)
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=subprocess.DEVNULL)
    try:
        await asyncio.to_thread(processes.until, lambda: processes.accepts_connections(("127.0.0.1", port)))
        yield Front(port, log)
    finally:
        process.terminate()
        await process.wait()


class Counting(Protocol):
    """The proxy's protocol, which counts connections and responses."""

    opened = 0
    sent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        type(self).opened += 1
        super().connection_made(transport)

    def on_response_complete(self) -> None:
        type(self).sent += 1
        super().on_response_complete()

    def refuse(self, error: ApiError) -> None:
        if self.current is None or not self.current.response_started:
            type(self).sent += 1
        super().refuse(error)


def counting() -> Any:
    return type("Counted", (Counting,), {})


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(10):
        received = await all_of(reader)
    writer.close()
    return received


@pytest.mark.parametrize("name", FRONTS)
async def test_both_servers_count_the_same_requests_and_each_client_gets_its_own_response(
    name: str, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    own = [[(200, VICTIM)]] * 2
    wrong: dict[str, object] = {}
    protocol = counting()
    async with (
        target(fetch, clock, protocol=protocol) as (served, _, _),
        front(name, served.port, tmp_path) as server,
    ):
        for form in FORMS:
            await exchange(server.port, form.raw + victim())
            received = [responses(await exchange(server.port, victim())) for _ in own]
            if (found := [[answer[:2] for answer in answers] for answers in received]) != own:
                wrong[form.name] = found
        with suppress(AssertionError):  # the front server writes its log after the response
            await until(lambda: len(server.exchanges) == protocol.sent)
        exchanges = server.exchanges

    assert wrong == {}
    assert len(exchanges) == protocol.sent
    # A rejected request gets a new id.
    assert [pair for pair in exchanges if pair[0] != pair[1] and pair[1].encode() in (FORM, SMUGGLED, VICTIM)] == []
    assert protocol.sent > 3 * len(FORMS), "at least half of the forms and all victims reach the proxy"
    assert protocol.opened < protocol.sent / 2, "connections are shared"

"""Connections are limited in number, and descriptors are reserved for providers and files."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from proxy.config.limits import Limits
from proxy.server.connections import ClientConnections, first_reserved_descriptor
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, post, serving, until
from tests.processes import CONSOLE, Process, descriptors
from tests.providers.scripted import fake_provider, hangs
from tests.reliability.clients import GET, connected, protocols, with_limits

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 128))
runpy.run_module("proxy", run_name="__main__")
"""
"""The command, in a process that can open 128 files."""
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Clients:
    """Numbered connections to one server."""

    def __init__(self, served: Served, stack: AsyncExitStack) -> None:
        self._served = served
        self._stack = stack
        self._readers: list[asyncio.StreamReader] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, request: bytes = b"") -> None:
        """Open one more connection; with a request, read its response."""
        reader, writer = await self._stack.enter_async_context(self._served.raw(request))
        self._readers.append(reader)
        self._writers.append(writer)
        if request:
            await self.response(len(self._readers) - 1)
        else:
            for _ in range(5):
                await asyncio.sleep(0.001)

    async def request(self, number: int) -> None:
        self._writers[number].write(LIVE)
        await self.response(number)

    async def response(self, number: int) -> None:
        await asyncio.wait_for(self._readers[number].readuntil(b"}"), 30)

    async def closed(self, count: int) -> list[int]:
        """The numbers of the connections that the server closed, once there are this many."""
        await until(lambda: sum(reader.at_eof() for reader in self._readers) >= count)
        return [number for number, reader in enumerate(self._readers) if reader.at_eof()]


async def clients(stack: AsyncExitStack, fetch: FakeFetch, clock: FakeClock, limits: str) -> Clients:
    served = await stack.enter_async_context(serving(config_of(with_limits(limits)), fetch, clock))
    return Clients(served, stack)


async def test_beyond_the_limit_the_connection_that_was_idle_longest_is_closed(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with AsyncExitStack() as stack:
        several = await clients(stack, fetch, clock, "connections: 3")
        for _ in range(3):
            await several.connect(LIVE)
        await several.request(0)  # now the second one is the idlest
        await several.connect(LIVE)
        assert await several.closed(1) == [1]
        await several.connect(LIVE)
        assert await several.closed(2) == [1, 2]
        await several.request(0)


async def test_connections_without_any_request_are_closed_first(fetch: FakeFetch, clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        several = await clients(stack, fetch, clock, "connections: 3")
        await several.connect(LIVE)
        await several.connect()
        await several.connect()
        await several.connect(LIVE)
        await several.connect(LIVE)
        assert await several.closed(2) == [1, 2]


async def test_connections_with_a_request_in_progress_are_never_closed(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with fake_provider(hangs) as provider, AsyncExitStack() as stack:
        text = with_limits(
            "connections: 2",
            f'groups: {{default: {{models: ["*"], call: true}}}}\n'
            f'providers: [{{name: a, base_url: "{provider.url}/v1"}}]',
        )
        served = await stack.enter_async_context(serving(config_of(text), fetch, clock))
        for _ in range(2):
            await stack.enter_async_context(served.raw(post(b'{"model":"m"}')))
        await until(lambda: len(provider.requests) == 2)
        reader, _ = await stack.enter_async_context(served.raw(LIVE))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 30)
        assert len(protocols(served)) == 2


async def test_connections_per_address_are_limited_only_if_set(fetch: FakeFetch, clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        several = await clients(stack, fetch, clock, "connections_per_address: 2")
        await several.connect(LIVE)
        await several.connect(LIVE)
        await several.connect()
        assert await several.closed(1) == [2]
        several._writers[0].close()
        await until(lambda: len(several._served.app.connections) == 1)
        await several.connect(LIVE)


class IdleConnection:
    """A connection that is idle since `since`, or busy if that is None."""

    def __init__(self, since: float | None) -> None:
        self.idle_rank = None if since is None else (True, since)
        self.checks = 0
        self.is_closed = False

    def check(self, now: float) -> None:
        self.checks += 1

    def close_idle(self) -> None:
        self.is_closed = True


async def test_among_many_busy_connections_an_idle_one_is_found() -> None:
    limited = ClientConnections(Limits(connections=3000), first_reserved=1e9)
    busy = [IdleConnection(None) for _ in range(2999)]
    idle = IdleConnection(5.0)
    for connection in (*busy, idle):
        assert limited.admit(connection, "", 0)

    assert limited.admit(IdleConnection(9.0), "", 0)
    assert idle.is_closed
    assert len(limited) == 3000


async def test_the_timer_checks_all_connections_in_slices() -> None:
    limited = ClientConnections(Limits(keepalive_timeout=0.04), first_reserved=1e9)
    connections = [IdleConnection(0.0) for _ in range(1200)]
    for connection in connections:
        assert limited.admit(connection, "", 0)

    slices: list[int] = []
    while sum(slices) < 1200:
        before = sum(connection.checks for connection in connections)
        await asyncio.sleep(0)
        if checked := sum(connection.checks for connection in connections) - before:
            slices.append(checked)
    for connection in connections:
        limited.discard(connection, "")

    assert slices == [500, 500, 200]
    assert {connection.checks for connection in connections} == {1}


def test_one_of_eight_descriptors_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [resource.RLIM_INFINITY, 1024, 64]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits.pop(), 0))

    assert [first_reserved_descriptor() for _ in range(3)] == [56, 896, float("inf")]


def test_silent_sockets_are_no_outage_with_few_descriptors(tmp_path: Path) -> None:
    """More silent connections than the process can open files, and then lists and a call."""
    upstream = socket.create_server(("127.0.0.1", 0))
    text = f"""
logging: {{access: "off"}}
groups: {{default: {{models: ["*"], call: true}}}}
providers: [{{name: a, kind: static, models: [{{id: m}}],
              call: {{base_url: "http://127.0.0.1:{upstream.getsockname()[1]}/v1"}}}}]
"""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    with upstream, ExitStack() as stack:
        process = stack.enter_context(Process("-c", LIMITED, "serve", "--config", str(config), "--port", "0", *CONSOLE))
        url = process.url
        for _ in range(150):
            stack.enter_context(connected(url))
        for _ in range(5):
            with connected(url) as client:
                client.sendall(GET)
                assert client.recv(12) == b"HTTP/1.1 200"
        calls = []
        for _ in range(20):
            calls.append(stack.enter_context(connected(url)))
            calls[-1].sendall(post(b'{"model":"m"}'))
            stack.enter_context(upstream.accept()[0])
        with connected(url) as client:
            client.sendall(GET)
            assert client.recv(12) == b"HTTP/1.1 200"
        assert 100 < descriptors(process.pid) < 128
        warnings = [line for line in process.err if "connection limit reached" in line]
        assert len(warnings) == len(process.err) == 1, "once per minute"

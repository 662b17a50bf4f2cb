"""Pipelined requests are kept as bytes, up to a limit, and parsed one at a time."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, circuit_of, post, serving, until
from tests.processes import kibibytes
from tests.processes import serving as serving_process
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider, hangs, replies
from tests.reliability.clients import GET, OPEN, answer, connected, protocols

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

KIB = 1024
CALL = post(b'{"model":"m"}')
LAST = GET.replace(b"Host", b"Connection: close\r\nHost")
READ = 256 * KIB
"""The most that an event loop reads at once."""
FLOODS = {
    "lists": GET * 5000,
    "calls": CALL * 3000,
    "a long body": post(b'{"input":"%b"}' % (b"x" * 1_000_000)),
    "long heads": GET.replace(b"Host", b"X-Long: " + b"x" * 30_000 + b"\r\nHost") * 20,
    "no requests": b"x" * 1_000_000,
}


def text_of(url: str) -> str:
    return f'groups: {{default: {{models: ["*"], call: true}}}}\nproviders: [{{name: a, base_url: "{url}/v1"}}]'


def only_connection(served: Served) -> Any:
    (connection,) = protocols(served)
    return connection


@pytest.mark.parametrize("flood", FLOODS)
async def test_behind_a_call_only_64_kib_and_one_read_are_received(
    flood: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with (
        fake_provider(hangs) as provider,
        serving(config_of(text_of(provider.url)), fetch, clock) as served,
        served.raw(CALL) as (_, writer),
    ):
        await until(lambda: bool(provider.requests))
        writer.write(FLOODS[flood])
        await until(lambda: only_connection(served).flow.read_paused)
        connection = only_connection(served)

        assert 64 * KIB < connection.receiver.waiting <= 64 * KIB + READ
        assert len(served.state.tasks) == 1, "nothing of it was parsed"
        assert circuit_of(served.app, "a").in_flight == 1, "the call continues"
        writer.transport.abort()


async def test_all_pipelined_requests_get_their_responses_in_order(fetch: FakeFetch, clock: FakeClock) -> None:
    """With calls and lists, bodies of every framing, and more data than is received at once."""
    count = 0

    async def counts(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        await replies(completion("m", f"answer {count};"))(exchange)

    fetch.lists("a", "m")
    chunked = CALL.replace(b"Content-Length: 13\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nd\r\n").replace(
        b'"m"}', b'"m"}\r\n0\r\n\r\n'
    )
    long = post(b'{"model":"m"%b}' % (b"\r\n\r\n" * 50_000))
    batch = CALL + GET + chunked + GET + long + GET
    async with fake_provider(counts) as provider, serving(config_of(text_of(provider.url)), fetch, clock) as served:
        expected = (await answer(served, LAST)).replace(b"connection: close\r\n", b"")
        received = await answer(served, batch * 20 + LAST)

    responses = [b"HTTP/1.1" + part for part in received.split(b"HTTP/1.1")[1:]]
    assert len(responses) == 6 * 20 + 1
    body = expected.partition(b"\r\n\r\n")[2]
    assert [response.partition(b"\r\n\r\n")[2] == body for response in responses] == [*[False, True] * 60, True]
    for number, response in enumerate(responses[0:-1:2], 1):
        assert b"answer %d;" % number in response


async def test_one_pipelined_list_is_answered_per_turn_of_the_event_loop(fetch: FakeFetch, clock: FakeClock) -> None:
    async with serving(config_of(OPEN), fetch, clock) as served:
        await answer(served, LAST)  # from now on the list is rendered
        async with served.raw(b"") as (reader, writer):
            await until(lambda: len(served.state.connections) == 1)
            connection = only_connection(served)
            connection.data_received(GET * 10)
            counts = []
            for _ in range(12):
                counts.append((10 - connection.receiver.waiting // len(GET), connection.server_state.total_requests))
                await asyncio.sleep(0)
            writer.transport.abort()
            del reader

    first = counts[0][1]
    assert counts == [(min(turn, 10), first + min(turn, 10) - 1) for turn in range(1, 13)]


async def test_a_chunked_body_of_empty_lines_does_not_block_the_event_loop(fetch: FakeFetch, clock: FakeClock) -> None:
    """Empty lines are where pieces end, so there are as many pieces; other connections have their turn in between."""
    body = b"\r\n\r\n" * 20_000
    request = CALL.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(body), body)
    async with serving(config_of(OPEN), fetch, clock) as served, served.raw(b"") as (_, writer):
        await until(lambda: len(served.state.connections) == 1)
        connection = only_connection(served)
        connection.data_received(request)
        parsed = len(request) - connection.receiver.waiting
        assert parsed < 1000
        await until(lambda: not connection.receiver.waiting)
        writer.transport.abort()


async def test_reading_is_resumed_when_few_requests_are_waiting(fetch: FakeFetch, clock: FakeClock) -> None:
    async with serving(config_of(OPEN), fetch, clock) as served:
        received = await answer(served, GET * 20_000 + LAST)

    assert received.count(b"HTTP/1.1 200 OK\r\n") == 20_001


async def test_a_client_that_leaves_while_reading_is_paused_is_detected(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with fake_provider(hangs) as provider, serving(config_of(text_of(provider.url)), fetch, clock) as served:
        async with served.raw(CALL) as (_, writer):
            await until(lambda: bool(provider.requests))
            writer.write(FLOODS["lists"])
            await until(lambda: only_connection(served).flow.read_paused)
            writer.transport.abort()
        connection = only_connection(served)

        def left() -> bool:
            served.app.connections.sweep(asyncio.get_running_loop().time())
            return connection not in served.state.connections

        await until(left)
        await until(lambda: circuit_of(served.app, "a").in_flight == 0)


def test_3_mib_of_pipelined_requests_cost_no_memory(tmp_path: Path) -> None:
    """While the first one waits for a provider that does not respond."""
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
    text = f"""
groups: {{default: {{models: ["*"], call: true}}}}
providers: [{{name: a, kind: static, models: [{{id: m}}], call: {{base_url: "{url}"}}}}]
"""
    with silent, serving_process(tmp_path / "config.yaml", text) as process:
        with connected(process.url) as warm:
            warm.sendall(GET)
            warm.recv(100)
            warm.sendall(CALL)  # the code of calls is loaded by the first one
            silent.accept()[0].close()
            warm.recv(100)
        before = kibibytes(process.pid, "VmHWM")
        with connected(process.url) as connection:
            connection.sendall(CALL)
            with silent.accept()[0]:
                connection.setblocking(False)
                flood = GET * 80_000
                sent = 0
                with suppress(BlockingIOError):
                    while sent < len(flood):
                        sent += connection.send(flood[sent:])
                        with connected(process.url) as other:  # meanwhile, other clients are served
                            other.sendall(GET)
                            assert other.recv(100)
        grown = kibibytes(process.pid, "VmHWM") - before

    assert sent > 300_000
    assert grown < 4 * 1024, f"{grown} KiB"

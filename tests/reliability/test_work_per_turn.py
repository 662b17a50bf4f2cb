"""What a provider sends is read in short steps, between which everything else runs, whatever its form."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any

import pytest

from proxy import decoding
from proxy.asgi import Header
from proxy.inference.deadline import CallScope, DeadlineTimer
from proxy.inference.error_redaction import Redaction
from proxy.inference.response import event_stream
from proxy.inference.response.client import ClientResponse
from proxy.inference.response.content import content_of
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.ids import IdReader
from proxy.inference.response.observer import observer_of
from proxy.upstream.exchange import Exchange
from proxy.upstream.protocol import Protocol, Turns
from proxy.upstream.response import UpstreamResponse
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import post, serving, until
from tests.providers.calls import completion
from tests.providers.scripted import Exchange as Exchanged
from tests.providers.scripted import fake_provider, replies

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SLICE = 4 * 1024
PIECE = 64 * 1024
MIB = 1024 * 1024


class Pipe(asyncio.Transport):
    """The transport of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Pooled:
    """A connection of a pool."""

    def __init__(self, transport: Pipe) -> None:
        self.transport = transport
        self.is_reused: bool | None = None

    def release(self) -> None:
        self.is_reused = True

    def close(self) -> None:
        self.is_reused = False


class Line:
    """A connection to a provider, and its exchange."""

    def __init__(self, turns: Turns, monotonic: Callable[[], float]) -> None:
        self.transport = Pipe()
        self.pooled = Pooled(self.transport)
        self.protocol = Protocol(asyncio.get_running_loop(), monotonic, turns)
        self.protocol.connection_made(self.transport)
        self.exchange = Exchange(self.pooled, self.protocol, {})
        self.protocol.begin(self.exchange, b"", b"")


def one_byte_chunks(size: int) -> bytes:
    return HEAD + b"1\r\nx\r\n" * size + b"0\r\n\r\n"


def slow() -> Callable[[], float]:
    """A clock on which a millisecond passes between two looks."""
    milliseconds = count()
    return lambda: next(milliseconds) / 1000


async def test_one_iteration_parses_only_as_much_as_its_time_allows() -> None:
    line = Line(Turns(asyncio.get_running_loop()), slow())
    data = one_byte_chunks(40_000)
    line.protocol.data_received(data)
    iterations = 1
    assert line.transport.is_paused, "nothing more is read meanwhile"
    sizes = [len(line.exchange.read_nowait())]
    while not line.exchange.is_over:
        await asyncio.sleep(0)
        iterations += 1
        sizes.append(len(line.exchange.read_nowait()))

    assert sum(sizes) == 40_000
    assert max(sizes) <= SLICE // 6 + 1
    assert iterations == -(-len(data) // SLICE)
    assert (line.transport.is_paused, line.pooled.is_reused) == (False, True)


async def test_a_fast_parser_reads_everything_at_once() -> None:
    line = Line(Turns(asyncio.get_running_loop()), lambda: 0.0)
    line.protocol.data_received(one_byte_chunks(40_000))

    assert (len(line.exchange.read_nowait()), line.exchange.is_over) == (40_000, True)


async def test_connections_to_one_provider_take_turns() -> None:
    turns, clock = Turns(asyncio.get_running_loop()), slow()
    lines = [Line(turns, clock) for _ in range(3)]
    for line in lines:
        line.protocol.data_received(one_byte_chunks(40_000))
    shares: list[list[bool]] = []
    for _ in range(9):
        before = [line.exchange._size for line in lines]
        await asyncio.sleep(0)
        shares.append([line.exchange._size > was for line, was in zip(lines, before, strict=True)])

    assert [share.count(True) for share in shares] == [1] * 9
    assert [sum(share[index] for share in shares) for index in range(3)] == [3, 3, 3]


async def test_what_has_arrived_before_the_end_of_a_connection_is_read_after_it() -> None:
    line = Line(Turns(asyncio.get_running_loop()), slow())
    line.protocol.data_received(one_byte_chunks(40_000))
    line.protocol.connection_lost(None)

    assert (len(line.exchange.read_nowait()), line.exchange.is_over) == (40_000, True)
    assert line.pooled.is_reused is False


async def test_nothing_is_parsed_for_a_call_that_was_closed() -> None:
    line = Line(Turns(asyncio.get_running_loop()), slow())
    line.protocol.data_received(one_byte_chunks(40_000))
    read = line.exchange._size
    line.exchange.close()
    await asyncio.sleep(0)

    assert line.exchange._size == read


async def test_more_than_a_response_closes_the_connection() -> None:
    line = Line(Turns(asyncio.get_running_loop()), slow())
    line.protocol.data_received(one_byte_chunks(1_000) + b"HTTP/1.1 200 OK\r\n" * 1_000)
    await until(lambda: line.exchange.is_complete)

    assert line.pooled.is_reused is False


# -- gzip --------------------------------------------------------------------------------------------------------------


class Compressed:
    """A response that has arrived, in pieces of 64 KiB."""

    status = 200
    raw_headers: Sequence[Header] = [(b"content-encoding", b"gzip")]
    sent_headers: Mapping[str, str] = MappingProxyType({})
    is_over = False

    def __init__(self, body: bytes) -> None:
        self._pieces: Iterator[bytes] = iter([body[at : at + PIECE] for at in range(0, len(body), PIECE)])

    def read_nowait(self) -> bytes:
        return b""

    async def read(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        pass


def answer_of(body: bytes) -> UpstreamResponse:
    return UpstreamResponse(Compressed(body), config_of("providers: [{name: a, base_url: 'http://a'}]").providers[0])


async def test_a_short_gzip_body_that_is_long_is_read_piece_by_piece() -> None:
    body = gzip.compress(b" " * (150 * MIB), 9)
    assert len(body) < 160_000
    answer = answer_of(body)
    tracemalloc.start()
    try:
        sizes = []
        while piece := await answer.read():
            sizes.append(len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (sum(sizes), max(sizes)) == (150 * MIB, PIECE)
    assert peak < 2 * MIB
    assert answer.is_inflated


@pytest.mark.parametrize(
    "body", [gzip.compress(b" " * (2 * MIB)), gzip.compress(b"") * 1000], ids=["long", "empty members"]
)
async def test_others_run_between_the_pieces_of_a_gzip_body(body: bytes) -> None:
    answer = answer_of(body)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    while await answer.read():
        pass
    task.cancel()

    assert turns >= 32


async def test_an_ordinary_gzip_body_is_buffered() -> None:
    answer = answer_of(gzip.compress(bytes(range(256)) * 100 + json.dumps(completion("m")).encode()))
    while await answer.read():
        pass

    assert not answer.is_inflated


async def test_json_that_unpacks_to_very_much_is_streamed(fetch: FakeFetch, clock: FakeClock) -> None:
    body = b'{"model":"own","x":"' + b"x" * (8 * MIB) + b'"}'
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with fake_provider(replies(gzip.compress(body), headers=headers)) as provider:
        fetch.lists("a", "own")
        text = f"providers: [{{name: a, base_url: '{provider.url}/v1', aliases: {{m: own}}}}]\n"
        async with serving(config_of(text + "groups: {default: {models: ['*'], call: true}}"), fetch, clock) as served:
            answer = await served.call()

    assert answer.content == body.replace(b"own", b"m")
    assert "content-length" not in answer.headers


# -- events and JSON ---------------------------------------------------------------------------------------------------


def wide(members: int) -> bytes:
    return ",".join(f'"m{number}":{number}' for number in range(members)).encode()


def test_a_wide_event_is_passed_on_before_its_end() -> None:
    event = b'data: {"model":"own",%b}\n\n' % wide(50_000)
    events = EventStreamRenamer("own", "m")
    out = [events.feed(event[at : at + 4096]) for at in range(0, len(event), 4096)]

    assert b"".join(out) == event.replace(b"own", b"m")
    held = 0
    for at, passed in zip(range(0, len(event), 4096), out, strict=True):
        held += len(event[at : at + 4096]) - len(passed)
        assert held <= PIECE + 4096


def test_a_long_line_of_a_virtual_model_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    original = decoding.count_values

    def count_values(part: bytes) -> int:
        counted.append(len(part))
        return original(part)

    monkeypatch.setattr(event_stream, "count_values", count_values)
    event = b'data: {"model":"own","x":"%b"}\n\n' % (b"x" * 500_000)
    events = EventStreamRenamer(None, "m", error_texts=ErrorTexts(Redaction([], [], {"m": "own"})))
    out = [events.feed(event[at : at + 2048]) for at in range(0, len(event), 2048)]

    assert b"".join(out) == event.replace(b"own", b"m")
    assert 400_000 < sum(counted) < 600_000


def test_a_long_event_is_read_unless_it_has_very_many_values() -> None:
    found: list[str] = []
    ids = IdReader("/v1/responses", found.append)
    events = EventStreamRenamer("own", "m", observer_of(ids, None))
    long = b"x" * 100_000
    events.feed(b'data: {"type":"response.completed","response":{"id":"r-1","x":"%b"}}\n\n' % long)
    events.feed(b'data: {"type":"response.completed","response":{"id":"r-2"},%b}\n\n' % wide(50_000))

    assert found == ["r-1"]
    assert events.end.is_over


def test_json_with_very_many_values_has_no_ids() -> None:
    found: list[str] = []
    IdReader("/v1/responses", found.append).read(b'{"id":"r-1",%b}' % wide(50_000))

    assert found == []


@pytest.mark.parametrize("own", ["own", "m"])
async def test_long_json_is_renamed_as_a_whole(own: str, fetch: FakeFetch, clock: FakeClock) -> None:
    usage = b'"usage":{"prompt_tokens":3,"completion_tokens":5}'
    body = b'{"id":"c","model":"own",%b,%b}' % (wide(100_000), usage)
    async with fake_provider(replies(body)) as provider:
        fetch.lists("a", "own")
        text = f"providers: [{{name: a, base_url: '{provider.url}/v1', aliases: {{{own}: own}}}}]\n"
        async with serving(config_of(text + "groups: {default: {models: ['*'], call: true}}"), fetch, clock) as served:
            answer = await served.call(own)

            assert answer.content == body.replace(b'"model":"own"', b'"model":"%b"' % own.encode())
            assert answer.headers["content-length"] == str(len(answer.content))
            assert [counts.output_tokens for _, counts in served.attempts] == [5]


def test_blanks_after_a_bracket_are_not_awaited_for_ever() -> None:
    assert content_of(b"{" + b" " * 1000, is_whole=False) is None
    assert content_of(b"{" + b" " * 100_000, is_whole=False) == "json"


async def test_calls_with_much_work_take_turns() -> None:
    timer = DeadlineTimer()
    order: list[tuple[int, str]] = []

    async def call(name: str) -> None:
        with CallScope(timer, lambda on_disconnect: lambda: None, 60.0) as scope:
            for _ in range(3):
                await scope.next_turn()
                order.append((turn, name))

    tasks = [asyncio.create_task(call(name)) for name in "abc"]
    turn = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1

    turns = [each for each, _ in order]
    assert len(set(turns)) == len(order) == 9, "one call continues in each iteration"
    assert [name for _, name in order][:3] == ["a", "b", "c"]


async def test_a_call_ends_with_its_client_although_more_arrives_than_is_read(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def endless(exchange: Exchanged) -> None:
        await exchange.stream()
        event = b'data: {"choices":[{"delta":{"content":"a"}}],%b}\n\n' % wide(20_000)
        while not exchange.writer.is_closing():
            await exchange.chunk(event)
        exchange.keep = False

    async with fake_provider(endless) as provider:
        fetch.lists("a", "m")
        text = f"providers: [{{name: a, base_url: '{provider.url}/v1'}}]\n"
        async with serving(config_of(text + "groups: {default: {models: ['*'], call: true}}"), fetch, clock) as served:
            async with served.raw(post(b'{"model":"m","stream":true}')) as (reader, _):
                await reader.readexactly(4 * MIB)
            await until(lambda: provider.open == 0)


async def test_a_long_json_response_is_never_decoded_redacted_or_written_at_once(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def record(owner: type, name: str, size_of: Callable[[Any], int]) -> None:
        original = getattr(owner, name)

        def recorded(self: object, value: Any) -> object:
            sizes.append(size_of(value))
            return original(self, value)

        monkeypatch.setattr(owner, name, recorded)

    record(IdReader, "read", len)
    record(Redaction, "text", len)
    record(ClientResponse, "send_whole", lambda response: len(response.body))
    long = "x" * MIB
    body = {"id": "resp_1", "model": "m", "output": [{"type": "message", "id": long}], "error": {"message": long}}
    async with fake_provider(replies(body)) as up:
        fetch.lists("a", "m")
        text = f"""
providers: [{{name: a, base_url: "{up.url}/v1"}}]
models: [{{id: smart, targets: [m]}}]
keys: [{{name: alice, hash: "{digest("sk-canary-alice")}", models: ["*"]}}]
"""
        async with serving(config_of(text), fetch, clock) as served:
            headers = {"x-api-key": "sk-canary-alice"}
            response = await served.client.post("/v1/responses", json={"model": "smart"}, headers=headers)

    assert response.json() == {**body, "model": "smart", "error": {"message": ""}}
    assert 0 < max(sizes) < PIECE

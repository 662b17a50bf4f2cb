"""Every fault of a provider x one or two offers x JSON or a stream; and clients that disconnect at any moment."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.leaks import Held
from tests.listening import TIMEOUT, Served, circuit_of, connections_of, post, serving, until
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import (
    Exchange,
    FakeProvider,
    Script,
    fake_provider,
    hangs,
    in_sequence,
    not_http,
    replies,
    resets,
)
from tests.providers.server import closed_port, response_head

pytestmark = pytest.mark.anyio

FINE_JSON = replies(completion("m", "fine"))
FINE_STREAM = streams(chunk_event("m", "fine"), DONE)


@asynccontextmanager
async def calling(
    fetch: FakeFetch,
    clock: FakeClock,
    *scripts: Script | None,
    defaults: str = "{}",
    server: str = "{}",
    more: str = "",
) -> AsyncIterator[tuple[Served, list[FakeProvider]]]:
    providers = []
    text = f"server: {server}\ndefaults: {defaults}\n"
    text += "groups: {default: {models: ['*'], call: true}}\nproviders:\n"
    servers = [fake_provider(script or FINE_JSON) for script in scripts]
    try:
        for name, script, server_of in zip("abc", scripts, servers, strict=False):
            provider = await server_of.__aenter__()
            providers.append(provider)
            url = provider.url if script else f"http://127.0.0.1:{closed_port()}"
            text += f'  - {{name: {name}, base_url: "{url}/v1"{more}}}\n'
            fetch.lists(name, "m", f"only-{name}")
        text += "models: [{id: virtual, targets: [only-a, only-b]}]\n"
        async with serving(config_of(text), fetch, clock) as served:
            yield served, providers
    finally:
        for server_of in servers[: len(providers)]:
            await server_of.__aexit__(None, None, None)


# -- the matrix --------------------------------------------------------------------------------------------------------


async def hangs_in_json(exchange: Exchange) -> None:
    await exchange.send(response_head(200, {"Content-Type": "application/json", "Content-Length": "1000"}) + b'{"id":')
    await exchange.closed()


async def hangs_in_stream(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(chunk_event("m", "one"))
    await exchange.closed()


async def resets_in_json(exchange: Exchange) -> None:
    await exchange.send(response_head(200, {"Content-Type": "application/json", "Content-Length": "1000"}) + b'{"id":')
    exchange.reset()


async def resets_in_stream(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(chunk_event("m", "one"))
    exchange.reset()


async def error_as_first_event(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(b'data: {"error":{"message":"no worker","code":502}}\n\n')
    await exchange.closed()


@dataclass(frozen=True)
class Fault:
    json: Script | None
    """The fault of a JSON response; None: connection refused."""
    stream: Script | None
    status: int
    """The client's status without failover. A stream that has started has 200 and an error event."""
    code: str
    fails_over: bool = False


ERROR = replies({"error": {"message": "no worker", "code": 502}})
FAULTS = {
    "refused": Fault(None, None, 502, "provider_failed", fails_over=True),
    "hangs before the head": Fault(hangs, hangs, 504, "timeout"),
    "hangs within the answer": Fault(hangs_in_json, hangs_in_stream, 504, "timeout"),
    "reset before the head": Fault(resets, resets, 502, "provider_failed"),
    "reset within the answer": Fault(resets_in_json, resets_in_stream, 502, "provider_failed"),
    "429": Fault(replies({}, 429), replies({}, 429), 429, "", fails_over=True),
    **{
        str(status): Fault(replies({}, status), replies({}, status), 502, code, fails_over=True)
        for status, code in ((401, "provider_auth"), (402, "provider_credit"), (405, "provider_rejected"))
    },
    "404": Fault(replies({}, 404), replies({}, 404), 404, "", fails_over=True),
    "529": Fault(replies({}, 529), replies({}, 529), 503, "provider_unavailable", fails_over=True),
    "an error with 200": Fault(ERROR, ERROR, 502, "provider_failed", fails_over=True),
    "an error as the first event": Fault(ERROR, error_as_first_event, 502, "provider_failed", fails_over=True),
    "500": Fault(replies({}, 500), replies({}, 500), 502, "provider_failed"),
    "garbage": Fault(not_http, not_http, 502, "provider_failed"),
}


KEYS = ", api_keys: [sk-canary-first-key, sk-canary-second-key]"

# Short for the faults that are timeouts; the others must not time out on a busy machine.
LIMITS = {
    "hangs before the head": "{first_byte_timeout: 300ms}",
    "hangs within the answer": "{idle_timeout: 150ms}",
}


@pytest.mark.parametrize("stream", [pytest.param(False, id="JSON"), pytest.param(True, id="a stream")])
@pytest.mark.parametrize(
    ("model", "more"), [("m", ""), ("virtual", ""), ("m", KEYS)], ids=["a model", "a virtual model", "a key pool"]
)
@pytest.mark.parametrize("offers", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_has_one_response_and_leaks_nothing(
    name: str, offers: int, model: str, more: str, stream: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fault = FAULTS[name]
    fine = FINE_STREAM if stream else FINE_JSON
    scripts = [fault.stream if stream else fault.json, fine][:offers]
    limits = LIMITS.get(name, "{}")
    async with calling(fetch, clock, *scripts, defaults=limits, more=more) as (served, providers):
        before = Held.now()
        # On a separate connection, so that the descriptors counted below are the proxy's.
        body = msgspec.json.encode({"model": model, "stream": stream})
        async with served.raw(post(body, Connection="close")) as (reader, _):
            async with asyncio.timeout(TIMEOUT):
                top, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        status = int(top.split(b" ")[1])
        if fault.fails_over and offers == 2:
            assert status == 200
            assert b"fine" in rest
            assert len(providers[1].requests) == 1
        elif stream and "within" in name:
            assert status == 200
            events = plain(rest)
            assert events.startswith(chunk_event(model, "one") + b'data: {"error":')
            assert events.endswith(b'"code":"%b"}}\n\n' % fault.code.encode())
            assert rest.endswith(b"\r\n0\r\n\r\n")
            assert b"[DONE]" not in rest
        else:
            assert status == fault.status
            assert fault.code.encode() in rest
            assert msgspec.json.decode(rest) is not None
        for provider in "ab"[:offers]:
            assert circuit_of(served.app, provider).in_flight == 0
            session = connections_of(served.app, provider)._session
            assert session is None or session.connector is None or not session.connector._acquired
        reusable = sum(provider.open for provider in providers)  # a connection with a complete response is reused
        assert reusable == sum(
            name.isdigit() or (fault.json is ERROR and not (stream and "event" in name)) or provider.script is fine
            for provider in providers
            if provider.requests
        )
        if reusable == 0:
            assert await before.left() == Held()


def sockets() -> set[str]:
    """The open sockets of this process, by their inodes."""
    return {link for link in map(_link, os.listdir("/dev/fd")) if link.startswith("socket:")}


def _link(descriptor: str) -> str:
    try:
        return os.readlink(f"/dev/fd/{descriptor}")
    except FileNotFoundError:
        return ""  # of the directory itself


def plain(chunked: bytes) -> bytes:
    """A chunked body, decoded."""
    out, at = b"", 0
    while True:
        line_end = chunked.index(b"\r\n", at)
        size = int(chunked[at:line_end], 16)
        if size == 0:
            return out
        out += chunked[line_end + 2 : line_end + 2 + size]
        at = line_end + 2 + size + 2


# -- disconnects -------------------------------------------------------------------------------------------------------

MANY = 1000
AT_ONCE = 50
TURNS = 60
"""Iterations of the event loop. With this maximum some calls reach the second provider and some do not, on any
machine."""


@pytest.mark.parametrize("moment", ["before the head", "within the stream", "during failover", "during the upload"])
async def test_a_disconnect_closes_the_providers_connection_within_a_second(
    moment: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    scripts = [replies({}, 503), hangs] if moment == "during failover" else [hangs]
    if moment == "within the stream":
        scripts = [hangs_in_stream]
    if moment == "during the upload":
        await client_disconnects_during_the_upload(fetch, clock)
        return
    async with calling(fetch, clock, *scripts) as (served, providers):
        async with served.raw(post(b'{"model":"m","stream":true}')) as (reader, _):
            await until(lambda: bool(providers[-1].requests))
            if moment == "within the stream":
                await reader.readuntil(b'"one"')
        await until(lambda: providers[-1].open == 0, 1)
        assert circuit_of(served.app, "a").in_flight == 0
        left = [
            counts.outcomes.get("client_disconnected")
            for labels, counts in served.attempts
            if labels.provider == "ab"[len(scripts) - 1]
        ]
        assert left == [1]


async def client_disconnects_during_the_upload(fetch: FakeFetch, clock: FakeClock) -> None:
    connected = asyncio.Event()
    transports: list[asyncio.Transport] = []

    class NotReading(asyncio.Protocol):
        """Reads nothing after the first bytes."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transports.append(transport)

        def data_received(self, data: bytes) -> None:
            transports[0].pause_reading()
            connected.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(NotReading, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = config_of(f"""
providers: [{{name: a, base_url: "http://127.0.0.1:{port}/v1"}}]
groups: {{default: {{models: ["*"], call: true}}}}
""")
    fetch.lists("a", "m")
    async with serving(config, fetch, clock) as served:
        held = sockets()
        async with served.raw(post(b'{"model":"m","input":"%b"}' % (b"x" * 16_000_000))):
            await asyncio.wait_for(connected.wait(), 5)
            await asyncio.sleep(0.2)  # until the kernel's buffers are full
        await until(lambda: circuit_of(served.app, "a").in_flight == 0, 1)
        # The provider's end of the connection is in this process, too; it does not read, so it stays open.
        await until(lambda: len(sockets() - held) == 1, 1)
        transports[0].abort()
    server.close()


@pytest.mark.parametrize("moment", ["before the head", "within the stream", "during failover", "at any moment"])
async def test_a_thousand_disconnects_leak_nothing(moment: str, fetch: FakeFetch, clock: FakeClock) -> None:
    chance = random.Random(7)
    moments: dict[str, list[Script]] = {
        "before the head": [hangs],
        "within the stream": [hangs_in_stream],
        "during failover": [replies({}, 503, {"Connection": "close"}), hangs],
        "at any moment": [replies({}, 503, {"Connection": "close"}), hangs_in_stream],
    }
    scripts = moments[moment]
    if moment in ("during failover", "at any moment"):
        scripts[0] = closing(scripts[0])
    # The circuit is reset for each call, so that the first provider always returns 503.
    async with calling(fetch, clock, *scripts) as (served, providers):
        request = post(b'{"model":"m","stream":true}')
        await served.app.deployment.inference()
        before = Held.now()

        async def come_and_go() -> None:
            circuit_of(served.app, "a").succeeded("m")
            async with served.raw(request) as (reader, _):
                if moment == "at any moment":
                    for _ in range(chance.randrange(TURNS)):
                        await asyncio.sleep(0)
                elif moment == "within the stream":
                    await reader.readuntil(b'"one"')
                else:
                    await arrivals.acquire()

        arrivals = asyncio.Semaphore(0)
        last = providers[-1].script

        async def arrived(exchange: Exchange) -> None:
            arrivals.release()
            await last(exchange)

        providers[-1].script = arrived
        for _ in range(MANY // AT_ONCE):
            async with asyncio.timeout(60):
                await asyncio.gather(*(come_and_go() for _ in range(AT_ONCE)))
        await until(lambda: all(provider.open == 0 for provider in providers), 5)
        gc.collect()
        left = await before.left()
        assert left == Held()
        for name in ("a", "b")[: len(scripts)]:
            assert circuit_of(served.app, name).in_flight == 0
            session = connections_of(served.app, name)._session
            assert session is not None
            assert session.connector is not None
            assert len(session.connector._acquired) == 0
        counted = sum(counts.outcomes.get("client_disconnected", 0) for _, counts in served.attempts)
        assert counted <= MANY
        if moment == "at any moment":
            assert 0 < len(providers[-1].requests) < MANY, "some disconnected before the failover, some after it"
        else:
            assert counted == MANY


def closing(script: Script) -> Script:
    async def closes(exchange: Exchange) -> None:
        await script(exchange)
        exchange.keep = False

    return closes


# -- a client that does not read ---------------------------------------------------------------------------------------


async def test_an_unread_response_is_buffered_only_up_to_a_limit(fetch: FakeFetch, clock: FakeClock) -> None:
    written = 0
    event = chunk_event("m", "x" * 10_000)

    async def floods(exchange: Exchange) -> None:
        nonlocal written
        await exchange.stream()
        exchange.writer.transport.set_write_buffer_limits(high=0)
        for _ in range(20_000):  # 200 MB
            await exchange.chunk(event)
            written += len(event)

    async with calling(fetch, clock, floods) as (served, (provider,)):
        async with served.raw(post(b'{"model":"m","stream":true}')):
            seen = -1
            while seen != written:  # until it stops
                seen = written
                for _ in range(50):
                    await asyncio.sleep(0.002)
            # The kernel's buffers of two connections, and the buffers of the proxy.
            assert 0 < written < 30_000_000
        await until(lambda: provider.open == 0, 1)


async def test_a_client_that_does_not_read_is_disconnected_after_idle_timeout(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def floods(exchange: Exchange) -> None:
        await exchange.stream()
        while True:
            await exchange.chunk(b"data: " + b"x" * 100_000 + b"\n\n")

    async with calling(fetch, clock, floods, defaults="{idle_timeout: 200ms}") as (served, (provider,)):
        async with served.raw(post(b'{"model":"m","stream":true}')):
            await until(lambda: len(provider.requests) == 1)
            await until(lambda: provider.open == 0, 5)
        assert [counts.outcomes for _, counts in served.attempts] == [{"client_disconnected": 1}]


# -- streams, byte by byte ---------------------------------------------------------------------------------------------


async def test_stream_bytes_are_relayed_immediately(fetch: FakeFetch, clock: FakeClock) -> None:
    go_on = asyncio.Semaphore(0)
    first, text = chunk_event("m", "one"), chunk_event("m", "two") + DONE

    async def byte_by_byte(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(first)  # until then another provider could be tried
        for byte in text:
            await go_on.acquire()
            await exchange.chunk(bytes([byte]))
        await exchange.end()

    async with (
        calling(fetch, clock, byte_by_byte) as (served, _),
        served.client.stream("POST", "/v1/chat/completions", json={"model": "m"}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        body = answer.aiter_raw()
        assert await asyncio.wait_for(anext(body), 5) == first
        for byte in text:
            go_on.release()
            assert await asyncio.wait_for(anext(body), 5) == bytes([byte])


@pytest.mark.parametrize("plain_http", ["", "1"], ids=["own protocol", "plain"])
@pytest.mark.parametrize("more", ["", "Connection: keep-alive\r\n"], ids=["close", "keep-alive"])
async def test_an_http_1_0_client_gets_a_stream_without_chunk_sizes(
    more: str, plain_http: str, fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", plain_http)
    request = post(b'{"model":"m"}').replace(b" HTTP/1.1\r\n", f" HTTP/1.0\r\n{more}".encode())
    async with calling(fetch, clock, in_sequence(FINE_STREAM, FINE_JSON)) as (served, _):
        async with served.raw(request) as (reader, _):
            top, _, body = (await asyncio.wait_for(reader.read(), TIMEOUT)).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in top.lower()
        assert body == chunk_event("m", "fine") + DONE
        async with served.raw(request) as (reader, _):
            top, _, body = (await asyncio.wait_for(reader.read(), TIMEOUT)).partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in top.lower()
        assert body == msgspec.json.encode(completion("m", "fine"))
        assert [counts.outcomes for _, counts in served.attempts] == [{"ok": 2}]


async def test_an_interrupted_http_1_0_stream_ends_with_an_error_event(fetch: FakeFetch, clock: FakeClock) -> None:
    request = post(b'{"model":"m"}').replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")
    async with calling(fetch, clock, resets_in_stream) as (served, _), served.raw(request) as (reader, _):
        answer = await asyncio.wait_for(reader.read(), TIMEOUT)
    assert answer.partition(b"\r\n\r\n")[2].startswith(chunk_event("m", "one") + b'data: {"error":')


async def test_keep_alive_comments_are_sent_only_between_events(fetch: FakeFetch, clock: FakeClock) -> None:
    steps = asyncio.Semaphore(0)

    async def slow(exchange: Exchange) -> None:
        await steps.acquire()
        await exchange.stream()
        for part in (b"event: a\n", b"data: {}\n", b"\n", DONE):
            await steps.acquire()
            await exchange.chunk(part)
        await exchange.end()

    async with (
        calling(fetch, clock, slow, server="{sse_keepalive: 20ms}") as (served, (provider,)),
        served.raw(post(b'{"model":"m"}', Connection="close")) as (reader, _),
    ):
        await until(lambda: bool(provider.requests))
        await asyncio.sleep(0.1)
        steps.release()
        top = await reader.readuntil(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200"), "no comment is sent before the head"
        for _ in range(2):
            assert await reader.readuntil(b"\n\n\r\n") == b"e\r\n: keep-alive\n\n\r\n"
        steps.release()
        await reader.readuntil(b"event: a\n\r\n")
        await asyncio.sleep(0.1)  # an empty line here would end the event
        steps.release()
        assert await reader.readuntil(b"\n\r\n") == b"9\r\ndata: {}\n\r\n"
        steps.release()
        assert await reader.readuntil(b"\n\r\n") == b"1\r\n\n\r\n"
        assert await reader.readuntil(b"\n\n\r\n") == b"e\r\n: keep-alive\n\n\r\n"
        steps.release()
        rest = await reader.read()
        assert rest.replace(b"e\r\n: keep-alive\n\n\r\n", b"") == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "out"),
    [
        pytest.param([], b"", id="before the first event"),
        pytest.param([chunk_event("m", "one")], chunk_event("m", "one"), id="between two events"),
        pytest.param([b"data: {}\n"], b"data: {}\n\n\n", id="between two lines"),
        pytest.param([b"data: {}\n\n", b'data: {"a'], b'data: {}\n\ndata: {"a\n\n', id="within a line"),
    ],
)
async def test_an_interrupted_stream_ends_with_an_error_event(
    sent: list[bytes], out: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        for part in sent:
            await exchange.chunk(part)
        exchange.keep = False

    message = "The provider of this model closed the connection mid-response."
    error = {"message": message, "type": "upstream_error", "status": 502}
    openai = b'data: {"error":%b,"param":null,"code":"provider_failed"}}\n\n' % msgspec.json.encode(error)[:-1]
    async with calling(fetch, clock, interrupts) as (served, _):
        assert (await served.call(stream=True)).content == out + openai
        anthropic = (await served.call(path="/v1/messages", stream=True)).content
        assert anthropic == out + (
            b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
            b'"message":"The provider of this model closed the connection mid-response.","status":502}}\n\n'
        )


LAST_EVENTS = {
    "/v1/chat/completions": [DONE, chunk_event("m", "").replace(b'"finish_reason":null', b'"finish_reason":"stop"')],
    "/v1/completions": [DONE, b'data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]}\n\n'],
    "/v1/responses": [b'event: response.incomplete\ndata: {"type":"response.incomplete","response":{}}\n\n'],
    "/v1/messages": [b'event: message_stop\ndata: {"type":"message_stop"}\n\n'],
    "/v1/audio/speech": [b'data: {"type":"speech.audio.done"}\n\n'],
    "/v1/images/generations": [b'data: {"type":"image_generation.completed","b64_json":"eA=="}\n\n'],
}


async def no_last_chunk(exchange: Exchange, text: bytes) -> None:
    await exchange.stream()
    await exchange.chunk(text)
    exchange.keep = False


async def reset_at_once(exchange: Exchange, text: bytes) -> None:
    await exchange.stream()
    await exchange.chunk(text)
    exchange.reset()


async def a_broken_chunk(exchange: Exchange, text: bytes) -> None:
    await exchange.stream()
    await exchange.chunk(text)
    await asyncio.sleep(0.05)  # otherwise the HTTP client rejects the head, too
    await exchange.send(b"no size\r\n")
    exchange.keep = False


async def a_longer_content_length(exchange: Exchange, text: bytes) -> None:
    lines = {"Content-Type": "text/event-stream", "Content-Length": "100000"}
    await exchange.send(response_head(200, lines) + text)
    exchange.keep = False


async def no_framing(exchange: Exchange, text: bytes) -> None:
    await exchange.send(response_head(200, {"Content-Type": "text/event-stream"}) + text)
    exchange.keep = False


async def a_stall(exchange: Exchange, text: bytes) -> None:
    await exchange.stream()
    await exchange.chunk(text)
    await exchange.closed()


async def gzip_without_an_end(exchange: Exchange, text: bytes) -> None:
    await exchange.stream(**{"Content-Encoding": "gzip"})
    packer = zlib.compressobj(wbits=31)
    await exchange.chunk(packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))
    exchange.reset()


FRAMINGS = [no_last_chunk, reset_at_once, a_broken_chunk, a_longer_content_length, no_framing, a_stall,
            gzip_without_an_end]  # fmt: skip


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.__name__)
@pytest.mark.parametrize(
    ("path", "last"), [pytest.param(path, last, id=path) for path, events in LAST_EVENTS.items() for last in events]
)
async def test_a_stream_that_had_its_last_event_is_complete_whatever_its_framing_does(
    framing: Any, path: str, last: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = chunk_event("m", "one") + last

    async def script(exchange: Exchange) -> None:
        await framing(exchange, text)

    limits = "{idle_timeout: 150ms}" if framing is a_stall else "{}"
    async with calling(fetch, clock, script, defaults=limits) as (served, (provider,)):
        for _ in range(6):  # five failures open the circuit breaker
            assert (await served.call(path=path, stream=True)).content == text
        assert circuit_of(served.app, "a").state == "ok"
        assert [counts.outcomes for _, counts in served.attempts] == [{"ok": 6}]
        await until(lambda: provider.open == 0)


@pytest.mark.parametrize("framing", [no_last_chunk, reset_at_once, a_longer_content_length, no_framing])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_a_stream_without_its_last_event_is_interrupted(
    framing: Any, path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = chunk_event("m", "data: [DONE] message_stop response.completed")

    async def script(exchange: Exchange) -> None:
        await framing(exchange, text)

    async with calling(fetch, clock, script) as (served, _):
        content = (await served.call(path=path, stream=True)).content
        assert content.startswith(text)
        assert b"closed the connection mid-response" in content
        assert [counts.outcomes for _, counts in served.attempts] == [{"interrupted": 1}]


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/embeddings"])
async def test_a_stream_that_may_have_no_last_event_can_end_by_closing(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        await no_framing(exchange, b"data: {}\n\n")

    async with calling(fetch, clock, script) as (served, _):
        assert (await served.call(path=path)).content == b"data: {}\n\n"


async def test_an_interrupted_stream_of_responses_ends_with_its_own_error_event(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    first = b'event: response.created\ndata: {"type":"response.created","sequence_number":4,"response":{}}\n\n'

    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(first)
        await exchange.chunk(b": ping\n\n")
        exchange.reset()

    async with calling(fetch, clock, interrupts) as (served, _):
        content = (await served.call(path="/v1/responses", stream=True)).content
    message = "The provider of this model closed the connection mid-response."
    fields = {"code": "provider_failed", "message": message, "param": None, "status": 502}
    assert content.startswith(b": ping\n\n" + first + b"event: error\ndata: ")
    assert msgspec.json.decode(content.rpartition(b"data: ")[2]) == {
        "type": "error",
        **fields,
        "sequence_number": 5,
        "error": {"type": "upstream_error", **fields},
    }


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.__name__)
@pytest.mark.parametrize("line_ends", [("", ""), ("\n", ""), ("", "\n"), ("\n\n", "\n")], ids=repr)
async def test_complete_json_is_relayed_whatever_its_framing_does(
    framing: Any, line_ends: tuple[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    before, after = (line_end.encode() for line_end in line_ends)
    text = before + msgspec.json.encode(completion("m")) + after

    async def script(exchange: Exchange) -> None:
        await framing(JsonExchange(exchange.request, exchange.reader, exchange.writer), text)
        exchange.keep = False

    limits = "{idle_timeout: 150ms}" if framing is a_stall else "{}"
    async with calling(fetch, clock, script, defaults=limits) as (served, _):
        for _ in range(6):
            assert (await served.call()).content == text
        assert circuit_of(served.app, "a").state == "ok"


@pytest.mark.parametrize("text", [b'{"n":1}\n{"n":2}\n', b'{"n":1}\n{"n"', b'\n{"n":'])
async def test_interrupted_json_closes_the_clients_connection(text: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="application/json")
        for byte in text:
            await exchange.chunk(bytes([byte]))
            await asyncio.sleep(0.005)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await served.call()
        assert [counts.outcomes for _, counts in served.attempts] == [{"interrupted": 1}]


class JsonExchange(Exchange):
    """Sends the heads of streams with the type of JSON."""

    async def send(self, data: bytes) -> None:
        await super().send(data.replace(b"text/event-stream", b"application/json"))


# -- pipelining and slow readers ---------------------------------------------------------------------------------------


async def test_unsolicited_provider_data_is_never_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    stray, sent = asyncio.Event(), asyncio.Event()
    answers = 0

    async def talks(exchange: Exchange) -> None:
        nonlocal answers
        answers += 1
        await replies(completion("m", f"answer {answers}"))(exchange)
        if answers == 1:
            await stray.wait()
            body = msgspec.json.encode(completion("m", "unsolicited"))
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            sent.set()

    async with calling(fetch, clock, talks) as (served, _):
        first = await served.call()
        stray.set()
        await sent.wait()
        await until(lambda: bool(idle_connection(served).should_close))
        texts = [first.text, *[(await served.call()).text for _ in range(3)]]

    assert [re.findall(r"answer \d|unsolicited", text) for text in texts] == [[f"answer {n}"] for n in (1, 2, 3, 4)]


def idle_connection(served: Served) -> Any:
    """The idle connection in the pool."""
    connector = connections_of(served.app, "a").session.connector
    assert connector is not None
    pool = connector._conns
    ((protocol, _),) = next(iter(pool.values()))
    return protocol


async def test_a_disconnect_after_a_long_body_is_detected(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, hangs) as (served, (provider,)):
        async with served.raw(post(b'{"model":"m","input":"%b"}' % (b"x" * 8_000_000))):
            await until(lambda: bool(provider.requests))
        await until(lambda: circuit_of(served.app, "a").in_flight == 0, 1)


LIST = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


FURTHER = [LIST, post(b'{"model":"m"}') * 3, post(b'{"input":"%b"}' % (b"x" * 60_000))]


@pytest.mark.usefixtures("own_protocol")
@pytest.mark.parametrize("further", FURTHER, ids=["a list", "calls", "a long call"])
@pytest.mark.parametrize("script", [hangs, hangs_in_stream], ids=["before the head", "within the stream"])
async def test_a_disconnect_after_pipelined_requests_is_detected(
    script: Script, further: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, script) as (served, (provider,)):
        async with served.raw(post(b'{"model":"m"}')) as (_, writer):
            await until(lambda: bool(provider.requests))
            writer.write(further)
            await until(lambda: any(connection.receiver.waiting == len(further) for connection in connections(served)))
        await until(lambda: circuit_of(served.app, "a").in_flight == 0, 1)
        await until(lambda: not connections(served), 1)
        assert len(provider.requests) == 1, "pipelined requests are not forwarded"


@pytest.mark.usefixtures("own_protocol")
async def test_pipelined_requests_after_a_call_get_responses(fetch: FakeFetch, clock: FakeClock) -> None:
    allowed = asyncio.Event()

    async def responds_when_allowed(exchange: Exchange) -> None:
        await allowed.wait()
        await FINE_JSON(exchange)

    async with (
        calling(fetch, clock, responds_when_allowed) as (served, (provider,)),
        served.raw(post(b'{"model":"m"}')) as (reader, writer),
    ):
        await until(lambda: bool(provider.requests))
        writer.write(LIST + post(b'{"model":"m","input":"%b"}' % (b"x" * 500_000)))
        await until(lambda: any(connection.flow.is_full for connection in connections(served)))
        allowed.set()
        for _ in range(3):
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
            length = re.search(rb"content-length: (\d+)", await reader.readuntil(b"\r\n\r\n"))
            assert length is not None
            await reader.readexactly(int(length[1]))


@pytest.mark.usefixtures("own_protocol")
async def test_a_call_pipelined_behind_a_list_is_not_idle(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, hangs) as (served, (provider,)):
        assert (await served.client.get("/v1/models")).status_code == 200  # from now on the list is cached
        async with served.raw(LIST + post(b'{"model":"m"}')) as (reader, _):
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
            await until(lambda: bool(provider.requests))
            served.app.connections.sweep(float("inf"))  # closes idle connections
            await until(lambda: len(connections(served)) == 1)
            assert circuit_of(served.app, "a").in_flight == 1


@pytest.mark.usefixtures("own_protocol")
async def test_a_client_that_stops_reading_a_long_response_leaks_nothing(fetch: FakeFetch, clock: FakeClock) -> None:
    long = replies(completion("m", "x" * 20_000_000))
    async with (
        calling(fetch, clock, long, defaults="{idle_timeout: 300ms}") as (served, _),
        served.raw(post(b'{"model":"m"}')) as (reader, _writer),
    ):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: any(c.transport.get_write_buffer_size() for c in connections(served)), 5)
        await until(lambda: not any(c.transport.get_write_buffer_size() for c in connections(served)), 5)
        await until(lambda: circuit_of(served.app, "a").in_flight == 0, 1)


def connections(served: Served) -> list[Any]:
    """The server's protocols of all connections."""
    return list(served.state.connections)

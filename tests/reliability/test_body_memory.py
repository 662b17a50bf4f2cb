"""The memory of request bodies is bounded, and no key can keep others out of it."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proxy.config import Config, parse
from proxy.errors import ServerBusy
from proxy.inference.body_memory import BodyMemory, Lease
from tests.fakes import FakeClock, FakeFetch, digest, run_pending_tasks
from tests.listening import Served, post, serving, until

pytestmark = pytest.mark.anyio
KIB = 1024


async def leased(memory: BodyMemory, key: str, size: int) -> Lease:
    lease = memory.lease(key)
    await asyncio.wait_for(lease.reserve(size), 0.2)
    return lease


async def test_a_key_can_have_half_and_the_next_key_half_of_the_rest() -> None:
    memory = BodyMemory(800)
    sizes = {}
    for key in "abc":
        lease = memory.lease(key)
        while memory.fits(key, 1):
            lease.grow(1)
        sizes[key] = lease.size

    assert sizes == {"a": 400, "b": 200, "c": 100}
    assert memory.used == 700


async def test_released_bytes_can_be_reserved_again() -> None:
    memory = BodyMemory(800)
    for _ in range(3):
        lease = await leased(memory, "a", 300)
        lease.grow(100)
        lease.shrink_to(50)
        lease.release()
        lease.release()

    assert memory.used == 0
    assert memory.fits("a", 400)


async def test_a_call_waits_for_bytes_and_gets_them_in_turn_with_other_keys() -> None:
    memory = BodyMemory(800)
    first = await leased(memory, "a", 400)
    order: list[str] = []

    async def call(name: str) -> None:
        lease = memory.lease(name[0])
        await lease.reserve(300)
        order.append(name)
        await asyncio.sleep(0)
        lease.release()

    calls = [asyncio.create_task(call(name)) for name in ("a1", "a2", "b1", "b2")]
    await run_pending_tasks()
    assert order == []
    first.release()
    await asyncio.gather(*calls)

    assert order == ["a1", "b1", "a2", "b2"]
    assert memory.used == 0


async def test_a_growing_body_does_not_wait() -> None:
    memory = BodyMemory(800)
    lease = await leased(memory, "a", 400)
    with pytest.raises(ServerBusy):
        lease.grow(1)

    assert lease.size == 400


async def test_a_call_that_is_canceled_while_it_waits_reserves_nothing() -> None:
    memory = BodyMemory(800)
    first = await leased(memory, "a", 400)
    waiting = asyncio.create_task(memory.lease("a").reserve(100))
    admitted = asyncio.create_task(memory.lease("a").reserve(200))
    await run_pending_tasks()
    waiting.cancel()
    first.release()
    admitted.cancel()  # its bytes are reserved, but it has not run since
    await asyncio.gather(waiting, admitted, return_exceptions=True)

    assert memory.used == 0
    assert not memory.has_waiting("a")


async def test_only_so_many_calls_of_a_key_wait() -> None:
    memory = BodyMemory(800)
    await leased(memory, "a", 400)
    waiting = [asyncio.create_task(memory.lease("a").reserve(1)) for _ in range(101)]
    await run_pending_tasks()

    assert [task.done() for task in waiting] == [False] * 100 + [True]
    assert isinstance(waiting[100].exception(), ServerBusy)
    (await leased(memory, "b", 100)).release()
    for task in waiting:
        task.cancel()


# -- the whole server ---------------------------------------------------------------------------------------------

KEYS = {"alice": "sk-test-alice-0123456789abcdef", "bob": "sk-test-bob-0123456789abcdef"}


def config(port: int, max_request: str = "100KiB") -> Config:
    keys = "".join(f"  - {{name: {name}, hash: '{digest(key)}', models: ['*']}}\n" for name, key in KEYS.items())
    return parse(f"""
server: {{max_request: {max_request}, limits: {{body_memory: 256KiB}}}}
keys:
{keys}providers:
  - {{name: p, base_url: "http://127.0.0.1:{port}/v1", kind: openai, models: [m]}}
""")


@asynccontextmanager
async def proxy_in_front_of(answer: bytes) -> AsyncIterator[tuple[Served, list[int]]]:
    """The proxy, and the lengths of the requests that its provider received. The provider's stream does not end."""
    received: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0])
        received.append(len(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + answer)
        await reader.read()
        writer.close()

    provider = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with AsyncExitStack() as stack:
        stack.callback(provider.close)
        served = await stack.enter_async_context(
            serving(config(provider.sockets[0].getsockname()[1]), FakeFetch(), FakeClock())
        )
        yield served, received


def call(name: str, size: int, **fields: object) -> bytes:
    body = json.dumps({"model": "m", "messages": [], **fields, "user": ""}).encode()
    body = body.replace(b'"user": ""', b'"user": "%b"' % (b"x" * (size - len(body))))
    return post(body, Authorization=f"Bearer {KEYS[name]}")


def long_views() -> list[memoryview]:
    """What still refers to the bytes of a long body to send them."""
    found = [each for each in gc.get_objects() if isinstance(each, memoryview)]
    return [each for each in found if isinstance(each.obj, bytes) and len(each.obj) > 50 * KIB]


def chunked(name: str, first: bytes) -> bytes:
    """A request of unknown length that does not end."""
    head, _, rest = post(b"", Authorization=f"Bearer {KEYS[name]}").partition(b"Content-Length: 0")
    return head + b"Transfer-Encoding: chunked" + rest + b"%x\r\n%b\r\n" % (len(first), first)


async def memory_of(served: Served) -> BodyMemory:
    return (await served.app.deployment.inference()).body_memory


async def test_uploads_of_one_key_that_do_not_end_leave_room_for_another_key() -> None:
    async with proxy_in_front_of(b"") as (served, received), AsyncExitStack() as stack:
        memory = await memory_of(served)
        for _ in range(5):
            unfinished = call("alice", 60 * KIB)[: 30 * KIB]
            await stack.enter_async_context(served.raw(unfinished))
        await until(lambda: memory.used == 2 * 60 * KIB)
        await stack.enter_async_context(served.raw(call("bob", 60 * KIB)))
        await until(lambda: received == [60 * KIB])
        assert memory.used == 3 * 60 * KIB
    await until(lambda: memory.used == 0)


async def test_a_call_that_waits_too_long_is_rejected() -> None:
    memory = BodyMemory(800, seconds=0)
    await leased(memory, "a", 400)
    with pytest.raises(ServerBusy):
        await leased(memory, "a", 1)

    assert memory.used == 400
    assert not memory.has_waiting("a")


async def test_a_call_without_room_gets_503_and_its_connection_is_closed() -> None:
    async with proxy_in_front_of(b"") as (served, _), AsyncExitStack() as stack:
        memory = await memory_of(served)
        await stack.enter_async_context(served.raw(call("alice", 63 * KIB)[:-1]))
        await until(lambda: memory.used == 63 * KIB)
        memory.add("alice", 1 * KIB)
        reader, _ = await stack.enter_async_context(served.raw(chunked("alice", b" " * 66 * KIB)))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        memory.add("alice", -1 * KIB)

    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 503 service unavailable"
    assert {b"connection: close", b"retry-after: 1", b"content-type: application/json"} <= set(lines)
    assert json.loads(body)["error"]["code"] == "server_busy"


async def test_a_body_that_arrives_with_its_head_waits_for_room() -> None:
    async with proxy_in_front_of(b"") as (served, received), AsyncExitStack() as stack:
        memory = await memory_of(served)
        memory.add("alice", 128 * KIB)
        await stack.enter_async_context(served.raw(call("alice", 1 * KIB)))
        await until(lambda: memory.has_waiting("alice"))
        memory.add("alice", -128 * KIB)
        await until(lambda: received == [1 * KIB])


async def test_a_body_that_arrives_with_its_head_can_be_too_large() -> None:
    small = config(9, max_request="1KiB")
    async with (
        serving(small, FakeFetch(), FakeClock()) as served,
        served.raw(call("alice", 1 * KIB + 1)) as (reader, _),
    ):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")


async def test_the_bytes_are_given_back_as_soon_as_no_other_provider_can_follow() -> None:
    event = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    async with proxy_in_front_of(event) as (served, _), AsyncExitStack() as stack:
        memory = await memory_of(served)
        reader, _ = await stack.enter_async_context(served.raw(call("alice", 99 * KIB, stream=True)))
        assert b" 200 " in await reader.readline()
        await until(lambda: memory.used == 0)
        assert long_views() == []


async def test_a_compressed_body_counts_with_its_decompressed_bytes() -> None:
    async with proxy_in_front_of(b"") as (served, received), AsyncExitStack() as stack:
        memory = await memory_of(served)
        plain = call("alice", 60 * KIB).partition(b"\r\n\r\n")[2]
        headers = {"Content-Encoding": "gzip", "Authorization": f"Bearer {KEYS['alice']}"}
        packed = post(gzip.compress(plain), **headers)
        await stack.enter_async_context(served.raw(packed))
        await until(lambda: received == [60 * KIB])
        assert memory.used == 60 * KIB


async def test_a_body_of_unknown_length_counts_by_what_arrives() -> None:
    async with proxy_in_front_of(b"") as (served, _), AsyncExitStack() as stack:
        memory = await memory_of(served)
        await stack.enter_async_context(served.raw(chunked("alice", b" " * 4)))
        await until(lambda: memory.used == 64 * KIB)
        await stack.enter_async_context(served.raw(chunked("bob", b" " * 80 * KIB)))
        await until(lambda: memory.used == (64 + 80) * KIB)
    await until(lambda: memory.used == 0)

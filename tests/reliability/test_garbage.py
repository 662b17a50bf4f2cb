"""What ended is freed at once. The garbage collector would stop the event loop to find it, under a flood for long."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from proxy.server.process_setup import release_memory, shorten_collections
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import post, serving, until
from tests.providers.scripted import fake_provider, hangs, replies, resets
from tests.reliability.clients import GET, protocols

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CALL = post(b'{"model":"m"}')


def text_of(url: str) -> str:
    return f"groups: {{default: {{models: ['*'], call: true}}}}\nproviders: [{{name: a, base_url: '{url}/v1'}}]"


@contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def collected() -> Iterator[list[Any]]:
    """Keep what the garbage collector finds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:10], GET, GET * 3, b"no HTTP\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", CALL],
    ids=["silent", "a head", "a list", "pipelined lists", "malformed", "an upload", "a call"],
)
async def test_closed_connection_is_freed_without_the_garbage_collector(
    sent: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with fake_provider(hangs) as provider, serving(config_of(text_of(provider.url)), fetch, clock) as served:
        with without_collector():
            async with served.raw(sent):
                await until(lambda: any(each.bytes_received == len(sent) for each in protocols(served)))
                flow = weakref.ref(protocols(served)[0].flow)
            await until(lambda: not protocols(served))
            await until(lambda: flow() is None, 2)


FAILURES = {
    "rejected": replies({"error": {"message": "unknown parameter"}}, 400),
    "failed": replies({"error": {"message": "no worker"}}, 502),
    "reset": resets,
}


def test_many_new_objects_are_collected_in_small_parts_and_cause_no_full_collection() -> None:
    before, generations = gc.get_threshold(), Counter[int]()

    def count(phase: str, info: dict[str, int]) -> None:
        generations[info["generation"]] += phase == "start"

    gc.collect()
    shorten_collections()
    gc.callbacks.append(count)
    try:
        objects: list[object] = [[] for _ in range(90_000)]
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*before)
        gc.unfreeze()

    assert len(objects) // generations[1] < 2000
    assert generations[2] == 0


@pytest.mark.parametrize("failure", FAILURES)
async def test_failed_call_is_freed_without_the_garbage_collector(
    failure: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with (
        fake_provider(FAILURES[failure]) as provider,
        serving(config_of(text_of(provider.url)), fetch, clock) as served,
        served.raw(b"") as (reader, writer),
    ):
        gc.collect()
        with without_collector(), collected() as garbage:
            writer.write(CALL)
            assert (await reader.readuntil(b"\r\n"))[9:10] in b"45"
            await until(lambda: not served.state.tasks)
            gc.collect()

            left = [type(found) for found in garbage if isinstance(found, FrameType | BaseException)]

    assert left == []


async def test_what_the_start_left_in_cycles_is_freed() -> None:
    class Left:
        itself: object = None

    left = Left()
    left.itself = left
    found = weakref.ref(left)
    del left
    release_memory()

    assert found() is None


async def test_imports_of_calls_are_followed_by_a_collection_once(fetch: FakeFetch, clock: FakeClock) -> None:
    loaded: list[str] = []
    fetch.lists("a", "m")
    async with (
        fake_provider(replies({})) as provider,
        serving(config_of(text_of(provider.url)), fetch, clock) as served,
    ):
        served.app.shared.on_calls_loaded = lambda: loaded.append("calls")
        await served.client.get("/v1/models")
        before = [*loaded]
        await served.call()
        await served.call()

    assert (before, loaded) == ([], ["calls"])

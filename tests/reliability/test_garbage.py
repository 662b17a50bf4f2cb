"""What ended is freed at once. The garbage collector would stop the event loop to find it, under a flood for long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import post, serving, until
from tests.providers.scripted import fake_provider, hangs
from tests.reliability.clients import GET, protocols

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CALL = post(b'{"model":"m"}')


@contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:10], GET, GET * 3, b"no HTTP\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", CALL],
    ids=["silent", "a head", "a list", "pipelined lists", "malformed", "an upload", "a call"],
)
async def test_closed_connection_is_freed_without_the_garbage_collector(
    sent: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with fake_provider(hangs) as provider:
        providers = f"providers: [{{name: a, base_url: '{provider.url}/v1'}}]"
        text = f"groups: {{default: {{models: ['*'], call: true}}}}\n{providers}"
        async with serving(config_of(text), fetch, clock) as served:
            with without_collector():
                async with served.raw(sent):
                    await until(lambda: any(each.bytes_received == len(sent) for each in protocols(served)))
                    flow = weakref.ref(protocols(served)[0].flow)
                await until(lambda: not protocols(served))
                await until(lambda: flow() is None, 2)

"""DNS lookups: one per host at a time, each in its own thread, with the last addresses while lookups fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from proxy.upstream.event_loop import EventLoop
from proxy.upstream.resolver import FRESH_SECONDS, KEPT_SECONDS, Address, Resolver
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


def address(host: str) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))


class Names:
    """A name server: what it returns for each host. Hosts in `hanging` block until `release`."""

    def __init__(self) -> None:
        self.answers: dict[str, Sequence[Address] | OSError] = {"a.test": [address("192.0.2.1")]}
        self.hanging: set[str] = set()
        self.lookups: list[str] = []
        self.released = threading.Event()

    def look_up(self, host: str) -> Sequence[Address]:
        self.lookups.append(host)
        if host in self.hanging:
            self.released.wait()
        answer = self.answers[host]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def names() -> Iterator[Names]:
    served = Names()
    yield served
    served.released.set()


async def test_ten_hanging_names_do_not_delay_another_name(names: Names, clock: FakeClock) -> None:
    names.hanging = {f"hang{number}.test" for number in range(10)}
    names.answers |= {host: OSError() for host in names.hanging}
    resolver = Resolver(clock.monotonic, names.look_up)
    waiting = [asyncio.create_task(resolver.resolve(host)) for host in names.hanging for _ in range(20)]
    await asyncio.sleep(0)
    assert await resolver.resolve("a.test") == [address("192.0.2.1")]
    assert sorted(names.lookups) == ["a.test", *sorted(names.hanging)], "one lookup for each host"
    names.released.set()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in failed] == [OSError] * 200


async def test_canceled_waiter_does_not_cancel_the_lookup_of_the_others(names: Names, clock: FakeClock) -> None:
    names.hanging = {"a.test"}
    resolver = Resolver(clock.monotonic, names.look_up)
    canceled, other = (asyncio.create_task(resolver.resolve("a.test")) for _ in range(2))
    await asyncio.sleep(0)
    canceled.cancel()
    await asyncio.gather(canceled, return_exceptions=True)
    names.released.set()
    assert await other == [address("192.0.2.1")]
    assert names.lookups == ["a.test"]


async def test_addresses_are_looked_up_again_when_they_are_no_longer_fresh(names: Names, clock: FakeClock) -> None:
    resolver = Resolver(clock.monotonic, names.look_up)
    first = await resolver.resolve("a.test")
    names.answers["a.test"] = [address("192.0.2.2")]
    await clock.advance(FRESH_SECONDS - 1)
    assert await resolver.resolve("a.test") == first
    await clock.advance(1)
    assert await resolver.resolve("a.test") == [address("192.0.2.2")]
    assert names.lookups == ["a.test"] * 2


async def test_last_addresses_are_used_while_lookups_fail(names: Names, clock: FakeClock) -> None:
    resolver = Resolver(clock.monotonic, names.look_up)
    last = await resolver.resolve("a.test")
    names.answers["a.test"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    await clock.advance(KEPT_SECONDS - 1)
    assert await resolver.resolve("a.test") == last
    await clock.advance(1)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("a.test")


async def test_last_addresses_are_used_while_a_lookup_hangs(names: Names, clock: FakeClock) -> None:
    resolver = Resolver(clock.monotonic, names.look_up, patience=0.001)
    last = await resolver.resolve("a.test")
    names.hanging = {"a.test"}
    await clock.advance(FRESH_SECONDS)
    assert [await resolver.resolve("a.test") for _ in range(3)] == [last] * 3
    assert names.lookups == ["a.test"] * 2, "the lookup that hangs is not repeated"
    names.answers["a.test"] = [address("192.0.2.2")]
    names.released.set()
    await asyncio.gather(*resolver.running.values())
    assert await resolver.resolve("a.test") == [address("192.0.2.2")]


async def test_lookup_that_ends_after_its_event_loop_is_discarded(names: Names) -> None:
    names.hanging = {"a.test"}
    with closed_loop() as loop:
        loop.create_task(Resolver(loop.time, names.look_up).resolve("a.test"))
    names.released.set()
    lookups = [thread for thread in threading.enumerate() if thread.name == "look up a.test"]
    for thread in lookups:
        await asyncio.to_thread(thread.join)
    assert names.lookups == ["a.test"]


@contextmanager
def closed_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run the tasks of an event loop for one turn, then close it."""
    loop = EventLoop()
    yield loop

    def run_once() -> None:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run_once)
    thread.start()
    thread.join()


# -- the event loop ----------------------------------------------------------------------------------------------------


def in_event_loop(names: Names, **arguments: object) -> list[Address]:
    async def look_up() -> list[Address]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        loop.resolver = Resolver(loop.time, names.look_up)
        lookup: Callable[..., object] = loop.getaddrinfo
        return await lookup(**arguments)  # type: ignore[misc, no-any-return]

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(look_up())


V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))
V4_AT_443, V6_AT_443 = (*address("")[:4], ("192.0.2.1", 443)), (*V6[:4], ("2001:db8::1", 443, 0, 0))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"host": b"a.test", "type": socket.SOCK_STREAM}, [V4_AT_443, V6_AT_443], id="anyio"),
        pytest.param(
            {"host": "a.test", "type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG, "family": socket.AF_INET},
            [V4_AT_443],
            id="aiohttp",
        ),
    ],
)
def test_event_loop_looks_up_names_as_both_http_libraries_ask(
    names: Names, arguments: dict[str, object], expected: list[Address]
) -> None:
    names.answers["a.test"] = [address("192.0.2.1"), V6]
    assert in_event_loop(names, port=443, **arguments) == expected
    assert names.lookups == ["a.test"]


def test_event_loop_raises_where_a_name_has_no_address_of_the_family(names: Names) -> None:
    with pytest.raises(socket.gaierror):
        in_event_loop(names, host="a.test", port=443, type=socket.SOCK_STREAM, family=socket.AF_INET6)


@pytest.mark.parametrize("host", ["127.0.0.1", b"::1", None])
def test_event_loop_does_not_look_up_what_is_no_name(names: Names, host: object) -> None:
    assert in_event_loop(names, host=host, port=443, type=socket.SOCK_STREAM)
    assert names.lookups == []

"""One key cannot occupy the event loop, however many connections it has and requests it sends at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from proxy.server.shares import BUDGET, MAX_SHARES, REQUEST, Share, Shares
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving, until
from tests.reliability.clients import protocols

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

KEYS = {name: f"mp-canary-of-{name}-000000000000000000000000" for name in ("mallory", "bob")}
CONFIG = "providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]\nkeys: [{}]".format(
    ", ".join(f'{{name: {name}, hash: "{digest(key)}", models: ["*"]}}' for name, key in KEYS.items())
)
PER_TURN = -(-BUDGET // REQUEST)
"""Requests with a short response that use up the share of a key."""
CONNECTIONS = 400


def request(key: str) -> bytes:
    return f"GET /v1/models HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


class Turns:
    """What was served in each iteration of the event loop."""

    def __init__(self, served: Served) -> None:
        self.numbers: list[int] = []
        self._served = served
        self._last = served.state.total_requests

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(0)
            now = self._served.state.total_requests
            self.numbers.append(now - self._last)
            self._last = now


async def most_at_once(served: Served, key: str, count: int, times: int) -> Sequence[int]:
    """Send requests on many connections, all of them at once. Returns the requests served in each iteration."""
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(served.raw(request(key))) for _ in range(count)]
        await until(lambda: served.state.total_requests >= count)
        turns = Turns(served)
        watching = asyncio.create_task(turns.watch())
        began = served.state.total_requests
        expected = began + count * times
        for _, writer in streams:
            writer.write(request(key) * times)
        await until(lambda: sum(turns.numbers) >= expected - began)
        watching.cancel()
        return turns.numbers


@pytest.mark.parametrize("key", [KEYS["mallory"], "mp-wrong-key"], ids=["a key", "wrong keys"])
async def test_many_connections_of_one_key_get_its_share_of_each_iteration(
    key: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(CONFIG), fetch, clock) as served:
        numbers = await most_at_once(served, key, CONNECTIONS, 3)

        assert sum(numbers) == 3 * CONNECTIONS
        assert max(numbers) <= 2 * PER_TURN, "what was waiting, and what has just arrived"


async def test_the_request_of_another_key_is_not_behind_those_that_wait(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(config_of(CONFIG), fetch, clock))
        mallory, bob = request(KEYS["mallory"]), request(KEYS["bob"])
        flood = [await stack.enter_async_context(served.raw(mallory)) for _ in range(CONNECTIONS)]
        reader, writer = await stack.enter_async_context(served.raw(bob))
        await until(lambda: served.state.total_requests == CONNECTIONS + 1)
        await reader.readuntil(b"}]}")
        before = served.state.total_requests
        for _, flooding in flood:
            flooding.write(mallory * 3)
        writer.write(bob)
        own = writer.get_extra_info("sockname")
        (connection,) = (each for each in protocols(served) if each.client == own)
        received = connection.bytes_received
        while connection.bytes_received == received:  # noqa: ASYNC110  # once per iteration
            await asyncio.sleep(0)

        assert served.state.total_requests - before <= 2 * PER_TURN
        await until(lambda: served.state.total_requests == before + 3 * CONNECTIONS + 1)


async def test_a_key_with_one_connection_never_waits(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(CONFIG), fetch, clock) as served, served.raw(b"") as (reader, writer):
        for _ in range(3 * PER_TURN):
            writer.write(request(KEYS["bob"]))
            await reader.readuntil(b"}]}")
            (connection,) = protocols(served)
            assert connection.receiver.waiting == 0


async def test_share_is_renewed_in_the_next_iteration_for_those_that_wait() -> None:
    share, order = Share("mallory", asyncio.get_running_loop()), list[int]()

    def use(cost: int) -> None:
        share.left -= cost
        share.renew_soon()

    def request_of(number: int) -> None:
        order.append(number)
        use(BUDGET // 2)

    use(BUDGET)
    for number in range(5):
        share.wait(lambda number=number: request_of(number))  # type: ignore[misc]
    lengths = []
    for _ in range(4):
        await asyncio.sleep(0)
        lengths.append(len(order))

    assert (order, lengths[:3], share.left > 0) == ([0, 1, 2, 3, 4], [2, 4, 5], True)


async def test_the_number_of_shares_is_bounded() -> None:
    shares, loop = Shares(), asyncio.get_running_loop()
    first = shares.of("jwt:https://login.example|u", loop)
    for number in range(MAX_SHARES + 10):
        shares.of(f"header:{number}", loop)

    assert shares.of("jwt:https://login.example|u", loop) is not first
    assert len(shares._shares) <= MAX_SHARES

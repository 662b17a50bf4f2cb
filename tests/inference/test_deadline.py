"""What cancels a call: a client that disconnects, a deadline; with a real event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.inference.deadline import TICK, CallScope, ClientDisconnected, DeadlineExceeded, DeadlineTimer, watch_receive
from tests.fakes import breathe

pytestmark = pytest.mark.anyio

LONG = 60.0
SOON = 0.01


class Client:
    """An ASGI `receive` whose client stays until a test lets it leave."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def __call__(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def client(anyio_backend: str) -> Client:
    return Client()


async def tasks_left() -> list[str]:
    await breathe()
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "client"]


def timers() -> int:
    """How many timers of a DeadlineTimer are scheduled."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return sum(1 for timer in scheduled if not timer.cancelled() and "DeadlineTimer" in repr(timer))


async def forever() -> None:
    await asyncio.Event().wait()


async def value() -> str:
    await asyncio.sleep(0)
    return "it"


async def test_what_comes_in_time_is_handed_on_and_nothing_stays_behind(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        assert await scope.wait(value(), LONG) == "it"
        assert await scope.wait(value(), LONG) == "it"

    assert await tasks_left() == []


async def test_an_error_of_what_is_waited_for_is_handed_on(client: Client) -> None:
    async def fails() -> None:
        raise ValueError("canary")

    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope, pytest.raises(ValueError, match="canary"):
        await scope.wait(fails(), LONG)


async def test_a_client_that_leaves_ends_the_wait(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        asyncio.get_running_loop().call_soon(client.leave)
        with pytest.raises(ClientDisconnected):
            await scope.wait(forever(), LONG)

    assert await tasks_left() == []


async def test_a_client_that_left_before_ends_the_next_wait_and_every_other_one(client: Client) -> None:
    client.leave()
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await breathe()
        for _ in range(2):
            with pytest.raises(ClientDisconnected):
                async with asyncio.timeout(1):  # at once, not when the time is up
                    await scope.wait(forever(), LONG)


async def test_what_is_neither_body_nor_leaving_is_not_heard() -> None:
    said = iter([{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, str]:
        return next(said)

    with CallScope(DeadlineTimer(), watch_receive(receive), LONG) as scope, pytest.raises(ClientDisconnected):
        await scope.wait(forever(), LONG)


async def test_what_takes_too_long_is_ended_and_the_call_goes_on(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)
        assert await scope.wait(value(), LONG) == "it"
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)

    assert await tasks_left() == []


async def test_what_is_ended_may_clean_up_in_peace(client: Client) -> None:
    cleaned = []

    async def cleans_up() -> None:
        try:
            await forever()
        finally:
            client.leave()
            await breathe()
            cleaned.append(True)

    with (
        CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope,
        pytest.raises((DeadlineExceeded, ClientDisconnected)),
    ):
        await scope.wait(cleans_up(), SOON)

    assert cleaned == [True]


async def test_everything_together_has_a_limit_that_can_be_shortened(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        scope.limit_to(LONG * 2)  # longer is not possible
        scope.limit_to(SOON)
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), LONG)
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), LONG)


async def test_many_calls_and_waits_need_one_timer_and_none_when_they_are_over(client: Client) -> None:
    timer = DeadlineTimer()
    seen = set()
    for _ in range(10):
        with (
            CallScope(timer, watch_receive(client), LONG) as one,
            CallScope(timer, watch_receive(client), LONG) as other,
        ):
            for scope in (one, other) * 5:
                await scope.wait(value(), LONG / 2)
                seen.add(timers())

    assert seen == {1}
    await asyncio.sleep(TICK * 2)
    assert timers() == 0


async def test_a_limit_of_one_call_ends_no_other(client: Client) -> None:
    timer = DeadlineTimer()
    with CallScope(timer, watch_receive(client), LONG) as one, CallScope(timer, watch_receive(client), LONG) as other:
        waiting = asyncio.ensure_future(value())
        with pytest.raises(DeadlineExceeded):
            await one.wait(forever(), SOON)
        assert await other.wait(waiting, LONG) == "it"


async def test_a_timer_of_an_earlier_wait_does_not_end_a_later_one(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await scope.wait(value(), SOON)
        assert await scope.wait(asyncio.sleep(TICK * 3, "it"), LONG) == "it"
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)


async def test_a_timer_that_rings_between_two_waits_ends_none(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await scope.wait(value(), SOON)
        await asyncio.sleep(TICK * 2)
        assert await scope.wait(value(), LONG) == "it"


@pytest.mark.parametrize("leaves", [False, True], ids=["alone", "while the client leaves"])
async def test_a_cancellation_from_outside_still_works(client: Client, leaves: bool) -> None:
    ended: list[str] = []

    async def call() -> None:
        with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
            try:
                await scope.wait(forever(), LONG)
            except BaseException as error:
                ended.append(type(error).__name__)
                raise

    task = asyncio.create_task(call())
    await breathe()
    if leaves:
        client.leave()
        await asyncio.sleep(0)
        assert task.cancelling()  # the scope has canceled; what follows comes in the same turn
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (ended, task.cancelled(), await tasks_left()) == (["CancelledError"], True, [])


async def test_a_call_that_was_canceled_here_counts_as_cancelled_by_nobody(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(LONG):
            await asyncio.sleep(0)

        assert task.cancelling() == 0

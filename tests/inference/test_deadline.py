"""Cancellation of a call by a disconnect and by deadlines; with a real event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.errors import ShuttingDown
from proxy.inference.deadline import (
    LAST_SECONDS,
    TICK,
    CallScope,
    ClientDisconnected,
    DeadlineExceeded,
    DeadlineTimer,
    watch_receive,
)
from tests.fakes import run_pending_tasks

pytestmark = pytest.mark.anyio

LONG = 60.0
SOON = 0.01


class Client:
    """An ASGI `receive` whose client disconnects on request."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def disconnect(self) -> None:
        self._left.set()

    async def __call__(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def client(anyio_backend: object) -> Client:
    return Client()


async def tasks_left() -> list[str]:
    await run_pending_tasks()
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "client"]


def timers() -> int:
    """The number of scheduled timers of a DeadlineTimer."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return sum(1 for timer in scheduled if not timer.cancelled() and "DeadlineTimer" in repr(timer))


async def forever() -> None:
    await asyncio.Event().wait()


async def value() -> str:
    await asyncio.sleep(0)
    return "it"


async def test_wait_returns_the_result_and_cleans_up(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        assert await scope.wait(value(), LONG) == "it"
        assert await scope.wait(value(), LONG) == "it"

    assert await tasks_left() == []


async def test_wait_raises_the_exception_of_the_operation(client: Client) -> None:
    async def fails() -> None:
        raise ValueError("canary")

    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope, pytest.raises(ValueError, match="canary"):
        await scope.wait(fails(), LONG)


async def test_a_disconnect_cancels_the_wait(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        asyncio.get_running_loop().call_soon(client.disconnect)
        with pytest.raises(ClientDisconnected):
            await scope.wait(forever(), LONG)

    assert await tasks_left() == []


async def test_a_disconnect_before_a_wait_cancels_all_following_waits(client: Client) -> None:
    client.disconnect()
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await run_pending_tasks()
        for _ in range(2):
            with pytest.raises(ClientDisconnected):
                async with asyncio.timeout(1):  # immediately, not after the timeout
                    await scope.wait(forever(), LONG)


async def test_other_messages_than_a_disconnect_are_ignored() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    with CallScope(DeadlineTimer(), watch_receive(receive), LONG) as scope, pytest.raises(ClientDisconnected):
        await scope.wait(forever(), LONG)


async def test_a_timeout_cancels_the_operation_and_the_call_continues(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)
        assert await scope.wait(value(), LONG) == "it"
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)

    assert await tasks_left() == []


async def test_a_canceled_operation_can_clean_up(client: Client) -> None:
    cleaned = []

    async def cleans_up() -> None:
        try:
            await forever()
        finally:
            client.disconnect()
            await run_pending_tasks()
            cleaned.append(True)

    with (
        CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope,
        pytest.raises((DeadlineExceeded, ClientDisconnected)),
    ):
        await scope.wait(cleans_up(), SOON)

    assert cleaned == [True]


async def test_the_deadline_of_the_call_can_be_shortened(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        scope.limit_to(LONG * 2)  # a deadline cannot be extended
        scope.limit_to(SOON)
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), LONG)
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), LONG)


async def test_many_calls_share_one_timer_which_stops_with_the_last_call(client: Client) -> None:
    timer = DeadlineTimer()
    seen = set()
    for _ in range(10):
        with (
            CallScope(timer, watch_receive(client), LONG) as first,
            CallScope(timer, watch_receive(client), LONG) as second,
        ):
            for scope in (first, second) * 5:
                await scope.wait(value(), LONG / 2)
                seen.add(timers())

    assert seen == {1}
    await asyncio.sleep(TICK * 2)
    assert timers() == 0


async def test_a_timeout_of_one_call_cancels_no_other(client: Client) -> None:
    timer = DeadlineTimer()
    with (
        CallScope(timer, watch_receive(client), LONG) as first,
        CallScope(timer, watch_receive(client), LONG) as second,
    ):
        waiting = asyncio.ensure_future(value())
        with pytest.raises(DeadlineExceeded):
            await first.wait(forever(), SOON)
        assert await second.wait(waiting, LONG) == "it"


async def test_the_timeout_of_an_earlier_wait_does_not_cancel_a_later_one(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await scope.wait(value(), SOON)
        assert await scope.wait(asyncio.sleep(TICK * 3, "it"), LONG) == "it"
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)


async def test_a_timeout_between_two_waits_cancels_neither(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        await scope.wait(value(), SOON)
        await asyncio.sleep(TICK * 2)
        assert await scope.wait(value(), LONG) == "it"


async def test_a_shutdown_ends_the_current_operation_and_the_following_ones(client: Client) -> None:
    timer = DeadlineTimer()
    with CallScope(timer, watch_receive(client), LONG) as scope:
        asyncio.get_running_loop().call_soon(timer.shut_down)
        for _ in range(2):
            with pytest.raises(ShuttingDown):
                async with asyncio.timeout(1):
                    await scope.wait(forever(), LONG)
    assert await tasks_left() == []


async def test_a_shutdown_lets_the_last_bytes_be_sent(client: Client) -> None:
    timer = DeadlineTimer()
    with CallScope(timer, watch_receive(client), LONG) as scope:
        asyncio.get_running_loop().call_soon(timer.shut_down)
        assert await scope.wait(asyncio.sleep(TICK, "sent"), LONG, sends=True) == "sent"
        with pytest.raises(ShuttingDown):
            await scope.wait(forever(), LONG)
        assert await scope.wait(asyncio.sleep(TICK, "the last event"), LONG, sends=True) == "the last event"
        assert scope.expires_at <= scope.now + LAST_SECONDS


async def test_calls_that_start_during_a_shutdown_end_immediately(client: Client) -> None:
    timer = DeadlineTimer()
    assert timer.shut_down() == 0
    with CallScope(timer, watch_receive(client), LONG) as scope:
        with pytest.raises(ShuttingDown):
            await scope.wait(forever(), LONG)
        assert timer.shut_down() == 1


@pytest.mark.parametrize("leaves", [False, True], ids=["alone", "while the client disconnects"])
async def test_an_external_cancellation_is_raised(client: Client, leaves: bool) -> None:
    ended: list[str] = []

    async def call() -> None:
        with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
            try:
                await scope.wait(forever(), LONG)
            except BaseException as error:
                ended.append(type(error).__name__)
                raise

    task = asyncio.create_task(call())
    await run_pending_tasks()
    if leaves:
        client.disconnect()
        await asyncio.sleep(0)
        assert task.cancelling()  # the scope has canceled; the next cancellation is in the same iteration
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (ended, task.cancelled(), await tasks_left()) == (["CancelledError"], True, [])


async def test_the_scopes_own_cancellation_does_not_count_for_the_task(client: Client) -> None:
    with CallScope(DeadlineTimer(), watch_receive(client), LONG) as scope:
        with pytest.raises(DeadlineExceeded):
            await scope.wait(forever(), SOON)
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(LONG):
            await asyncio.sleep(0)

        assert task.cancelling() == 0

"""A worker's side of the shared state, connected to that of the supervisor in the same process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from proxy.server.workers.channel import Channel
from proxy.server.workers.messages import FromWorker, Message
from proxy.server.workers.processes import Place, Worker
from proxy.server.workers.shared_state import SharedState
from proxy.server.workers.sharing import BUSY_SECONDS, WorkerSharing
from proxy.sharing import Busy, Published, Turn

pytestmark = pytest.mark.anyio


def connected(number: int) -> list[WorkerSharing]:
    """The sides of so many workers."""
    end, other = socket.socketpair()
    other.close()
    channel: Channel[FromWorker] = Channel(end, FromWorker)
    channel.close()
    workers = [Worker(each, Place(each, ()), channel, 0.0) for each in range(number)]
    sides = [WorkerSharing() for _ in workers]

    def send(worker: Worker, message: Message) -> None:
        asyncio.get_running_loop().call_soon(sides[worker.pid].handle, message)  # type: ignore[arg-type]

    state = SharedState(send, lambda: 1000.0)

    def sender(worker: Worker) -> Callable[[Message], None]:
        return lambda message: state.handle(worker, message, [each for each in workers if each is not worker])  # type: ignore[arg-type]

    for worker, side in zip(workers, sides, strict=True):
        side.connect(sender(worker))
    return sides


async def test_a_list_is_fetched_by_one_and_passed_on() -> None:
    first, second = connected(2)
    received: list[tuple[str, Published]] = []
    second.follow(lambda: {"name": 0}, lambda name, published: received.append((name, published)))
    assert await first.begin("name", 0) == Turn(1)
    assert await second.begin("name", 0) == Busy(BUSY_SECONDS)
    assert await first.publish("name", 1, "list", b"models", 60.0)
    assert received == [("name", Published(1, b"models", 0.0, None, 0.0))]
    assert await second.begin("name", 0) == Published(1, b"models", 0.0, None, 0.0)


async def test_news_that_are_known_are_not_passed_on() -> None:
    first, second = connected(2)
    received: list[str] = []
    second.follow(lambda: {"name": 7}, lambda name, published: received.append(name))
    await first.begin("name", 0)
    await second.begin("name", 0)
    await first.publish("name", 1, "list", b"models", 60.0)
    assert received == []


async def test_hints_and_records_reach_the_others() -> None:
    first, second = connected(2)
    hints: list[bytes] = []
    second.listen(lambda hint, age: hints.append(hint))
    first.announce(b"open")
    first.put("resp_1", b"lab", 60.0)
    assert await second.get(["resp_1", "resp_2"]) == {"resp_1": b"lab"}
    assert hints == [b"open"]
    first.delete("resp_1")
    assert await second.get(["resp_1"]) == {}


async def test_without_a_connection_nothing_is_shared() -> None:
    alone = WorkerSharing()
    assert await alone.get(["resp_1"]) == {}

"""What workers share through the supervisor: leases, lists, hints and records."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from proxy.server.workers.channel import Channel
from proxy.server.workers.messages import (
    Abandon,
    Accepted,
    Began,
    Begin,
    Delete,
    FromWorker,
    Get,
    Got,
    Hint,
    Message,
    News,
    Publish,
    Put,
)
from proxy.server.workers.processes import Place, Worker
from proxy.server.workers.shared_state import MAX_LISTS, SharedState

NAME = "fingerprint"


class Medium:
    """Shared state, two workers, and what each is sent."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[tuple[int, Message]] = []
        self.state = SharedState(lambda worker, message: self.sent.append((worker.pid, message)), lambda: self.now)
        self._sockets = socket.socketpair()
        channel: Channel[FromWorker] = Channel(self._sockets[0], FromWorker)
        self.workers = [Worker(number, Place(number, ()), channel, 0.0) for number in (1, 2)]

    def handle(self, number: int, message: object) -> list[tuple[int, Message]]:
        """What is sent to which worker, after a message of one."""
        self.sent.clear()
        worker = self.workers[number - 1]
        self.state.handle(worker, message, [other for other in self.workers if other is not worker])  # type: ignore[arg-type]
        return [*self.sent]

    def close(self) -> None:
        for end in self._sockets:
            end.close()


@pytest.fixture
def medium() -> Iterator[Medium]:
    medium = Medium()
    yield medium
    medium.close()


def test_one_worker_fetches_and_the_others_get_its_list(medium: Medium) -> None:
    assert medium.handle(1, Begin(1, NAME, 0, False)) == [(1, Began(1, 1, None))]
    assert medium.handle(2, Begin(1, NAME, 0, False)) == [(2, Began(1, 0, None))]
    published = medium.handle(1, Publish(2, NAME, 1, "list", b"models", 60.0))
    assert published == [(2, News(NAME, 1, b"models", 0.0, None, 0.0)), (1, Accepted(2, True))]


def test_a_worker_that_asks_later_gets_the_list_with_its_age(medium: Medium) -> None:
    medium.handle(1, Begin(1, NAME, 0, False))
    medium.handle(1, Publish(2, NAME, 1, "list", b"models", 60.0))
    medium.now += 20
    assert medium.handle(2, Begin(1, NAME, 0, False)) == [(2, Began(1, 0, News(NAME, 1, b"models", 20.0, None, 0.0)))]
    assert medium.handle(2, Begin(2, NAME, 1, False)) == [(2, Began(2, 2, None))]


def test_a_failure_is_shared_beside_the_list_which_is_not_sent_again(medium: Medium) -> None:
    medium.handle(2, Begin(1, NAME, 0, False))
    medium.handle(2, Publish(2, NAME, 1, "list", b"models", 60.0))
    medium.handle(1, Begin(1, NAME, 0, False))
    medium.handle(1, Begin(2, NAME, 1, False))
    assert medium.handle(1, Publish(3, NAME, 2, "failure", b"timeout", 60.0)) == [
        (2, News(NAME, 2, None, 0.0, b"timeout", 0.0)),
        (1, Accepted(3, True)),
    ]
    # One that has neither gets both.
    assert medium.handle(2, Begin(3, NAME, 0, False)) == [
        (2, Began(3, 0, News(NAME, 2, b"models", 0.0, b"timeout", 0.0)))
    ]


def test_a_list_ends_the_failure(medium: Medium) -> None:
    medium.handle(1, Begin(1, NAME, 0, False))
    medium.handle(1, Publish(2, NAME, 1, "failure", b"timeout", 60.0))
    medium.handle(1, Begin(3, NAME, 1, False))
    medium.handle(1, Publish(4, NAME, 2, "list", b"models", 60.0))
    assert medium.handle(2, Begin(1, NAME, 0, False)) == [(2, Began(1, 0, News(NAME, 2, b"models", 0.0, None, 0.0)))]


def test_the_end_of_a_worker_ends_its_leases_at_once(medium: Medium) -> None:
    medium.handle(1, Begin(1, NAME, 0, False))
    medium.state.remove(medium.workers[0])
    assert medium.handle(2, Begin(1, NAME, 0, False)) == [(2, Began(1, 2, None))]


def test_an_abandoned_lease_is_free(medium: Medium) -> None:
    medium.handle(1, Begin(1, NAME, 0, False))
    assert medium.handle(1, Abandon(NAME, 1)) == []
    assert medium.handle(2, Begin(1, NAME, 0, False)) == [(2, Began(1, 2, None))]


def test_a_forced_fetch_supersedes_the_one_in_progress(medium: Medium) -> None:
    medium.handle(1, Begin(1, NAME, 0, False))
    assert medium.handle(2, Begin(1, NAME, 0, True)) == [(2, Began(1, 2, None))]
    assert medium.handle(1, Publish(2, NAME, 1, "list", b"old", 60.0)) == [(1, Accepted(2, False))]
    assert medium.handle(2, Publish(2, NAME, 2, "list", b"new", 60.0)) == [
        (1, News(NAME, 2, b"new", 0.0, None, 0.0)),
        (2, Accepted(2, True)),
    ]


def test_what_nobody_has_begun_is_not_published(medium: Medium) -> None:
    assert medium.handle(1, Publish(1, NAME, 1, "list", b"models", 60.0)) == [(1, Accepted(1, False))]


def test_old_and_too_large_lists_are_dropped(medium: Medium) -> None:
    for number, name in enumerate(("a", "b", "c")):
        medium.handle(1, Begin(number, name, 0, False))
    medium.handle(1, Publish(1, "a", 1, "list", b"models", 60.0))
    medium.now += 60
    medium.handle(1, Publish(2, "b", 1, "list", bytes(MAX_LISTS), 60.0))
    assert medium.handle(2, Begin(1, "a", 0, False)) == [(2, Began(1, 1, None))]
    medium.handle(1, Publish(3, "c", 1, "list", b"models", 60.0))
    assert medium.handle(2, Begin(2, "b", 0, False)) == [(2, Began(2, 1, None))]
    assert medium.handle(2, Begin(3, "c", 0, False)) == [(2, Began(3, 0, News("c", 1, b"models", 0.0, None, 0.0)))]


def test_hints_reach_the_others(medium: Medium) -> None:
    assert medium.handle(1, Hint(b"open")) == [(2, Hint(b"open"))]


def test_a_new_worker_gets_the_hints_of_the_last_minute(medium: Medium) -> None:
    medium.handle(1, Hint(b"old"))
    medium.now += 50
    medium.handle(1, Hint(b"open"))
    medium.now += 10
    medium.sent.clear()
    medium.state.add(medium.workers[1])

    assert medium.sent == [(2, Hint(b"open", 10.0))]


def test_records_are_kept_for_their_time(medium: Medium) -> None:
    medium.handle(1, Put("resp_1", b"lab", 60.0))
    medium.handle(1, Put("resp_2", b"lab", 10.0))
    medium.handle(1, Put("resp_3", b"lab", 60.0))
    medium.handle(2, Delete("resp_3"))
    medium.now += 10
    assert medium.handle(2, Get(1, ("resp_1", "resp_2", "resp_3"))) == [(2, Got(1, {"resp_1": b"lab"}))]

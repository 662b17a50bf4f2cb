"""When a worker that has ended is replaced."""

from __future__ import annotations

import socket

from proxy.server.workers.channel import Channel
from proxy.server.workers.messages import FromWorker
from proxy.server.workers.processes import MAX_BACKOFF, STABLE_SECONDS, Place, Worker


def delays(lifetimes: list[float]) -> list[float]:
    """Seconds until each next start, for workers that live for so long."""
    place, now, found = Place(1, ()), 1000.0, []
    for seconds in lifetimes:
        end, other = socket.socketpair()
        with end, other:
            channel: Channel[FromWorker] = Channel(end, FromWorker)
            place.worker = Worker(1, place, channel, now)
            found.append(place.ended(now + seconds))
        now = place.start_at
    return found


def test_a_worker_that_lived_long_is_replaced_at_once() -> None:
    assert delays([STABLE_SECONDS, STABLE_SECONDS, 1000.0]) == [0.0, 0.0, 0.0]


def test_workers_that_end_soon_are_replaced_ever_later() -> None:
    assert delays([0.1] * 8) == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, MAX_BACKOFF, MAX_BACKOFF]


def test_a_worker_that_lived_long_ends_the_delays() -> None:
    assert delays([0.1, 0.1, 0.1, STABLE_SECONDS, 0.1]) == [0.0, 1.0, 2.0, 0.0, 0.0]

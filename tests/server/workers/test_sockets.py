"""The listening sockets of all workers."""

from __future__ import annotations

import socket

import pytest

from proxy.server.listeners import listeners_of
from proxy.server.workers.sockets import Sockets


def bound() -> list[socket.socket]:
    return [socket.create_server(("127.0.0.1", 0))]


def test_each_worker_has_a_socket_of_its_own_on_the_same_port() -> None:
    first = bound()
    address = first[0].getsockname()
    sockets = Sockets(listeners_of(first))
    groups = sockets.of_workers(3)
    assert [[each.getsockname() for each in group] for group in groups] == [[address]] * 3
    assert len({each.fileno() for each in sockets.all}) == 3
    sockets.close()


def test_another_process_that_listens_is_noticed() -> None:
    sockets = Sockets(listeners_of(bound()))
    with pytest.raises(OSError, match="in use"):
        socket.create_server(sockets.all[0].getsockname())
    sockets.close()


def test_more_workers_keep_the_sockets_and_get_new_ones() -> None:
    sockets = Sockets(listeners_of(bound()))
    before = sockets.of_workers(2)
    assert sockets.of_workers(3)[:2] == before
    sockets.close()


def test_fewer_workers_get_the_sockets_of_those_that_end() -> None:
    sockets = Sockets(listeners_of(bound()))
    (first,), (second,), (third,) = sockets.of_workers(3)
    assert sockets.of_workers(2) == [(first, third), (second,)]
    sockets.close()


def test_shared_sockets_are_those_that_were_bound() -> None:
    first = bound()
    sockets = Sockets(listeners_of(first, handed_down=True))
    assert sockets.of_workers(2) == [tuple(first)] * 2
    sockets.close()

"""Messages through a socket pair: whole ones, parts, and what ends the channel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from proxy.server.workers.channel import MAX_MESSAGE, Channel, ChannelClosed
from proxy.server.workers.messages import Apply, Lead, Stop, ToWorker


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_messages_arrive_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[ToWorker] = Channel(ends[0], ToWorker)
    receiver: Channel[ToWorker] = Channel(ends[1], ToWorker)
    sender.send(Lead())
    sender.send(Stop(True))
    assert [*receiver.receive()] == [Lead(), Stop(True)]


def test_a_message_larger_than_the_socket_arrives_in_parts_without_blocking(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    sender: Channel[ToWorker] = Channel(ends[0], ToWorker)
    receiver: Channel[ToWorker] = Channel(ends[1], ToWorker)
    message = Apply(b"x" * 5_000_000)
    sender.send(message)
    assert sender.is_writing
    received: list[ToWorker] = []
    while not received:
        received += receiver.receive()
        sender.flush()
    assert (received, sender.is_writing) == ([message], False)


def test_a_closed_end_is_reported_after_the_last_message(ends: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[ToWorker] = Channel(ends[0], ToWorker)
    receiver: Channel[ToWorker] = Channel(ends[1], ToWorker)
    sender.send(Lead())
    sender.close()
    received = receiver.receive()
    assert next(received) == Lead()
    with pytest.raises(ChannelClosed):
        next(receiver.receive())


def test_sending_to_a_closed_end_is_reported(ends: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[ToWorker] = Channel(ends[0], ToWorker)
    ends[1].close()
    with pytest.raises(ChannelClosed):
        sender.send(Lead())


def test_messages_that_nobody_reads_are_bounded(ends: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[ToWorker] = Channel(ends[0], ToWorker)
    message = Apply(bytes(MAX_MESSAGE // 3 * 2))
    sender.send(message)
    with pytest.raises(ChannelClosed):
        sender.send(message)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((3).to_bytes(4, "big") + b"abc", id="no message"),
        pytest.param((9).to_bytes(4, "big") + msgspec.msgpack.encode(["Unknown"]), id="unknown message"),
        pytest.param((MAX_MESSAGE + 1).to_bytes(4, "big"), id="too long"),
    ],
)
def test_other_bytes_close_the_channel(ends: tuple[socket.socket, socket.socket], data: bytes) -> None:
    receiver: Channel[ToWorker] = Channel(ends[1], ToWorker)
    ends[0].sendall(data)
    with pytest.raises(ChannelClosed):
        [*receiver.receive()]

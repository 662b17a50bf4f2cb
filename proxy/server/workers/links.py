"""The supervisor's ends of the channels to all workers."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator

from proxy.server.workers.channel import ChannelClosed
from proxy.server.workers.messages import FromWorker, Message
from proxy.server.workers.processes import Worker
from proxy.server.workers.signals import Signals


class Links:
    """Sends and receives messages. A worker that ends, or reads nothing, is disconnected."""

    def __init__(self, signals: Signals, on_disconnect: Callable[[Worker], None]) -> None:
        """`signals` interrupt `wait`; `on_disconnect` is called for a worker that has closed its end."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._on_disconnect = on_disconnect

    def add(self, worker: Worker) -> None:
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def send(self, worker: Worker, message: Message) -> None:
        """Send a message soon, unless the worker is disconnected."""
        if not worker.is_connected:
            return
        try:
            worker.channel.send(message)
            self._watch(worker)
        except ChannelClosed:
            self._broken(worker)

    def wait(self, seconds: float) -> Iterator[tuple[Worker, FromWorker]]:
        """Wait for events, for so many seconds at most. Returns what workers have sent."""
        for key, events in self._selector.select(seconds):
            worker = key.data
            if not isinstance(worker, Worker) or not worker.is_connected:
                continue
            if events & selectors.EVENT_READ:
                for message in self._received(worker):
                    yield worker, message
            if events & selectors.EVENT_WRITE and worker.is_connected:
                self._flush(worker)

    def rest(self, worker: Worker) -> Iterator[FromWorker]:
        """What a worker that has ended had sent, and was not received yet. Disconnects it."""
        while worker.is_connected:
            yield from self._received(worker)

    def disconnect(self, worker: Worker) -> None:
        if worker.is_connected:
            worker.is_connected = False
            self._selector.unregister(worker.channel)
            worker.channel.close()

    def close(self) -> None:
        """In another process: free the descriptors, but those of the channels."""
        self._selector.close()

    def _received(self, worker: Worker) -> Iterator[FromWorker]:
        try:
            yield from worker.channel.receive()
        except ChannelClosed:
            self._broken(worker)

    def _flush(self, worker: Worker) -> None:
        try:
            worker.channel.flush()
            self._watch(worker)
        except ChannelClosed:
            self._broken(worker)

    def _watch(self, worker: Worker) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.channel.is_writing else 0)
        if self._selector.get_key(worker.channel).events != wanted:
            self._selector.modify(worker.channel, wanted, worker)

    def _broken(self, worker: Worker) -> None:
        self.disconnect(worker)
        self._on_disconnect(worker)

"""A worker's side of the state that the supervisor keeps for all workers (`proxy.sharing`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from itertools import count
from typing import TypeVar

from proxy.server.workers.limits import WorkerLimits
from proxy.server.workers.messages import (
    Abandon,
    Accepted,
    Began,
    Begin,
    Claimed,
    Claims,
    Delete,
    Get,
    Got,
    Hint,
    Message,
    News,
    Publish,
    Put,
    Reply,
)
from proxy.sharing import MAX_HINT, MAX_RECORD, Busy, Kind, Known, Published, Turn
from proxy.sharing.recent_hints import Listener

BUSY_SECONDS = 0.5
"""Seconds after which a worker retries to get a list that another one fetches, which may have been killed."""
LIST_SECONDS = 5.0
"""How long a worker waits for the answer about a list. The supervisor answers at once, but the machine can be busy."""
RECORD_SECONDS = 0.2
"""The same for records, which calls wait for."""

R = TypeVar("R", bound=Reply)


class WorkerSharing:
    """A `Sharing` whose other side is the supervisor."""

    def __init__(self) -> None:
        self._send: Callable[[Message], None] | None = None
        """None until this process is connected."""
        self._known: Known = dict
        self._receive: Callable[[str, Published], None] = lambda name, published: None
        self._hints = Listener()
        self.listen = self._hints.listen
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._numbers = count(1)
        self.limits = WorkerLimits(
            self._numbers, lambda message: self._request(message, Claimed, RECORD_SECONDS), self._send_message
        )

    @property
    def state(self) -> None:
        """Nothing is shown of it: it fails with the whole server only."""

    @property
    def usage(self) -> None:
        """The leader keeps it (`proxy.server.workers.usage`)."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def connect(self, send: Callable[[Message], None]) -> None:
        """`send` sends a message to the supervisor."""
        self._send = send

    def handle(self, message: News | Hint | Reply) -> None:
        """The supervisor has sent something."""
        match message:
            case News():
                if self._known().get(message.name, message.version) < message.version:
                    self._receive(message.name, _published(message))
            case Hint():
                self._hints.receive(message.data, message.age)
            case Began() | Accepted() | Got() | Claimed():
                waiting = self._waiting.get(message.request)
                if waiting and not waiting.done():
                    waiting.set_result(message)
                elif isinstance(message, Claimed):
                    self.limits.receive_late(message)

    async def begin(self, name: str, known: int, *, force: bool = False) -> Turn | Busy | Published | None:
        reply = await self._request(Begin(next(self._numbers), name, known, force), Began, LIST_SECONDS)
        if reply is None:
            return None
        if reply.news:
            return _published(reply.news)
        return Turn(reply.token) if reply.token else Busy(BUSY_SECONDS)

    async def publish(self, name: str, token: int, kind: Kind, data: bytes, seconds: float) -> bool:
        message = Publish(next(self._numbers), name, token, kind, data, seconds)
        reply = await self._request(message, Accepted, LIST_SECONDS)
        return reply is not None and reply.is_current

    def abandon(self, name: str, token: int) -> None:
        self._send_message(Abandon(name, token))

    def follow(self, known: Known, receive: Callable[[str, Published], None]) -> None:
        self._known, self._receive = known, receive

    def announce(self, hint: bytes) -> None:
        if len(hint) <= MAX_HINT:
            self._send_message(Hint(hint))

    def put(self, key: str, value: bytes, seconds: float) -> None:
        if len(value) <= MAX_RECORD:
            self._send_message(Put(key, value, seconds))

    async def get(self, keys: Collection[str]) -> Mapping[str, bytes]:
        reply = await self._request(Get(next(self._numbers), tuple(keys)), Got, RECORD_SECONDS)
        return reply.values if reply else {}

    def delete(self, key: str) -> None:
        self._send_message(Delete(key))

    async def agree(self, name: str, value: bytes) -> None:
        """Workers are copies of one process, and have its values."""

    def _send_message(self, message: Message) -> None:
        if self._send:
            self._send(message)

    async def _request(self, message: Begin | Publish | Get | Claims, kind: type[R], seconds: float) -> R | None:
        """Send a message and return the reply, None without one."""
        waiting = self._waiting[message.request] = asyncio.get_running_loop().create_future()
        try:
            self._send_message(message)
            async with asyncio.timeout(seconds):
                reply = await waiting
        except TimeoutError:
            return None
        finally:
            del self._waiting[message.request]
        return reply if isinstance(reply, kind) else None


def _published(news: News) -> Published:
    return Published(news.version, news.list, news.list_age, news.failure, news.failure_age)

"""Passes what a client sends to the parser: one request at a time, and heads only up to their limit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Protocol

from proxy.asgi import Header
from proxy.errors import ApiError, HeadersTooLarge, UriTooLong
from proxy.server.heads import MAX_FIELDS, too_many_fields
from proxy.server.input import EMPTY_LINE, Input
from proxy.server.read_turns import ReadTurns
from proxy.server.shares import Share
from proxy.server.timeouts import Cycle, Flow, Timeouts

_CONTENT_LENGTH = re.compile(rb"\n[Cc]ontent-[Ll]ength: ?([0-9]{1,18})\r")
MAX_URL = 8 * 1024  # bytes
_MAX_WAITING = 64 * 1024
"""Bytes of further requests that are read while a request is in progress."""
_FEW_WAITING = 16 * 1024
"""Reading is resumed below this."""
_MAX_PIECES = 64
"""Pieces that are parsed before other connections have their turn."""
_MAX_DISCARDED = 1024 * 1024
"""Bytes that are received after an error response, so that a client that is still sending can read it."""
_MAX_LINES = MAX_FIELDS + 2
"""Of a head: the first one and the empty one are no fields."""
_MANY_LINES = 2048
"""Bytes of a head that is too short to have very many lines."""


class PausableFlow(Flow, Protocol):
    """uvicorn's flow control of one connection."""

    is_full: bool
    """Whether reading is paused because further requests are waiting."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Parser(Protocol):
    """Parses the requests of one connection."""

    url: bytes

    @property
    def request_headers(self) -> Iterable[Header]:
        """Those of the last request."""
        ...

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes of one request; respond with an error if that is not possible."""
        ...


class Connection(Protocol):
    """The HTTP protocol of one connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    share: Share | None
    """Of the caller in the event loop, None before the first request."""

    @property
    def cycle(self) -> Cycle | None:
        """The last request, None before the first one and after an error."""
        ...

    @property
    def flow(self) -> PausableFlow: ...

    @property
    def parser(self) -> Parser: ...

    @property
    def read_turns(self) -> ReadTurns:
        """Of all connections."""
        ...

    def refuse(self, error: ApiError) -> None: ...


class Receiver:
    """What was received on one connection, and how much of it was parsed.

    What follows a request is parsed after its response, and in another iteration of the event loop: a thousand requests
    in one segment neither occupy memory nor block the event loop.
    """

    __slots__ = (
        "_body_left",
        "_connection",
        "_input",
        "_is_parsing",
        "_is_waiting",
        "_lines",
        "_max_head",
        "_may_discard",
        "_timeouts",
        "head_size",
        "is_partial",
    )

    def __init__(self, connection: Connection, timeouts: Timeouts, max_head: int) -> None:
        """`max_head`: bytes."""
        self._connection = connection
        self._timeouts = timeouts
        self._max_head = max_head
        self._input = Input()
        self.is_partial = False
        """Whether there are bytes that were not parsed, or the beginning of a head."""
        self._is_parsing = False
        self._is_waiting = False
        """Whether the next request waits for the caller's share of the event loop."""
        self.head_size = 0
        """Bytes of a head that is not complete."""
        self._lines = 0
        """The same in lines."""
        self._body_left: int | None = 0
        """Bytes of the current body that were not parsed; 0 if not known yet, None if it is chunked."""
        self._may_discard = _MAX_DISCARDED

    @property
    def waiting(self) -> int:
        """Bytes that were not parsed."""
        return len(self._input)

    def is_simple(self, data: bytes) -> bool:
        """Return whether these bytes, with which a request begins, are its complete head, and at most its body.

        Most requests are. The parser decides on the length of the body; an error here can only make it parse a
        second request too early.
        """
        if self.is_partial:
            return False
        end = data.find(EMPTY_LINE, 0, self._max_head) + len(EMPTY_LINE)
        if end < len(EMPTY_LINE):
            return False
        if end > _MANY_LINES and data.count(b"\n", 0, end) > _MAX_LINES:
            return False
        if end < len(data):
            length = _CONTENT_LENGTH.search(data, 0, end)
            left = int(length[1]) - (len(data) - end) if length else -1
            if left < 0:
                return False
            self._body_left = left
        return True

    def receive(self, data: bytes) -> None:
        """Parse up to the end of the next request, and keep the rest."""
        if self._timeouts.lingers:
            self._discard(len(data))
            return
        self._input.add(data)
        self._parse_in_turn()

    def discard_slowly(self) -> None:
        """Read on in turn, and discard it."""
        self._connection.read_turns.add(self._connection.transport, self._connection.loop)

    def _discard(self, size: int) -> None:
        self._may_discard -= size
        if self._may_discard < 0:
            self._connection.transport.close()
        else:
            self.discard_slowly()

    def response_complete(self) -> None:
        """Continue with the next request: a part of it was received."""
        if not self._is_parsing:
            self._connection.loop.call_soon(self._continue)

    def discard(self) -> None:
        """Drop what was received, and what will be."""
        self._input.clear()
        self.head_size = self._lines = 0
        self._connection.flow.is_full = False
        self.is_partial = True

    def _continue(self) -> None:
        self._is_waiting = False
        if not self._connection.transport.is_closing():
            self._parse_in_turn()

    def _parse_in_turn(self) -> None:
        """Parse, unless a request begins and its caller has used its share of the event loop: then wait."""
        share, cycle = self._connection.share, self._connection.cycle
        if share is None or share.left > 0 or (cycle is not None and not cycle.response_complete):
            self._parse()
            return
        if not self._is_waiting:
            self._is_waiting = True
            share.wait(self._continue)
        self.is_partial = True
        self._limit_waiting()

    def _parse(self) -> None:
        before = self._connection.cycle
        self._is_parsing = True
        for _ in range(_MAX_PIECES):
            if not self._input or not self._can_parse(before):
                break
            self._parse_piece()
        self._is_parsing = False
        if not self._timeouts.lingers:
            self.is_partial = bool(self._input) or self.head_size > 0
            if self.is_partial or self._connection.flow.is_full:
                self._limit_waiting()

    def _can_parse(self, before: Cycle | None) -> bool:
        """Return whether the next bytes belong to the current request, or to the first one after `before`."""
        cycle = self._connection.cycle
        if cycle is None or cycle.response_complete:
            return cycle is before
        return cycle.more_body

    def _parse_piece(self) -> None:
        cycle = self._connection.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            self._parse_head(cycle)
        else:
            self._parse_body(cycle)

    def _parse_head(self, before: Cycle | None) -> None:
        """Parse up to the end of a head, or of what was received."""
        connection = self._connection
        room = self._max_head - self.head_size
        size = self._input.length_to_empty_line(room, continues=self.head_size > 0)
        head = self._input.take(min(size, room))
        self._lines += bytes(head).count(b"\n")
        if self._lines > _MAX_LINES:
            connection.refuse(too_many_fields())
            return
        connection.parser.feed(head)
        if self._timeouts.lingers or connection.cycle is not before:
            self.head_size = self._lines = 0
        elif len(connection.parser.url) > MAX_URL:
            connection.refuse(UriTooLong(MAX_URL))
        elif size > room:
            connection.refuse(HeadersTooLarge(f"The request head exceeds the limit of {self._max_head:,} bytes."))
        else:
            if self.head_size == 0 and before is not None:
                self._timeouts.begin_head()
            self.head_size += size

    def _parse_body(self, cycle: Cycle) -> None:
        """Parse up to the end of a body, or of what was received."""
        if self._body_left == 0:
            self._body_left = content_length(self._connection.parser.request_headers)
        if self._body_left is None:
            size = self._input.length_to_empty_line(continues=True)
        else:
            size = min(self._body_left, len(self._input))
            self._body_left -= size
        self._connection.parser.feed(self._input.take(size))
        if not cycle.more_body:
            self._body_left = 0

    def _limit_waiting(self) -> None:
        """Pause reading while much is waiting, and continue with the next request if none is in progress."""
        waiting, flow = len(self._input), self._connection.flow
        if waiting > _MAX_WAITING:
            flow.is_full = True
            flow.pause_reading()
        elif flow.is_full and waiting < _FEW_WAITING:
            flow.is_full = False
            flow.resume_reading()
        if waiting and not self._is_waiting and self._can_parse(self._connection.cycle):
            self._connection.loop.call_soon(self._continue)


def content_length(headers: Iterable[Header]) -> int | None:
    """Return the length of a request's body, None if it is chunked. `headers`: accepted by the parser."""
    return next((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), None)

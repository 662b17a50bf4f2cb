"""HTTP/1.1 on one connection to a provider: requests are sent, and responses parsed by httptools.

aiohttp's objects for a request and a response cost as much as all other parts of a call together. Providers send much
that is not strictly HTTP, so the parser is as lenient as aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import aiohttp
from aiohttp.client_proto import ResponseHandler
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.asgi import Header
from proxy.upstream.exchange import MAX_HEADER, MAX_HEADERS, Exchange

SHORT = 64 * 1024
"""Bytes of a request body that is sent with one write."""
_PIECE = 64 * 1024
_MAX_OVERHEAD = 256 * 1024
"""Bytes without a byte of a body: heads, also informational ones (1xx), sizes and extensions of chunks, trailers."""
_SLICE = 4 * 1024
"""Bytes that are parsed at a time."""
_TURN_SECONDS = 0.0002
"""How long one iteration of the event loop parses what a connection received: chunks of one byte take long to parse."""
_STALE_SECONDS = 1.0
"""Seconds after the request in which the end of a reused connection means that the provider had closed it before."""


class StaleConnection(aiohttp.ServerDisconnectedError):
    """A reused connection ended right after the request, without a byte of a response."""


class Turns:
    """Runs one of several callbacks in each iteration of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def are_taken(self) -> bool:
        """Whether a callback waits for its turn."""
        return bool(self._waiting)

    def add(self, callback: Callable[[], None]) -> None:
        if not self._waiting:
            self._loop.call_soon(self._run)
        self._waiting.append(callback)

    def _run(self) -> None:
        callback = self._waiting.popleft()
        if self._waiting:
            self._loop.call_soon(self._run)
        callback()


class Protocol(ResponseHandler):
    """A connection. Without an exchange it is aiohttp's, which opens tunnels through egress proxies.

    Detects a reused connection that the provider had closed, or was closing, when the request was sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float], turns: Turns) -> None:
        """`turns`: of the connections to one provider, with more to parse than one iteration may take."""
        super().__init__(loop)
        self._monotonic = monotonic
        self._turns = turns
        self._was_used = False
        self._is_reused = False
        self._used_at = 0.0
        self._http: HttpResponseParser | None = None
        self._exchange: Exchange | None = None
        self._unsent = memoryview(b"")
        self._unparsed = memoryview(b"")
        self._overhead = 0
        self._is_paused = False

    def use(self) -> None:
        """Record that the next request is sent now."""
        self._is_reused, self._was_used = self._was_used, False
        self._used_at = self._monotonic()

    def begin(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Send a request. Its response belongs to this exchange."""
        self._exchange = exchange
        self._parser = None  # aiohttp's
        self._overhead = 0
        if self._http is None:
            self._http = HttpResponseParser(self)
            self._http.set_dangerous_leniencies(
                lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )
        transport = self.transport
        assert transport is not None, "checked by the connector"
        if len(body) <= SHORT:
            transport.write(head + body)
        else:
            transport.write(head)
            self._unsent = memoryview(body)
            self._upload()

    def leave(self) -> None:
        """Ignore what still arrives."""
        self._exchange = None
        self._unparsed = memoryview(b"")

    def resume(self) -> None:
        """Continue to read from the provider."""
        if self._is_paused and not self._unparsed:
            self._is_paused = False
            if self.transport:
                self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._was_used = True
        if self._exchange is None or self._http is None:
            super().data_received(data)
        elif len(data) <= _SLICE and not self._unparsed:
            self._parse(data)
        else:
            is_waiting = bool(self._unparsed)
            self._unparsed = memoryview(bytes(self._unparsed) + data)
            if self._turns.are_taken and not is_waiting:
                self._pause()
                self._turns.add(self._parse_slices)
            elif not is_waiting:
                self._parse_slices()

    def _parse_slices(self) -> None:
        """Parse what has arrived until the time of this iteration is over, and the rest in the next ones."""
        until = self._monotonic() + _TURN_SECONDS
        while self._unparsed:
            data, self._unparsed = self._unparsed[:_SLICE], self._unparsed[_SLICE:]
            self._parse(data)
            if self._unparsed and self._monotonic() >= until:
                self._pause()
                self._turns.add(self._parse_slices)
                return
        if self._exchange and not self._exchange.is_full:
            self.resume()

    def _parse(self, data: bytes | memoryview) -> None:
        exchange, http = self._exchange, self._http
        if exchange is None or http is None:
            return
        self._overhead += len(data)
        try:
            http.feed_data(data)
            if self._overhead > _MAX_OVERHEAD:
                raise HttpParserError("too long")
        except (HttpParserError, HttpParserUpgrade):
            if not exchange.is_complete:
                self._abandon(aiohttp.ClientPayloadError("invalid HTTP"))
                return
        if exchange.is_complete:
            self._should_close |= bool(self._unparsed)  # more than a response
            self._end(exchange)
        else:
            exchange.wake()
            if exchange.is_full:
                self._pause()

    def _pause(self) -> None:
        if not self._is_paused and self.transport:
            self._is_paused = True
            self.transport.pause_reading()

    def on_message_begin(self) -> None:
        if self._exchange and self._exchange.is_complete:
            self._should_close = True  # a response without a request

    def on_header(self, name: bytes, value: bytes) -> None:
        if (exchange := self._exchange) and not exchange.status:  # otherwise it is a trailer
            exchange.raw_headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        exchange, http = self._exchange, self._http
        if exchange is None or http is None or exchange.is_complete:
            return
        status = http.get_status_code()
        if status < 200:  # informational; a real one follows
            exchange.raw_headers = []
            return
        if len(exchange.raw_headers) > MAX_HEADERS or (self._overhead > MAX_HEADER and _is_long(exchange.raw_headers)):
            raise HttpParserError("too long")
        exchange.status = status

    def on_body(self, data: bytes) -> None:
        if (exchange := self._exchange) and not exchange.is_complete:
            self._overhead = 0
            exchange.add(data)

    def on_message_complete(self) -> None:
        exchange, http = self._exchange, self._http
        if exchange and http and exchange.status:
            exchange.is_complete = True
            self._should_close |= not http.should_keep_alive() or bool(self._unsent)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._upload()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(StaleConnection() if self._is_stale() else exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        if rest := self._unparsed:
            self._unparsed = memoryview(b"")
            self._should_close = True
            self._parse(rest)
        exchange, self._exchange, self._http = self._exchange, None, None
        self._unsent = memoryview(b"")
        if exchange and exc is None and exchange.status and _ends_by_closing(exchange.raw_headers):
            exchange.complete(reusable=False)
        elif exchange:
            exchange.fail(self._failure(exchange, exc))
        # The reader of aiohttp's own response with invalid HTTP would wait for a timeout.
        content = self._payload
        super().connection_lost(exc)
        if isinstance(content, aiohttp.StreamReader) and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("invalid HTTP"))

    def _failure(self, exchange: Exchange, exc: BaseException | None) -> Exception:
        """Why a response is not complete."""
        if exchange.status:
            return aiohttp.ClientPayloadError("incomplete")
        if self._is_stale():
            return StaleConnection()
        return aiohttp.ClientOSError(*exc.args) if isinstance(exc, OSError) else aiohttp.ServerDisconnectedError()

    def _is_stale(self) -> bool:
        return self._is_reused and not self._was_used and self._monotonic() < self._used_at + _STALE_SECONDS

    def _end(self, exchange: Exchange) -> None:
        self.leave()
        self.resume()
        exchange.complete(reusable=not self._should_close)

    def _abandon(self, error: Exception) -> None:
        """End a response with invalid HTTP and its connection."""
        exchange = self._exchange
        self.leave()
        if self.transport:
            self.transport.abort()
        if exchange:
            exchange.fail(error)

    def _upload(self) -> None:
        """Send the next pieces of a long body, until the transport's buffer is full."""
        while self._unsent and not self._paused and self.transport and not self.transport.is_closing():
            piece, self._unsent = self._unsent[:_PIECE], self._unsent[_PIECE:]
            self.transport.write(piece)
        if not self._unsent:
            self._unsent = memoryview(b"")  # an empty slice would keep the whole body in memory


def _is_long(headers: Sequence[Header]) -> bool:
    return any(len(value) > MAX_HEADER for _, value in headers)


def _ends_by_closing(headers: Sequence[Header]) -> bool:
    return not any(
        name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower())
        for name, value in headers
    )

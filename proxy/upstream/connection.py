"""HTTP connections to one provider, on aiohttp's connector.

Calls do not need the redirects, cookies, retries, tracing or timeouts of `ClientSession.post`. Bypassing it saves a
quarter of the cost of a call, but uses private APIs of aiohttp. `MODELS_PROXY_PLAIN_HTTP=1` restores `post`.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from proxy.clock import Clock
from proxy.config import Provider
from proxy.seams import plain_http
from proxy.upstream.credentials import egress_of
from proxy.upstream.tls import context_of

_SHORT = 64 * 1024  # bytes; providers read a body of this size before they respond
_MAX_HEADER = 32 * 1024
_MAX_HEADERS = 200
_READ_AHEAD = 64 * 1024  # bytes of a response buffered for its client
_NO_TIMER = TimerNoop()
_IDLE_SECONDS = 10.0
"""How long an idle connection is kept: shorter than most providers keep it, so that it is seldom closed in use."""
_IDLE_CHECK_SECONDS = 1.0
_STALE_SECONDS = 1.0
"""Seconds after the request in which the end of a reused connection means that the provider had closed it before."""
_TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Socket options of Linux: seconds without data, seconds between two probes, and probes."""

_opens_new: ContextVar[bool] = ContextVar("opens_new", default=False)
"""Whether the current call must not reuse a connection. `ClientSession.request` has no parameter for it."""


class StaleConnection(aiohttp.ServerDisconnectedError):
    """A reused connection ended right after the request, without a byte of a response."""


class Protocol(ResponseHandler):
    """Detects a reused connection that the provider had closed, or was closing, when the request was sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        super().__init__(loop)
        self._monotonic = monotonic
        self._was_used = False
        self._is_reused = False
        self._used_at = 0.0

    def use(self) -> None:
        """Record that the next request is sent now."""
        self._is_reused, self._was_used = self._was_used, False
        self._used_at = self._monotonic()

    def data_received(self, data: bytes) -> None:
        self._was_used = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(StaleConnection() if self._is_stale() else exc, *cause)

    def _is_stale(self) -> bool:
        return self._is_reused and not self._was_used and self._monotonic() < self._used_at + _STALE_SECONDS

    def connection_lost(self, exc: BaseException | None) -> None:
        """End a response whose connection is closed because of invalid HTTP: its reader would wait until a timeout."""
        content = self._payload
        super().connection_lost(exc)
        if isinstance(content, aiohttp.StreamReader) and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("invalid HTTP"))


class Connector(aiohttp.TCPConnector):
    """Never reuses a connection that received unsolicited bytes: they would corrupt the next caller's response."""

    def __init__(self, monotonic: Callable[[], float], **options: Any) -> None:
        super().__init__(socket_factory=_socket, **options)
        self._factory = partial(Protocol, self._loop, monotonic)  # type: ignore[assignment]  # `partial` is invariant

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if isinstance(protocol, Protocol) and not protocol.should_close:
                protocol.use()
                return connection
            connection.close()

    async def _get(self, key: Any, traces: list[Any]) -> Connection | None:
        return None if _opens_new.get() else await super()._get(key, traces)

    def _cleanup(self) -> None:
        """Close idle connections. aiohttp would check the others only after another `keepalive_timeout`."""
        super()._cleanup()
        if self._cleanup_handle is not None:
            self._cleanup_handle.cancel()
            self._cleanup_handle = self._loop.call_later(_IDLE_CHECK_SECONDS, self._cleanup)


class Response(aiohttp.ClientResponse):
    """Aborts its connection when closed early, because a provider that stopped reading would keep the socket open."""

    def close(self) -> None:
        if self.connection and self.connection.transport:
            self.connection.transport.abort()
        super().close()


class Request(aiohttp.ClientRequest):
    """Writes short bodies directly. Long bodies need a task, because the provider may respond before they are sent."""

    async def send_short(self, connection: Connection, body: bytes) -> aiohttp.ClientResponse:
        """Like `send`, but writes head and body without a task."""
        protocol = connection.protocol
        assert protocol is not None, "a new connection has a protocol"
        target = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"POST {target} HTTP/1.1", self.headers)
        await writer.write_eof(body)
        assert self.response_class is not None, "set by `Connections`"
        return self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=_NO_TIMER,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )


def unread(content: aiohttp.StreamReader) -> bytes:
    """Return the bytes that arrived before the response failed. Reading raises the failure instead."""
    return b"" if plain_http() else content._read_nowait(-1)


class Connections:
    """The connections to one provider."""

    connector_class: type[Connector] = Connector
    request_class: type[Request] = Request
    response_class: type[Response] = Response

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        egress = egress_of(provider)
        self._egress = URL(egress.url) if egress else None
        self.egress_headers: Mapping[str, str] = egress.headers if egress else {}
        """Headers that authenticate at the egress proxy."""
        self._session: aiohttp.ClientSession | None = None
        self._is_plain = plain_http()

    @property
    def session(self) -> aiohttp.ClientSession:
        """Created at first use, inside the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self.connector_class(
                    self._clock.monotonic,
                    limit=0,
                    ssl=context_of(self._provider),
                    keepalive_timeout=_IDLE_SECONDS,
                ),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._provider.connect_timeout, ceil_threshold=60),
                response_class=self.response_class,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_AHEAD,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                max_headers=_MAX_HEADERS,
            )
        return self._session

    async def post(self, url: URL, headers: CIMultiDict[str], body: bytes) -> aiohttp.ClientResponse:
        """Return the response when its headers have arrived. Raises aiohttp.ClientError, OSError and ValueError.

        A request on a stale connection is sent once more, on a new one.
        """
        send = self._post_plain if self._is_plain else self._post
        try:
            return await send(url, headers, body)
        except StaleConnection:
            with _only_new_connections():
                return await send(url, headers, body)

    async def request(self, method: str, url: URL, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        """Do what `post` does, for a request without a body. These are rare, so they use aiohttp's public interface."""
        try:
            return await self._request_plain(method, url, headers, None)
        except StaleConnection:
            with _only_new_connections():
                return await self._request_plain(method, url, headers, None)

    async def _post_plain(self, url: URL, headers: CIMultiDict[str], body: bytes) -> aiohttp.ClientResponse:
        return await self._request_plain("POST", url, headers, body if len(body) <= _SHORT else io.BytesIO(body))

    async def _request_plain(
        self, method: str, url: URL, headers: CIMultiDict[str], data: bytes | io.BytesIO | None
    ) -> aiohttp.ClientResponse:
        return await self.session.request(
            method,
            url,
            headers=headers,
            data=data,
            allow_redirects=False,
            proxy=self._egress,
            proxy_headers=self.egress_headers,
        )

    async def _post(self, url: URL, headers: CIMultiDict[str], body: bytes) -> aiohttp.ClientResponse:
        session = self.session
        connector = session.connector
        assert connector is not None, "a session has a connector until it is closed"
        is_short = len(body) <= _SHORT
        if is_short:
            headers["Content-Length"] = str(len(body))
        request = self.request_class(
            "POST",
            url,
            headers=headers,
            data=None if is_short else io.BytesIO(body),  # only files are sent in chunks
            loop=asyncio.get_running_loop(),
            response_class=self.response_class,
            session=session,
            proxy=self._egress,
            proxy_headers=CIMultiDict(self.egress_headers),
        )
        try:
            connection = await connector.connect(request, [], session.timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            assert connection.protocol is not None, "checked by the connector"
            connection.protocol.set_response_params(
                timer=_NO_TIMER,
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_READ_AHEAD,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                max_headers=_MAX_HEADERS,
            )
            response = await (request.send_short(connection, body) if is_short else request.send(connection))
        except BaseException:
            connection.close()
            raise
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            connection.close()
            raise

    async def close(self) -> None:
        if self._session:
            await self._session.close()


@contextmanager
def _only_new_connections() -> Iterator[None]:
    token = _opens_new.set(True)
    try:
        yield
    finally:
        _opens_new.reset(token)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address of `getaddrinfo` that detects a connection that was lost without being closed."""
    family, kind, protocol = address[:3]
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_KEEPALIVE.items():
        if option := getattr(socket, name, None):
            created.setsockopt(socket.IPPROTO_TCP, option, value)
    return created

"""HTTP connections to one provider, on aiohttp's connector.

Calls do not need the redirects, cookies, retries, tracing or timeouts of `ClientSession.post`. Bypassing it saves a
quarter of the cost of a call, but uses private APIs of aiohttp. `MODELS_PROXY_PLAIN_HTTP=1` restores `post`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from proxy.config import Provider
from proxy.seams import plain_http
from proxy.upstream.credentials import egress_of
from proxy.upstream.tls import context_of

_SHORT = 64 * 1024  # bytes; providers read a body of this size before they respond
_MAX_HEADER = 32 * 1024
_MAX_HEADERS = 200
_READ_AHEAD = 64 * 1024  # bytes of a response buffered for its client
_NO_TIMER = TimerNoop()


class Protocol(ResponseHandler):
    """Ends a response whose connection is closed because of invalid HTTP: its reader would wait until a timeout."""

    def connection_lost(self, exc: BaseException | None) -> None:
        content = self._payload
        super().connection_lost(exc)
        if isinstance(content, aiohttp.StreamReader) and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("invalid HTTP"))


class Connector(aiohttp.TCPConnector):
    """Never reuses a connection that received unsolicited bytes: they would corrupt the next caller's response."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(Protocol, loop=self._loop)  # type: ignore[assignment]  # `partial` is invariant

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()


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

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
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
                connector=self.connector_class(limit=0, ssl=context_of(self._provider)),
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

    def post(self, url: URL, headers: CIMultiDict[str], body: bytes) -> Awaitable[aiohttp.ClientResponse]:
        """Return the response when its headers have arrived. Raises aiohttp.ClientError, OSError and ValueError."""
        send = self._post_plain if self._is_plain else self._post
        return send(url, headers, body)

    async def _post_plain(self, url: URL, headers: CIMultiDict[str], body: bytes) -> aiohttp.ClientResponse:
        return await self.session.post(
            url,
            headers=headers,
            data=body if len(body) <= _SHORT else io.BytesIO(body),
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

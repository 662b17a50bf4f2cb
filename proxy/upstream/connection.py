"""One HTTP exchange with a provider, on the connections of aiohttp's session.

As `ClientSession.post` does it, less what a call never has (redirects, cookies, retries, tracing, timeouts of its own):
that is a quarter of what a call costs.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping

import aiohttp
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from proxy.config import Provider
from proxy.upstream import tls
from proxy.upstream.credentials import egress_of

_SHORT = 64 * 1024  # bytes of a body that any provider takes before it answers
_MAX_HEADER = 32 * 1024
_MAX_HEADERS = 200
_READ_AHEAD = 64 * 1024  # bytes of an answer that may wait for its client
_NO_TIMER = TimerNoop()


class Connections:
    """All exchanges with one provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        egress = egress_of(provider)
        self._egress = URL(egress.url) if egress else None
        self.egress_headers: Mapping[str, str] = egress.headers if egress else {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made in the event loop that uses it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls.context(self._provider.ca_file)),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._provider.connect_timeout, ceil_threshold=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def post(self, url: URL, headers: CIMultiDict[str], body: bytes) -> aiohttp.ClientResponse:
        """The head of the answer; its body is still to be read. Raises aiohttp.ClientError, OSError and ValueError."""
        session = self.session
        connector = session.connector
        assert connector is not None, "a session has one until it is closed"
        is_short = len(body) <= _SHORT
        if is_short:
            headers["Content-Length"] = str(len(body))
        request = _Request(
            "POST",
            url,
            headers=headers,
            data=None if is_short else io.BytesIO(body),  # in pieces only from a file
            loop=asyncio.get_running_loop(),
            response_class=_Response,
            session=session,
            proxy=self._egress,
            proxy_headers=CIMultiDict(self.egress_headers),
        )
        connection = await self._connected(connector, request, session.timeout)
        try:
            assert connection.protocol is not None, "it was just made or found"
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

    @staticmethod
    async def _connected(
        connector: aiohttp.BaseConnector, request: aiohttp.ClientRequest, limit: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection on which nothing is still to come: what a provider says unasked would be the next caller's."""
        while True:
            try:
                connection = await connector.connect(request, traces=[], timeout=limit)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError from error
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()

    async def close(self) -> None:
        if self._session:
            await self._session.close()


class _Request(aiohttp.ClientRequest):
    """Writes a short body by itself. (A long one takes a task, since its provider may answer before it has come.)"""

    async def send_short(self, connection: Connection, body: bytes) -> aiohttp.ClientResponse:
        """As `send` does it; head and body go out together."""
        protocol = connection.protocol
        assert protocol is not None, "a connection that was just handed out has one"
        target = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"POST {target} HTTP/1.1", self.headers)
        await writer.write_eof(body)
        return _Response(
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


class _Response(aiohttp.ClientResponse):
    """Cut off when it is closed: a provider that has stopped reading would keep the socket, and the body, for ever."""

    def close(self) -> None:
        if self.connection and self.connection.transport:
            self.connection.transport.abort()
        super().close()

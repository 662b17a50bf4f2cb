"""HTTP connections to one provider, on aiohttp's connector.

Calls do not need the redirects, cookies, retries, tracing or timeouts of `ClientSession.request`, and its objects cost
as much as all other parts of a call. Bypassing them uses private APIs of aiohttp.
`MODELS_PROXY_PLAIN_HTTP=1` restores `ClientSession.request`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Coroutine, Mapping
from functools import cached_property
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict
from yarl import URL

from proxy.clock import Clock
from proxy.config import Provider
from proxy.seams import plain_http
from proxy.upstream.connector import IDLE_SECONDS, Connector, Reused, only_new_connections
from proxy.upstream.credentials import egress_of
from proxy.upstream.exchange import MAX_HEADER, MAX_HEADERS, READ_AHEAD, Exchange, Incoming
from proxy.upstream.protocol import SHORT, Protocol, StaleConnection
from proxy.upstream.tls import context_of


class Destination(aiohttp.ClientRequest):
    """Where to connect: what aiohttp's connector reads of a request. Its headers and its body are not used."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class Response(aiohttp.ClientResponse):
    """Aborts its connection when closed early, because a provider that stopped reading would keep the socket open."""

    def close(self) -> None:
        if self.connection and self.connection.transport:
            self.connection.transport.abort()
        super().close()


class PlainResponse:
    """An `Incoming` of `ClientSession.request`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.raw_headers = [(name.lower(), value) for name, value in response.raw_headers]
        self.sent_headers: Mapping[str, str] = response.request_info.headers
        self._response = response

    @property
    def is_over(self) -> bool:
        return self._response.content.at_eof()

    def read_nowait(self) -> bytes:
        return self._response.content.read_nowait(-1)

    async def read(self) -> bytes:
        return await self._response.content.readany()

    def close(self) -> None:
        self._response.close()


class Connections:
    """The connections to one provider."""

    connector_class: type[Connector] = Connector

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        egress = egress_of(provider)
        self._egress = URL(egress.url) if egress else None
        self.egress_headers: Mapping[str, str] = egress.headers if egress else {}
        """Headers that authenticate at the egress proxy."""
        self._tls = context_of(provider)
        self._users = 1
        self._session: aiohttp.ClientSession | None = None
        self._is_plain = plain_http()
        self._destinations: dict[URL, Destination] = {}
        """By origin."""

    @property
    def session(self) -> aiohttp.ClientSession:
        """Created at first use, inside the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self.connector_class(
                    self._clock.monotonic,
                    limit=0,
                    ssl=self._tls,
                    keepalive_timeout=IDLE_SECONDS,
                ),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._provider.connect_timeout, ceil_threshold=60),
                response_class=Response,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=READ_AHEAD,
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
                max_headers=MAX_HEADERS,
            )
        return self._session

    def send(
        self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None = None
    ) -> Coroutine[Any, Any, Incoming]:
        """Return the response when its head has arrived. Raises aiohttp.ClientError, OSError and ValueError.

        `headers`: the length of the body is added. A request on a stale connection is sent once more, on a new one.
        """
        send = self._send_plain if self._is_plain else self._send
        return send(method, url, headers, body)

    async def _send_plain(self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None) -> Incoming:
        try:
            return await self._request_plain(method, url, headers, body)
        except StaleConnection:
            with only_new_connections():
                return await self._request_plain(method, url, headers, body)

    async def _request_plain(self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None) -> Incoming:
        response = await self.session.request(
            method,
            url,
            headers=headers,
            data=body if body is None or len(body) <= SHORT else io.BytesIO(body),
            allow_redirects=False,
            proxy=self._egress,
            proxy_headers=self.egress_headers,
        )
        return PlainResponse(response)

    async def _send(self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None) -> Incoming:
        if body is not None or method == "POST":
            headers["Content-Length"] = str(len(body or b""))
        destination = self._destination(url)
        target = str(url) if destination.proxy and not destination.is_ssl() else url.raw_path_qs
        head = _head(f"{method} {target} HTTP/1.1", url, headers)
        connection: Connection | Reused = self._idle(destination) or await self._connect(destination)
        while True:
            protocol = connection.protocol
            assert isinstance(protocol, Protocol), "checked by the connector"
            exchange = Exchange(connection, protocol, headers)
            try:
                protocol.begin(exchange, head, body or b"")
                await exchange.head()
            except StaleConnection:
                with only_new_connections():
                    connection = await self._connect(destination)
            except BaseException:
                exchange.close()
                raise
            else:
                return exchange

    def _destination(self, url: URL) -> Destination:
        origin = url.origin()
        destination = self._destinations.get(origin)
        if destination is None:
            destination = self._destinations[origin] = Destination(
                "GET",
                origin,
                loop=asyncio.get_running_loop(),
                session=self.session,
                proxy=self._egress,
                proxy_headers=CIMultiDict(self.egress_headers),
            )
        return destination

    @property
    def _connector(self) -> Connector:
        connector = self.session.connector
        assert isinstance(connector, Connector), "a session has a connector until it is closed"
        return connector

    def _idle(self, destination: Destination) -> Reused | None:
        return self._connector.idle(destination.connection_key)

    async def _connect(self, destination: Destination) -> Connection:
        try:
            return await self._connector.connect(destination, [], self.session.timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error

    async def open(self, url: URL) -> None:
        """Open another connection, for the next request. Raises aiohttp.ClientError and OSError."""
        with only_new_connections():
            connection = await self._connect(self._destination(url))
        connection.release()

    def fit(self, provider: Provider) -> bool:
        """Whether a later configuration of the provider can use them: it connects to the same host in the same way."""
        return (*_way_to(self._provider), self._tls) == (*_way_to(provider), context_of(provider))

    def share(self) -> None:
        """Use them with a later configuration of the provider, which must close them, too."""
        self._users += 1

    async def close(self) -> None:
        """Close all connections when the last configuration that uses them ends."""
        self._users -= 1
        if self._session and not self._users:
            await self._session.close()


def _way_to(provider: Provider) -> tuple[object, ...]:
    """Where calls of a provider connect to, and how."""
    target = provider.target
    hosts = (target.base_url, target.root_url) if target else ()
    return hosts, provider.proxy, provider.connect_timeout


def _head(request_line: str, url: URL, headers: CIMultiDict[str]) -> bytes:
    """Raises ValueError if a header has a control character."""
    if "Host" in headers:
        return _serialize_headers(request_line, headers)
    return request_line.encode() + b"\r\n" + _serialize_headers(f"Host: {url.host_port_subcomponent}", headers)

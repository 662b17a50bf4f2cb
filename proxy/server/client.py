"""The connection of one request, as the application uses it: to detect a disconnect, and to send at once."""

from __future__ import annotations

import asyncio
import typing
import weakref

from uvicorn.protocols.http.flow_control import FlowControl

from proxy.asgi import RawResponse

if typing.TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_MAX_DIRECT = 64 * 1024  # bytes of a response that is written without flow control


class Connection(typing.Protocol):
    """The HTTP protocol of the connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    flow: FlowControl

    def write_response(self, cycle: RequestResponseCycle, response: RawResponse) -> None: ...


class ClientConnection:
    """`proxy.asgi.ClientConnection` of one request. Detects a disconnect without a task."""

    __slots__ = ("_cycle", "_protocol", "on_disconnect")

    def __init__(self, protocol: Connection, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        # The cycle's scope references this object: a strong reference would create a reference cycle per request.
        self._cycle = weakref.ref(cycle)
        self.on_disconnect: typing.Callable[[], None] = nothing

    def lose(self) -> None:
        """The connection is closed. uvicorn notifies only the newest request, and this may be an earlier one."""
        cycle = self._cycle()
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.on_disconnect()

    def abort(self) -> None:
        self._protocol.transport.abort()

    def watch(self, on_disconnect: typing.Callable[[], None]) -> typing.Callable[[], None]:
        self.on_disconnect = on_disconnect
        # uvicorn pauses reading after a long body, and a disconnect is only detected while reading.
        if self._protocol.flow.read_paused:
            self._protocol.flow.resume_reading()
        cycle = self._cycle()
        if cycle is None or cycle.disconnected:
            self._protocol.loop.call_soon(on_disconnect)
        return self._stop_watching

    def _stop_watching(self) -> None:
        self.on_disconnect = nothing

    def send(self, response: RawResponse) -> bool:
        cycle, protocol = self._cycle(), self._protocol
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or protocol.flow.write_paused
            or len(response.body) > _MAX_DIRECT
        ):
            return False
        protocol.write_response(cycle, response)
        cycle.message_event.set()
        return True


def without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Return an application whose response of unknown length is sent without chunk sizes."""

    async def unchunked(scope: typing.Any, receive: typing.Any, send: typing.Any) -> None:
        is_sized = True

        async def send_plain(message: typing.Any) -> None:
            nonlocal is_sized
            if message["type"] == "http.response.start":
                is_sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = None if is_sized else False
            elif not is_sized:
                cycle.expected_content_length = len(message.get("body", b""))  # uvicorn compares the two lengths
            await send(message)

        await app(scope, receive, send_plain)

    return unchunked


def nothing() -> None:
    pass

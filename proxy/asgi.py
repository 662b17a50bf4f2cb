"""The values that pass between the server, the gate and the endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

Header = tuple[bytes, bytes]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""As in `starlette.types`, which only the demo imports."""


class RawResponse(Struct, frozen=True):
    """A complete response."""

    status: int
    headers: list[Header]
    body: bytes
    rest: Sequence[bytes] = ()
    """Further parts of the body, which several responses may share."""
    lines: bytes = b""
    """Further lines of the head, each preceded by CRLF: they are sent as they are."""

    @property
    def all_headers(self) -> list[Header]:
        """The headers, with those of `lines`."""
        return [*self.headers, *headers_of(self.lines)]

    @property
    def whole_body(self) -> bytes:
        return b"".join((self.body, *self.rest)) if self.rest else self.body


def headers_of(lines: bytes) -> list[Header]:
    """Return the headers that `RawResponse.lines` has."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")[1:])]


AddHeaders = Callable[[Iterable[Header], Iterable[Header]], list[Header]]
"""From the headers of a request and those of its response to the complete headers of the response."""
Handler = Callable[[Receive, Send], Awaitable[RawResponse | None]]
"""Finishes a request that needs I/O: returns the response, or None if it was already sent. Raises ApiError."""


class ClientConnection(Protocol):
    """What the proxy's HTTP protocol offers beyond ASGI. In the scope as `connection`."""

    def whole_body(self) -> bytes | None:
        """Return the body if all of it has arrived, None if it must be received. Only before anything is received."""
        ...

    def watch(self, on_disconnect: Callable[[], None]) -> Callable[[], None]:
        """Call `on_disconnect` when the client disconnects. Returns a function that stops watching."""
        ...

    def send_whole(self, response: RawResponse) -> bool:
        """Send a complete response with one system call. Returns False if it must be sent through ASGI."""
        ...

    def abort(self) -> None:
        """Close the connection and discard unsent bytes."""
        ...

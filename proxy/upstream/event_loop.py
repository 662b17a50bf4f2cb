"""The event loop of the server and of `check`: both HTTP libraries resolve host names with `loop.getaddrinfo`."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from proxy.upstream.resolver import Resolver

if sys.platform == "win32":
    _Loop = asyncio.ProactorEventLoop
else:
    import uvloop

    _Loop = uvloop.Loop


class EventLoop(_Loop):
    """An event loop that resolves the names of TCP servers with a `Resolver`, and waits briefly for TLS handshakes."""

    handshake_seconds = 10.0
    """How long a client of a server with TLS can take: by default it could keep a descriptor for a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.resolver = Resolver(self.time)
        self.accept_tls: Callable[..., Any] | None = None
        """Creates a server for a protocol, a socket, a TLS context and `handshake_seconds`. None: the loop's own."""

    async def create_server(
        self, *arguments: Any, ssl: Any = None, sock: Any = None, backlog: int = 100, **settings: Any
    ) -> Any:
        if ssl:
            if self.accept_tls and sock:
                sock.setblocking(False)
                sock.listen(backlog)
                return self.accept_tls(*arguments, sock, ssl, self.handshake_seconds)
            settings["ssl_handshake_timeout"] = self.handshake_seconds
        return await super().create_server(*arguments, ssl=ssl, sock=sock, backlog=backlog, **settings)

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        name = host.decode("ascii") if isinstance(host, bytes) else host
        is_plain = type == socket.SOCK_STREAM and proto == 0 and flags in (0, socket.AI_ADDRCONFIG)
        if not (is_plain and isinstance(port, int) and _is_name(name)):
            return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        found = [
            (*rest, (address[0], port, *address[2:]))
            for *rest, address in await self.resolver.resolve(name)
            if family in (socket.AF_UNSPEC, rest[0])
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address of this family")
        return found


def _is_name(host: str | None) -> bool:
    """Whether a host must be looked up."""
    if not host:
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False

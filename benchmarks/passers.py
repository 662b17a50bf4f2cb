"""Reference forwarders: `python -m benchmarks.passers KIND PORT UPSTREAM`.

`bare`: an ASGI application on aiohttp with one session, on uvicorn with the settings of the proxy. `starlette`: a
typical minimal application on httpx. Neither has API keys, models or timeouts, or detects that a client disconnected.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from yarl import URL

from benchmarks.harness import SERVER_CORE, pin

_FORWARDED_HEADERS = ("Content-Type", "Content-Length")


class Bare:
    """Forwards every path to the upstream."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["path"]
        url = self._urls.setdefault(path, URL(self._upstream + path))
        async with self._session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
            headers = [
                (name.lower().encode(), response.headers[name].encode())
                for name in _FORWARDED_HEADERS
                if name in response.headers
            ]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            while chunk := await response.content.readany():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def starlette(upstream: str) -> Starlette:
    client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))  # noqa: S113  # loopback

    async def passed(request: Request) -> StreamingResponse:
        headers = {"Content-Type": "application/json"}
        call = client.build_request("POST", upstream + request.url.path, content=await request.body(), headers=headers)
        response = await client.send(call, stream=True)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in response.aiter_raw():
                    yield chunk
            finally:
                await response.aclose()

        return StreamingResponse(chunks(), response.status_code, media_type=response.headers["content-type"])

    return Starlette(routes=[Route("/{path:path}", passed, methods=["POST"])])


def main(kind: str, port: int, upstream: str) -> None:
    pin(SERVER_CORE)
    app: Any = {"bare": Bare, "starlette": starlette}[kind](upstream)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

"""Six providers on one loopback port, a path for each: the answers lie beside this file.

Each wants its credential where its dialect has it, and refuses others in its own words.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

_PAGE = 2
"""Entries on a page of the dialects that have pages, whatever is asked for."""


@contextmanager
def upstreams(key: str) -> Iterator[int]:
    """While this is entered they answer, in a thread of their own, whoever brings this credential. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                application(key),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, args=([listening],), name="upstreams")
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def application(key: str) -> Starlette:
    """All six. The path is what tells them apart."""
    bearer = ("authorization", f"Bearer {key}")
    return Starlette(
        routes=[
            Route("/aihubmix/v1/models", _guarded(bearer, "openai", _says("aihubmix"))),
            Route("/ctyun/v1/models", _guarded(bearer, "ctyun", _says("ctyun"))),
            Route("/anthropic/v1/models", _guarded(("x-api-key", key), "anthropic", _anthropic)),
            Route(
                "/pangu/v1/workspaces/demo/models/{model_id}/versions",
                _guarded(("x-auth-token", key), "pangu", _pangu),
            ),
            Route("/backup/v1/models", _guarded(bearer, "openai", _says("backup"))),
            Route("/slow/v1/models", _hangs),
        ]
    )


def _guarded(credential: tuple[str, str], dialect: str, endpoint: Endpoint) -> Endpoint:
    name, value = credential

    async def answer(request: Request) -> Response:
        if request.headers.get(name) != value:
            return _json(_content(f"{dialect}_refusal"), 401)
        return await endpoint(request)

    return answer


def _says(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return _json(_content(name))

    return answer


async def _anthropic(request: Request) -> Response:
    """A page begins behind the model that `after_id` names."""
    models = msgspec.json.decode(_content("anthropic"))["data"]
    ids = [model["id"] for model in models]
    after = request.query_params.get("after_id")
    begin = ids.index(after) + 1 if after in ids else 0
    page = models[begin : begin + _PAGE]
    more = {"has_more": begin + _PAGE < len(models), "first_id": page[0]["id"], "last_id": page[-1]["id"]}
    return _json(msgspec.json.encode({"data": page, **more}))


async def _pangu(request: Request) -> Response:
    versions = msgspec.json.decode(_content("pangu")).get(request.path_params["model_id"], [])
    offset = int(request.query_params.get("offset", "0"))
    return _json(msgspec.json.encode({"total": len(versions), "versions": versions[offset : offset + _PAGE]}))


async def _hangs(request: Request) -> Response:
    """Not a word until whoever asked has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


@cache
def _content(name: str) -> bytes:
    return files("proxy.demo").joinpath(f"{name}.json").read_bytes()

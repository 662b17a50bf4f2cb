"""Six simulated providers on one loopback port, each under its own path. Their lists are JSON files in this package.

Each expects its credential where its dialect has it, and rejects others in the format of its dialect. The callable
ones return the same short text for every call, as a stream if the request has `stream: true`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

_PAGE = 2
"""Entries on a page of the dialects that have pages, whatever page size is requested."""
_WORDS = "Hello from {model}, word by word: a canned response, no model was called."
_PAUSE = 0.05  # seconds between two events of a stream, so that streaming is visible


@contextmanager
def upstreams(key: str) -> Iterator[int]:
    """Run all six in a thread, with this credential, until the context ends. Yields the port."""
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
    """All six, distinguished by their paths."""
    bearer = ("authorization", f"Bearer {key}")
    x_api_key = ("x-api-key", key)
    return Starlette(
        routes=[
            *(
                Route(f"/{name}/v1/chat/completions", _guarded(bearer, dialect, _chats), methods=["POST"])
                for name, dialect in (("aihubmix", "openai"), ("ctyun", "ctyun"), ("backup", "openai"))
            ),
            Route("/anthropic/v1/chat/completions", _guarded(x_api_key, "anthropic", _chats), methods=["POST"]),
            Route("/anthropic/v1/messages", _guarded(x_api_key, "anthropic", _messages), methods=["POST"]),
            Route("/aihubmix/v1/models", _guarded(bearer, "openai", _lists("aihubmix"))),
            Route("/ctyun/v1/models", _guarded(bearer, "ctyun", _lists("ctyun"))),
            Route("/anthropic/v1/models", _guarded(x_api_key, "anthropic", _anthropic)),
            Route(
                "/pangu/v1/workspaces/demo/models/{model_id}/versions",
                _guarded(("x-auth-token", key), "pangu", _pangu),
            ),
            Route("/backup/v1/models", _guarded(bearer, "openai", _lists("backup"))),
            Route("/slow/v1/models", _hangs),
        ]
    )


def _guarded(credential: tuple[str, str], dialect: str, endpoint: Endpoint) -> Endpoint:
    name, value = credential

    async def respond(request: Request) -> Response:
        if request.headers.get(name) != value:
            return _json(_content(f"{dialect}_refusal"), 401)
        return await endpoint(request)

    return respond


def _lists(name: str) -> Endpoint:
    async def respond(request: Request) -> Response:
        return _json(_content(name))

    return respond


async def _anthropic(request: Request) -> Response:
    """A page starts after the model `after_id`."""
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


async def _chats(request: Request) -> Response:
    """An OpenAI chat completion."""
    body = await request.json()
    words = _words(body["model"])
    usage = {"prompt_tokens": 8, "completion_tokens": len(words), "total_tokens": 8 + len(words)}
    payload = {"id": "chatcmpl-demo", "created": 1_750_000_000, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(words)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return _json(msgspec.json.encode({**payload, "object": "chat.completion", "choices": choices, "usage": usage}))

    def events() -> Iterator[bytes]:
        deltas = [{"role": "assistant", "content": words[0]}, *({"content": word} for word in words[1:]), {}]
        for delta in deltas:
            choices = [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]
            yield _event({**payload, "object": "chat.completion.chunk", "choices": choices})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _event({**payload, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    return _stream(events())


async def _messages(request: Request) -> Response:
    """An Anthropic message."""
    body = await request.json()
    words = _words(body["model"])
    payload = {"id": "msg_demo", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None}
    usage = {"input_tokens": 8, "output_tokens": len(words)}
    if not body.get("stream"):
        content = [{"type": "text", "text": "".join(words)}]
        return _json(msgspec.json.encode({**payload, "content": content, "stop_reason": "end_turn", "usage": usage}))
    started = {**payload, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return _stream(b"event: %b\n%b" % (event["type"].encode(), _event(event)) for event in events)


def _words(model: str) -> list[str]:
    """The canned response, word by word."""
    return re.findall(r"\S+\s*", _WORDS.format(model=model))


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(payload)


def _stream(events: Iterable[bytes]) -> Response:
    async def paced() -> AsyncIterator[bytes]:
        for event in events:
            yield event
            await asyncio.sleep(_PAUSE)

    return StreamingResponse(paced(), media_type="text/event-stream")


async def _hangs(request: Request) -> Response:
    """Send nothing until the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


@cache
def _content(name: str) -> bytes:
    return files("proxy.cli.demo").joinpath(f"{name}.json").read_bytes()

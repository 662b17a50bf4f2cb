"""Six providers on one loopback port, a path for each: the answers lie beside this file.

Each wants its credential where its dialect has it, and refuses others in its own words. Those whose models can be
called answer every call with the same few words, one after the other if a stream was asked for.
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
"""Entries on a page of the dialects that have pages, whatever is asked for."""
_WORDS = "Hello from {model}, word by word: nobody was asked, this answer is canned."
_PAUSE = 0.05  # seconds between two events of a stream, for the eye


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
    x_api_key = ("x-api-key", key)
    return Starlette(
        routes=[
            *(
                Route(f"/{name}/v1/chat/completions", _guarded(bearer, dialect, _chats), methods=["POST"])
                for name, dialect in (("aihubmix", "openai"), ("ctyun", "ctyun"), ("backup", "openai"))
            ),
            Route("/anthropic/v1/chat/completions", _guarded(x_api_key, "anthropic", _chats), methods=["POST"]),
            Route("/anthropic/v1/messages", _guarded(x_api_key, "anthropic", _messages), methods=["POST"]),
            Route("/aihubmix/v1/models", _guarded(bearer, "openai", _says("aihubmix"))),
            Route("/ctyun/v1/models", _guarded(bearer, "ctyun", _says("ctyun"))),
            Route("/anthropic/v1/models", _guarded(x_api_key, "anthropic", _anthropic)),
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


async def _chats(request: Request) -> Response:
    """A chat completion, OpenAI's."""
    asked = await request.json()
    words = _words(asked["model"])
    usage = {"prompt_tokens": 8, "completion_tokens": len(words), "total_tokens": 8 + len(words)}
    said = {"id": "chatcmpl-demo", "created": 1_750_000_000, "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(words)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return _json(msgspec.json.encode({**said, "object": "chat.completion", "choices": choices, "usage": usage}))

    def events() -> Iterator[bytes]:
        deltas = [{"role": "assistant", "content": words[0]}, *({"content": word} for word in words[1:]), {}]
        for delta in deltas:
            choices = [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]
            yield _event({**said, "object": "chat.completion.chunk", "choices": choices})
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield _event({**said, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    return _stream(events())


async def _messages(request: Request) -> Response:
    """A message, Anthropic's."""
    asked = await request.json()
    words = _words(asked["model"])
    said = {"id": "msg_demo", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    usage = {"input_tokens": 8, "output_tokens": len(words)}
    if not asked.get("stream"):
        content = [{"type": "text", "text": "".join(words)}]
        return _json(msgspec.json.encode({**said, "content": content, "stop_reason": "end_turn", "usage": usage}))
    begun = {**said, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return _stream(b"event: %b\n%b" % (event["type"].encode(), _event(event)) for event in events)


def _words(model: str) -> list[str]:
    """The canned answer; joined they are it."""
    return re.findall(r"\S+\s*", _WORDS.format(model=model))


def _event(said: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(said)


def _stream(events: Iterable[bytes]) -> Response:
    async def paced() -> AsyncIterator[bytes]:
        for event in events:
            yield event
            await asyncio.sleep(_PAUSE)

    return StreamingResponse(paced(), media_type="text/event-stream")


async def _hangs(request: Request) -> Response:
    """Not a word until whoever asked has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


@cache
def _content(name: str) -> bytes:
    return files("proxy.cli.demo").joinpath(f"{name}.json").read_bytes()

"""Small upstream servers on loopback: asyncio streams in a thread, HTTP/1.1 bytes written by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from tests.fakes import documented

T = TypeVar("T")

AIHUBMIX: dict[str, Any] = documented("aihubmix_zh")
"""The example answer of AiHubMix's documentation."""

CTYUN = """{
"object":"list",
"data":[
{
"id":"测试模型名称1",
"object":"model",
"created":"",
"owned_by":""
}
]
}
""".encode()
"""The example answer of ctyun's documentation, byte for byte."""

CTYUN_WRONG_KEY = """{
"code":500004,
"detail":"AppKey不正确,请使用正确的AppKey",
"message":"INCORRECT_API_KEY_PROVIDED",
"error":{
"code":"500004",
"message":"AppKey不正确,请使用正确的AppKey",
"type":"INCORRECT_API_KEY_PROVIDED"
}
}
""".encode()
"""Its example of an error, byte for byte."""


@dataclass(frozen=True)
class Asked:
    """One request that an upstream got."""

    at: float
    """Monotonic seconds."""
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By their names in lower case."""


Reply = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """One server with a port of its own; what it says may be changed at any time."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self.url = ""

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            asked = _asked(head)
            self.asked.append(asked)
            await self.reply(asked, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the proxy has seen enough, or the test is over
        finally:
            writer.close()


class Upstreams:
    """All upstreams of a test, in one thread; leaving the context ends whatever they still do."""

    def __enter__(self) -> Upstreams:
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._do(_end(self._servers))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, reply: Reply) -> Upstream:
        upstream = Upstream(reply)
        self._servers.append(self._do(upstream.listen()))
        return upstream

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


async def _end(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _asked(head: str) -> Asked:
    first, *lines = head.rstrip("\r\n").split("\r\n")
    target = urlsplit(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(time.monotonic(), target.path, dict(parse_qsl(target.query)), headers)


# -- what an upstream may say ------------------------------------------------------------------------------------------


def says(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """One whole answer: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}

    async def reply(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, lines) + content)

    return reply


def lists(*models: str | Mapping[str, object]) -> Reply:
    """A list in the OpenAI dialect: ids, or whole objects."""
    data = [{"id": model, "object": "model"} if isinstance(model, str) else model for model in models]
    return says({"object": "list", "data": data})


def after(seconds: float, reply: Reply) -> Reply:
    """The same, but late."""

    async def late(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await reply(asked, writer)

    return late


def refuses_other_keys(header: str, value: str, refusal: Reply, reply: Reply) -> Reply:
    """`reply` for whoever sends this header, `refusal` for anybody else."""

    async def chosen(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (reply if asked.headers.get(header) == value else refusal)(asked, writer)

    return chosen


async def hangs(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the question and never says a word."""
    await asyncio.sleep(3600)


async def drips(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A true list, one byte every tenth of a second."""
    body = b'{"data":[' + b",".join(b'{"id":"dripped-%d"}' % number for number in range(100)) + b"]}"
    writer.write(_head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}))
    for byte in body:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def floods(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """200 MB of one valid list, in chunks, so that nothing says before how much is to come."""
    entries = b",".join(b'{"id":"flooded-%07d","object":"model"}' % number for number in range(2_000))
    writer.write(_head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
    writer.write(_chunk(b'{"data":[{"id":"flooded"}'))
    for _ in range(200_000_000 // len(entries)):
        writer.write(_chunk(b"," + entries))
        await writer.drain()
    writer.write(_chunk(b"]}") + _chunk(b""))


def pages_of_versions(workspace: str, versions: Mapping[str, Sequence[Mapping[str, object]]]) -> Reply:
    """Pangu's versions of each model, never more than two a page, whatever limit is asked for."""
    prefix, suffix = f"/v1/workspaces/{workspace}/models/", "/versions"

    async def reply(asked: Asked, writer: asyncio.StreamWriter) -> None:
        model = asked.path.removeprefix(prefix).removesuffix(suffix)
        if model not in versions:
            error = {"error_code": "PANGU.3254", "error_msg": "Model not found.", "solution_msg": "Check the id."}
            await says(error, 404)(asked, writer)
            return
        offset = int(asked.query.get("offset", "0"))
        page = versions[model][offset : offset + min(2, int(asked.query.get("limit", "10")))]
        await says({"total": len(versions[model]), "versions": page})(asked, writer)

    return reply


def version(version_id: str, name: str) -> dict[str, object]:
    """A version with every field that Pangu documents."""
    return {
        "id": version_id,
        "name": name,
        "cap_white_list": ["cap"],
        "description": f"{name} 的说明",
        "config": {"llm_model_config": {"base_model_type": "N2-base", "model_path": f"obs://bucket/{version_id}"}},
        "create_time": "2024-12-20T08:00:00+08:00",
        "create_user": {"domain_name": "account", "domain_id": "d-1", "user_name": "person", "user_id": "u-1"},
    }


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

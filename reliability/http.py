"""HTTP as bytes: requests that no library would send, and responses as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HOST = {"Host": "127.0.0.1"}


def head(method: str, path: str, key: str, headers: Mapping[str, str] | None = None) -> bytes:
    fields = {**_HOST, "Authorization": f"Bearer {key}", **(headers or {})}
    return "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]).encode()


def request(
    method: str, path: str, key: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    length = {} if body is None else {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    return head(method, path, key, {**length, **(headers or {})}) + (body or b"")


def call(model: str, key: str, **more: Any) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}).encode()
    return request("POST", "/v1/chat/completions", key, body=body)


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    head: bytes
    body: bytes

    @property
    def closes(self) -> bool:
        return b"\r\nconnection: close" in self.head.lower()

    @property
    def whole(self) -> bytes:
        return self.head + self.body

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Reply:
        """Raises EOFError and OSError."""
        raw = await reader.readuntil(b"\r\n\r\n")
        lower = raw.lower()
        body = b""
        if b"\r\ntransfer-encoding: chunked" in lower:
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        elif b"\r\ncontent-length: " in lower:
            body = await reader.readexactly(int(lower.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]))
        return cls(int(raw[9:12]), raw, body)

"""Load without wrk: keep-alive connections that ask one after the other. Says what it saw, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness import percentile


async def main(
    url: str, connections: int, seconds: float, headers: Sequence[str], keys: Sequence[str], body: bytes
) -> dict[str, Any]:
    """Without a body it is a GET, with one a POST."""
    parts = urlsplit(url)
    lines = [f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join(lines).encode()
    requests = cycle(
        [b"%b\r\nAuthorization: Bearer %b\r\n\r\n%b" % (head, key.encode(), body) for key in keys]
        or [b"%b\r\n\r\n%b" % (head, body)]
    )
    took: list[float] = []
    began = time.perf_counter()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (asked := time.perf_counter()) - began < seconds:
            writer.write(next(requests))
            await _answer(reader)
            took.append((time.perf_counter() - asked) * 1000)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return {
        "requests": len(took),
        "seconds": time.perf_counter() - began,
        "p50": percentile(took, 50),
        "p99": percentile(took, 99),
    }


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if status not in (200, 304):
        raise SystemExit(f"answered with {status}")
    if status == 200 and b"\r\ntransfer-encoding: chunked\r\n" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    elif status == 200:
        _, _, rest = head.partition(b"\r\ncontent-length:")
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    spec["keys"] = Path(spec["keys"]).read_text().split() if spec["keys"] else []
    spec["body"] = Path(spec["body"]).read_bytes() if spec["body"] else b""
    print(json.dumps(asyncio.run(main(**spec))))

"""A load generator without wrk: keep-alive connections with sequential requests. Prints a JSON object."""

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
    """Send GET requests without a body, POST requests with one. Returns the statistics."""
    parts = urlsplit(url)
    lines = [f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join(lines).encode()
    requests = cycle(
        [b"%b\r\nAuthorization: Bearer %b\r\n\r\n%b" % (head, _key_lines(key), body) for key in keys]
        or [b"%b\r\n\r\n%b" % (head, body)]
    )
    times: list[float] = []
    start = time.perf_counter()

    async def request() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (sent_at := time.perf_counter()) - start < seconds:
            writer.write(next(requests))
            await _read_response(reader)
            times.append((time.perf_counter() - sent_at) * 1000)
        writer.close()

    await asyncio.gather(*(request() for _ in range(connections)))
    return {
        "requests": len(times),
        "seconds": time.perf_counter() - start,
        "p50": percentile(times, 50),
        "p99": percentile(times, 99),
    }


def _key_lines(line: str) -> bytes:
    """A line of a file with keys: an API key, or a key and the name and value of a further header."""
    key, *header = line.split(" ", 2)
    return "\r\n".join((key, ": ".join(header)) if header else (key,)).encode()


async def _read_response(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if status not in (200, 304):
        raise SystemExit(f"unexpected status {status}")
    if status == 200 and b"\r\ntransfer-encoding: chunked\r\n" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    elif status == 200:
        _, _, rest = head.partition(b"\r\ncontent-length:")
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    spec["keys"] = Path(spec["keys"]).read_text().splitlines() if spec["keys"] else []
    spec["body"] = Path(spec["body"]).read_bytes() if spec["body"] else b""
    print(json.dumps(asyncio.run(main(**spec))))

"""Long and hostile request bodies: how long each is read, how long it stops the event loop, and its memory.

Each body is received, decompressed and read as by the server, in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

from benchmarks.harness import ROOT, begin, mebibytes, python, table, verdict

SIZE = 32 * 1024**2 - 1024
"""Bytes of a body: almost as many as `server.max_request` allows."""
MAX_STOP = 20.0
"""Milliseconds."""
MAX_MEMORY = 2.0
"""Times the size of the body."""
_PART = 64 * 1024  # bytes that arrive at once
_BOUNDARY = b"multipart/form-data; boundary=boundary"
_FIELD = b'--boundary\r\nContent-Disposition: form-data; name="%b"\r\n\r\nm\r\n'
_FORM_END = b"--boundary--\r\n"


class Shape(NamedTuple):
    """A body: a start, a part that is repeated, and an end."""

    start: bytes
    repeated: bytes
    end: bytes
    times: int = 0
    """How often the part is repeated; 0: up to `SIZE`."""
    content_type: bytes = b"application/json"
    coding: str = ""


def _json(repeated: bytes, end: bytes = b"", before: bytes = b"", count: int = 0) -> Shape:
    return Shape(b'{"model":"m",' + before, repeated, end + b"}", count)


_MIB = 1024**2
SHAPES: dict[str, Shape] = {
    "text": _json(b"hello world ", b'"', b'"input":"'),
    "base64 image": _json(
        b"QUJD", b'"}}]}]',
        b'"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    ),
    "text of escapes": _json(b"\\n", b'"', b'"input":"'),
    "text of escaped quotes": _json(b'\\"', b'"', b'"input":"'),
    "text of escaped letters": _json(b"\\u0041", b'"', b'"input":"'),
    "text of lone surrogates": _json(b"\\ud800", b'"', b'"input":"'),
    "text of backslashes": _json(b"\\\\", b'"', b'"input":"'),
    "Chinese text": _json("你好".encode(), b'"', b'"input":"'),
    "deep objects": _json(b'{"a":', before=b'"x":'),
    "deep tools": _json(b'{"model":"m","a":[', before=b'"tools":['),
    "deep tools around a text": _json(
        b"a" * 1024, b'"' + b"}" * 60 + b"]", b'"tools":[{"type":"x",' + b'"a":{' * 59 + b'"model":"n","t":"'
    ),
    "deep arrays around a file": _json(b"[", b'{"file_id":"x"}', b'"input":'),
    "deep arrays beside a file": _json(b"[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]],", b'{"file_id":"x"}]', b'"input":['),
    "messages": _json(b'{"role":"user","content":"hello"},', b"0]", b'"messages":[', 900_000),
    "messages with parts": _json(
        b'{"role":"user","content":[{"type":"text","text":"hello"}]},', b"0]", b'"messages":[', 500_000
    ),
    "messages with files": _json(b'{"content":[{"file_id":"x"}]},', b"0]", b'"messages":[', 1_000_000),
    "tools": _json(b'{"type":"x"},', b'{"model":"m"}]', b'"tools":[', 1_000_000),
    "tools with models": _json(b'{"type":"x","model":"m"},', b"0]", b'"tools":[', 1_000_000),
    "duplicate names": _json(b'"x":1,', b'"y":1', count=1_000_000),
    "names in extra_body": _json(b'"x":1,', b'"y":1}', b'"extra_body":{', 1_000_000),
    "objects in extra_body": _json(b'"%b":{"x":1},' % b"k", b'"y":1}', b'"extra_body":{', 1_000_000),
    "models": _json(b'"m",', b'"m"]', b'"models":['),
    "numbers": _json(b"1024,", b"1]", b'"input":['),
    "digits": _json(b"9", before=b'"n":'),
    "blanks": _json(b" ", b'"x":1'),
    "blanks after a name": _json(b" ", b':1', b'"x"'),
    "empty arrays": _json(b"[],", b"0]", b'"x":['),
    "commas": _json(b",", before=b'"x":['),
    "escaped names": _json(b'"\\u006d":1,', b'"x":1}', b'"x":{'),
    "form": Shape(_FIELD % b"model", b"x", b"\r\n" + _FORM_END, 0, _BOUNDARY),
    "form with a file": Shape(
        (_FIELD % b"model") + b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
        b"\x00abc\r\n--b", b"\r\n" + _FORM_END, 0, _BOUNDARY,
    ),
    "form of 100,000 fields": Shape(b"", _FIELD % b"x", _FORM_END, 100_000, _BOUNDARY),
    "form with a header of 1 MB": Shape(
        b'--boundary\r\nContent-Disposition: form-data; name="model"\r\nX-A: ', b"a", b"\r\n\r\nm\r\n" + _FORM_END,
        1_000_000, _BOUNDARY,
    ),
    "form with blanks": Shape((_FIELD % b"model") + _FORM_END, b" ", b"", 0, _BOUNDARY),
    "URL-encoded form": Shape(b"model=m&", b"a=1&", b"", 0, b"application/x-www-form-urlencoded"),
    "gzip of text": _json(b"hello world ", b'"', b'"input":"')._replace(coding="gzip"),
    "gzip of deep tools": _json(b'{"model":"m","a":[', before=b'"tools":[')._replace(coding="gzip"),
    "zstd of text": _json(b"hello world ", b'"', b'"input":"')._replace(coding="zstd"),
}  # fmt: skip


class Cost(NamedTuple):
    """What a body has cost."""

    size: int
    seconds: float
    """Of CPU time."""
    stop: float
    """Milliseconds: the longest iteration of the event loop."""
    memory: float
    """Peak, with the body itself, in MiB."""
    outcome: str


def parts_of(shape: Shape) -> Iterator[bytes]:
    """Yield a body in parts, as they arrive."""
    if shape.coding:
        yield _compressed(b"".join(parts_of(shape._replace(coding=""))), shape.coding)
        return
    count = shape.times or (SIZE - len(shape.start) - len(shape.end)) // len(shape.repeated)
    each = max(1, _PART // len(shape.repeated))
    yield shape.start
    for at in range(0, count, each):
        yield shape.repeated * min(each, count - at)
    yield shape.end


def _compressed(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(body, 1)
    from backports import zstd

    return bytes(zstd.compress(body))


async def _read(shape: Shape, parts: Iterator[bytes]) -> tuple[int, str]:
    """Receive and read a body as `proxy.api.inference` does, with limits. Returns its size, and why it was rejected."""
    from proxy.calls import CALLS
    from proxy.errors import ApiError
    from proxy.inference.request.content_coding import decompress
    from proxy.inference.request.parsing import parse_body
    from proxy.inference.turns import Turns

    content = BytesIO()
    for part in parts:
        content.write(part)
        await asyncio.sleep(0)
    body, turns = content.getvalue(), Turns()
    del content
    body = await turns.run(decompress(body, shape.coding.encode(), SIZE + 1024))
    size = len(body)
    try:
        read = await turns.run(parse_body(body, {b"content-type": shape.content_type}, CALLS["/v1/responses"], "", ""))
        await turns.run(read.estimated_tokens())  # of callers whose tokens are limited
        await turns.run(read.search("an-id"))  # if it is in the response
    except ApiError as error:
        return size, error.message
    return size, f"model {read.model}, {len(read.references)} references"


async def _measured(shape: Shape, parts: Iterator[bytes]) -> tuple[int, str, float, float]:
    longest = 0.0
    is_over = False

    async def watch() -> None:
        nonlocal longest
        # Of this thread: another process on the same core stops the loop, too, but not because of the body.
        before = time.thread_time()
        while not is_over:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    began = time.thread_time()
    size, outcome = await _read(shape, parts)
    seconds = time.thread_time() - began
    is_over = True
    await watching
    return size, outcome, seconds, longest * 1000


def measure(name: str) -> Cost:
    """Measure one body in this process."""
    # Modules and patterns are loaded by the first call of a server.
    for warm_up in (_json(b"x", b'"', b'"input":"', 10), _json(b"1,", b'{"file_id":"x"}]', b'"input":[', 10)):
        asyncio.run(_measured(warm_up, parts_of(warm_up)))
    shape = SHAPES[name]
    parts = parts_of(shape)
    if shape.coding:
        parts = iter([*parts])
    gc.collect()
    gc.freeze()
    before = mebibytes_now()
    size, outcome, seconds, stop = asyncio.run(_measured(shape, parts))
    return Cost(size, seconds, stop, peak() - before, outcome)


def mebibytes_now() -> float:
    """The resident memory, from which the peak is counted."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return mebibytes("self", "VmRSS")


def peak() -> float:
    return mebibytes("self", "VmHWM")


def row(name: str, cost: Cost) -> Sequence[str]:
    memory = cost.memory * _MIB / max(cost.size, 1)
    is_met = cost.stop < MAX_STOP and (memory < MAX_MEMORY or cost.memory < 4)
    return [
        name,
        f"{cost.size / _MIB:.1f}",
        f"{cost.seconds * 1000:,.0f}",
        f"{cost.stop:.1f}",
        f"{memory:.2f}",
        verdict(is_met),
        cost.outcome[:70],
    ]


def main(arguments: Sequence[str], print_row: Callable[[str], None] = print) -> None:
    if arguments and arguments[0] in SHAPES:
        print_row(json.dumps(measure(arguments[0])))
        return
    begin("Long and hostile request bodies")
    rows = []
    for name in SHAPES:
        output = subprocess.run(  # noqa: S603  # our own command
            python("-m", "benchmarks.bodies", name), cwd=ROOT, check=True, capture_output=True
        ).stdout
        rows.append(row(name, Cost(*json.loads(output))))
    goal = f"met (< {MAX_STOP:g} ms, < {MAX_MEMORY:g})"
    print(table(["body", "MiB", "CPU ms", "longest stop ms", "peak memory / size", goal, "outcome"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

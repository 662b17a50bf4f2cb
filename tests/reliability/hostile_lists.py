"""Model lists of a hostile provider, and what fetching one costs: the longest step of the event loop, and memory.

`python -m tests.reliability.hostile_lists [NAME ...]` prints a table. Each list is as large as `max_body` allows.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.clock import SystemClock
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import config_of
from tests.providers.scripted import FakeProviders, replies
from tests.untraced import untraced

_SIZE = 16 * 1024 * 1024 - 1000


def _fill(unit: Callable[[int], str], before: str, after: str, most: int = 10**9, separator: str = ",") -> bytes:
    """Units, counted from 0, until the list is as large as possible or has the largest number of them."""
    parts: list[str] = []
    size = len(before) + len(after)
    while len(parts) < most and (size := size + len(part := unit(len(parts))) + 1) < _SIZE:
        parts.append(part)
    return (before + separator.join(parts) + after).encode("utf-8", "surrogatepass")


def _entries(unit: Callable[[int], str], most: int = 20_000) -> bytes:
    return _fill(unit, '{"data":[', "]}", most)


def _entry_with(fields: Callable[[int], str]) -> Callable[[int], str]:
    return lambda number: f'{{"id":"m{number}",{fields(number)}}}'


def _wide(count: int, prefix: str = "f") -> str:
    return ",".join(f'"{prefix}{i}":1' for i in range(count))


def _nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


_PLAIN = (
    '"object":"model","created":1700000000,"owned_by":"maker","context_length":8192,"description":"' + "y" * 600 + '"'
)

_PATHS = ",".join(['"/home/me/models"'] * 40)

LISTS: Mapping[str, Callable[[], bytes]] = {
    "a normal list of 20,000 models": lambda: _entries(_entry_with(lambda n: _PLAIN)),
    "entries of 60 KB, one text": lambda: _entries(_entry_with(lambda n: f'"x":"{"y" * 60_000}"')),
    "entries of 60 KB, 900 fields": lambda: _entries(_entry_with(lambda n: _wide(900) + f',"x":"{"y" * 50_000}"')),
    "entries of 60 KB, new names": lambda: _entries(_entry_with(lambda n: _wide(900, f"n{n}x"))),
    "entries of 20 new names": lambda: _entries(_entry_with(lambda n: _wide(20, f"n{n}x"))),
    "entries of 20 new groups": lambda: _entries(
        _entry_with(lambda n: ",".join(f'"capabilities{n}x{i}":{{"tools":true}}' for i in range(20)))
    ),
    "entries of 100 KB": lambda: _entries(_entry_with(lambda n: f'"x":"{"y" * 100_000}"')),
    "entries of 100 KB, wide": lambda: _entries(_entry_with(lambda n: _wide(8000))),
    "entries of 1 MB, wide": lambda: _entries(_entry_with(lambda n: _wide(90_000))),
    "entries of 5,000 values": lambda: _entries(_entry_with(lambda n: f'"x":[{",".join(["1"] * 5000)}]')),
    "entries of nested objects": lambda: _entries(_entry_with(lambda n: f'"x":[{",".join([_nested(20)] * 6)}]')),
    "entries with paths": lambda: _entries(_entry_with(lambda n: f'"x":[{_PATHS}]')),
    "entries with addresses": lambda: _entries(_entry_with(lambda n: f'"x":"{"http://10.0.0.1:80/x?a=b " * 30}"')),
    "entries with JSON in texts": lambda: _entries(
        _entry_with(lambda n: '"x":' + json.dumps(json.dumps([{"a": "/b"}] * 3000)))
    ),
    "entries with escapes": lambda: _entries(_entry_with(lambda n: '"x":"\\u002f\\n' + "y" * 700 + '"')),
    "entries that are texts": lambda: _entries(lambda n: f'"m{n}{"y" * 700}"'),
    "entries that are numbers": lambda: _entries(str, 10**9),
    "one entry of 16 MB": lambda: _entries(_entry_with(lambda n: f'"x":"{"y" * (_SIZE - 1000)}"'), 1),
    "one wide entry of 10 MB": lambda: _entries(_entry_with(lambda n: _wide(900_000)), 1),
    "one deep entry": lambda: _entries(_entry_with(lambda n: f'"x":{"[" * 450_000}{"]" * 450_000}'), 1),
    "duplicates with new fields": lambda: _entries(lambda n: f'{{"id":"m","{n}a":"{"y" * 350}","{n}b":"{"z" * 350}"}}'),
    "duplicates of 60 KB": lambda: _entries(lambda n: f'{{"id":"m","f{n}":"{"y" * 60_000}"}}'),
    "8 MB of `[],`": lambda: b'{"data":[' + b"[]," * 2_700_000 + b"[]]}",
    "300,000 `[]`": lambda: b'{"data":[' + b"[]," * 300_000 + b"[]]}",
    "300,000 `[]` beside": lambda: b'{"data":[{"id":"m"}],"x":[' + b"[]," * 300_000 + b"[]]}",
    "990,000 numbers beside an empty list": lambda: _fill(lambda n: "1234567890123", '{"data":[],"x":[', "]}", 990_000),
    "990,000 numbers beside a list": lambda: _fill(
        lambda n: "1234567890123", '{"data":[{"id":"m"}],"x":[', "]}", 990_000
    ),
    "900,000 fields": lambda: _fill(lambda n: f'"f{n}":1', '{"data":[{"id":"m"}],', "}", 900_000),
    "900,000 fields, no list": lambda: _fill(lambda n: f'"f{n}":1', "{", "}", 900_000),
    "100,000 errors": lambda: _fill(lambda n: f'"error{n}":"{"y" * 100}"', '{"data":[{"id":"m"}],', "}", 100_000),
    "200 statuses of 60 KB": lambda: _fill(
        lambda n: f'"s{n}_status":[{",".join(["{}"] * 1500)}]', '{"data":[{"id":"m"}],', "}", 200
    ),
    "240,000 objects, no list": lambda: _fill(lambda n: '{"a":{}}', '{"x":[', "]}", 240_000),
    "an object of 150,000 models": lambda: _fill(lambda n: f'"m{n}":{{"id":"m","b":[1]}}', '{"data":{', "}}", 150_000),
    "an object of 19,000 wide models": lambda: _fill(lambda n: f'"m{n}":{{{_wide(45)}}}', '{"data":{', "}}", 19_000),
    "a text of 16 MB": lambda: b'{"data":[],"x":"' + b"y" * _SIZE + b'"}',
    "a number of 16 MB": lambda: b'{"data":[{"id":"m","x":' + b"7" * (_SIZE - 100) + b"}]}",
    "a name of 16 MB": lambda: b'{"data":[{"id":"m"}],"' + b"y" * (_SIZE - 100) + b'":1}',
    "16 MB of blanks": lambda: b'{"data":[' + b" " * (_SIZE - 100) + b'{"id":"m"}]}',
    "16 MB of blanks around": lambda: b" " * _SIZE + b"[]",
    "16 MB, half of it blanks": lambda: (
        b'{"data":[{"id":"m"}],"x":[' + (b"1," + b" " * 2000) * 4100 + b'"%b"]}' % (b"y" * 8_500_000)
    ),
    "16 MB of HTML": lambda: b"<html>" + b"<p>text</p>" * (_SIZE // 11 - 10) + b"</html>",
    "16 MB of text": lambda: b"text " * (_SIZE // 5),
    "16 MB of binary data": lambda: bytes(range(256)) * (_SIZE // 256),
    "16 MB of an error": lambda: b'{"error":{"message":"' + b"y, " * (_SIZE // 3 - 20) + b'"}}',
    "depth 100,000": lambda: b"[" * 100_000 + b"]" * 100_000,
    "a number of 5,000 digits": lambda: b'{"data":[{"id":"m","x":' + b"9" * 5000 + b'},{"id":"n"}]}',
    "NaN": lambda: b'{"data":[{"id":"m","x":NaN}]}',
    "2 MB of NaN": lambda: b'{"data":[{"id":"m"}],"x":[' + b"NaN," * 500_000 + b"NaN]}",
    "2 MB of control characters": lambda: b'{"data":[{"id":"m","x":"' + b"\n" * 2_000_000 + b'"}]}',
    "duplicate names": lambda: b'{"data":[{"id":"m","x":1,"x":2}],"data":[{"id":"n"}]}',
    "lone surrogates": lambda: b'{"data":[{"id":"m","x":"\\ud800"},{"id":"n\\ud800"},{"id":"o"}]}',
    "a BOM": lambda: b'\xef\xbb\xbf{"data":[{"id":"m"}]}',
    "bad UTF-8": lambda: b'{"data":[{"id":"m"},{"id":"\xff\xfe"}]}',
}


@dataclass(frozen=True)
class Cost:
    """What a fetch cost. `step`: CPU seconds of the longest step of the event loop; `total`: of all steps."""

    outcome: str
    step: float
    total: float


async def fetch_measured(url: str, **settings: object) -> Cost:
    """Fetch a list and measure the steps of the event loop, in CPU time: other processes do not count."""
    text = {"name": "a", "base_url": f"{url}/v1", "timeout": "120s", **settings}
    (provider,) = config_of(json.dumps({"providers": [text]})).providers
    fetch = ListFetcher([provider], SystemClock())
    loop = asyncio.get_running_loop()
    longest, last, running = 0.0, time.thread_time(), True

    def tick() -> None:
        nonlocal longest, last
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        if running:
            loop.call_soon(tick)

    loop.call_soon(tick)
    await asyncio.sleep(0.01)
    longest, began = 0.0, last
    try:
        result = await fetch(provider, 0)
        dropped = ", ".join(f"{count} {reason}" for reason, count in result.dropped.items())
        shortened = f", {result.shortened} shortened" if result.shortened else ""
        outcome = f"{len(result.entries)} models{shortened}" + (f", dropped: {dropped}" if dropped else "")
    except UpstreamError as error:
        outcome = str(error)
    running = False
    await asyncio.sleep(0)
    return Cost(outcome, longest, last - began)


def measure(body: bytes, **settings: object) -> Cost:
    gc.freeze()  # as the server does
    with untraced(), FakeProviders() as providers:
        return asyncio.run(fetch_measured(providers.open(replies(body)).url, **settings))


def main(names: list[str]) -> None:
    measure(b"[]")  # imports modules
    for name in names or LISTS:
        body = LISTS[name]()
        cost = measure(body)
        print(
            f"{name:40} {len(body) / 1e6:5.1f} MB  {cost.step * 1e3:8.1f} ms  {cost.total:6.2f} s  {cost.outcome[:90]}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])

"""9. The CPU time of deciding on requests with wrong keys, compared with a list in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.harness import SERVER_CORE, begin, pin, table, verdict
from proxy.api.request import RequestHead
from proxy.asgi import Header
from proxy.key_headers import KEY_HEADERS
from proxy.server.app import Proxy
from proxy.server.gate import decide
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

KEY = "sk-fake-of-the-benchmark"
TEXT = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/a/v1"}}]
keys: [{{name: k, hash: "{digest(KEY)}", models: ["*"]}}]
"""
USUAL: Sequence[Header] = ((b"host", b"localhost"), (b"accept-encoding", b"gzip"), (b"user-agent", b"benchmark"))
ROUNDS = 9
REQUESTS = 500
GOAL = 2.0  # of the list alone; reading a request and writing its response cost several times as much


def main() -> None:
    pin(SERVER_CORE)
    begin("Requests with wrong keys")
    rows = asyncio.run(_rows())
    print(table(["request", "CPU us", "CPU / list", "goal", "met"], rows))


async def _rows() -> list[list[str]]:
    fetch = FakeFetch()
    fetch.lists("a", *(f"m{number}" for number in range(60)))
    async with started(config_of(TEXT), fetch, FakeClock()) as app:
        await reply_to(app, "/v1/models", {"authorization": f"Bearer {KEY}", "accept-encoding": "gzip"})
        requests = _requests()
        rounds = [{name: _cpu_us(app, request) for name, request in requests.items()} for _ in range(ROUNDS)]
    cost = {name: median(each[name] for each in rounds) for name in requests}
    share = {name: median(each[name] / each["a list in memory"] for each in rounds) for name in requests}
    return [
        [name, f"{cost[name]:.1f}", f"{share[name]:.2f}", f"<= {GOAL}", verdict(share[name] <= GOAL)]
        for name in requests
    ]


def _requests() -> Mapping[str, dict[str, Any]]:
    """The ASGI scopes to measure."""
    wrong = [(b"authorization", b"Bearer wrong-key-0000000000")]
    return {
        "a list in memory": _scope([(b"authorization", b"Bearer " + KEY.encode())]),
        "no key": _scope([]),
        "a wrong key": _scope(wrong),
        "a wrong key of 4 KiB": _scope([(b"authorization", b"Bearer " + b"x" * 4096)]),
        "a wrong key of 30 KiB": _scope([(b"authorization", b"Bearer " + b"x" * 30_000)]),
        "a wrong key of 2 KB in each of 15 headers": _scope([(name, b"x" * 2000) for name in KEY_HEADERS]),
        "a query of 8 KiB": _scope([], query=b"a=b&" * 2048),
        "a path of 8 KiB": _scope(wrong, path=b"/openai/deployments/" + b"a/" * 4096),
    }


def _scope(headers: Sequence[Header], query: bytes = b"", path: bytes = b"/v1/models") -> dict[str, Any]:
    lines = [*USUAL, *headers]
    return {"method": "GET", "path": path.decode(), "raw_path": path, "query_string": query, "headers": lines}


def _cpu_us(app: Proxy, request: dict[str, Any]) -> float:
    """Microseconds of CPU per decision."""
    began = time.process_time()
    for _ in range(REQUESTS):
        decide(app.deployment, RequestHead(request))
    return (time.process_time() - began) / REQUESTS * 1e6


if __name__ == "__main__":
    main()

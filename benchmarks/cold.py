"""4. A cold start with many slow providers, compared with the same requests on plain httpx."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import httpx
import uvloop

from benchmarks.harness import ROUNDS, SERVER_CORE, begin, pin, table, verdict
from benchmarks.refresh import as_when_serving
from benchmarks.servers import config_text, providers, upstreams
from proxy.config import parse
from proxy.server.app import Proxy
from tests.providers.bulk_lists import base_url

PROVIDERS, MODELS, DELAY = 50, 200, 0.1
GOAL = 300.0


async def ours(text: str) -> float:
    """Milliseconds from the first request until all lists are available, without the startup before it."""
    app = Proxy(parse(text))
    began = time.perf_counter()
    async with app.lifespan():
        await app.deployment.store.wait_until_warmed_up()
        seconds = time.perf_counter() - began
        assert all(report.state == "ok" for report in app.deployment.store.reports())
    return seconds * 1000


async def plain(port: int) -> float:
    """The same requests with one httpx client that only reads the bodies."""
    began = time.perf_counter()
    async with httpx.AsyncClient(trust_env=False, verify=False, limits=httpx.Limits(max_connections=None)) as client:  # noqa: S501
        urls = [base_url(port, n) + "/models" for n in range(PROVIDERS)]
        responses = await asyncio.gather(*(client.get(url, timeout=10) for url in urls))
    assert all(response.status_code == 200 for response in responses)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    begin(f"Cold start with {PROVIDERS} providers that respond after {DELAY * 1000:.0f} ms")
    pin(SERVER_CORE)
    with upstreams(MODELS, DELAY) as port, as_when_serving():
        text = config_text(providers(port, PROVIDERS))
        rounds = [(uvloop.run(ours(text)), uvloop.run(plain(port))) for _ in range(ROUNDS + 1)][1:]
    result, reference = (median(figures) for figures in zip(*rounds, strict=True))
    rows = [
        [f"all {PROVIDERS} lists available", f"{result:.0f}", f"< {GOAL:.0f}", verdict(result < GOAL)],
        ["one httpx client, bodies only", f"{reference:.0f}", "-", "-"],
        ["ideal", f"{DELAY * 1000:.0f}", "-", "-"],
    ]
    print(table(["", "ms", "goal", "met"], rows))


if __name__ == "__main__":
    main()

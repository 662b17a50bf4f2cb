"""13. A scrape of `/metrics` with 10,000 API keys: its CPU time, pauses of the event loop, and the number of series."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from statistics import median

import uvloop

from benchmarks.harness import SERVER_CORE, begin, pin, table, verdict
from benchmarks.refresh import Pauses, as_when_serving
from proxy.config import Config
from proxy.server.app import Proxy
from proxy.telemetry.counters import Counters
from proxy.telemetry.events import CallOutcome, CallRecord, grouped
from proxy.telemetry.tokens import Tokens
from tests.fakes import FakeFetch, config_of, digest, reply_to

KEYS, PROVIDERS, MODELS = 10_000, 20, 500
ROUNDS = 20
SERIES_GOAL, CPU_GOAL, PAUSE_GOAL = 20_000, 50.0, 20.0
ADMIN = "sk-fake-admin-of-the-benchmark"
OUTCOMES: tuple[CallOutcome, ...] = ("ok", "ok", "ok", "rejected", "failed")
ROUTES = ("/v1/models", "/v1/models/{id}", "/v1/chat/completions", "/v1/embeddings")
FORMATS: Mapping[str, Mapping[str, str]] = {
    "text": {},
    "text, gzip": {"accept-encoding": "gzip"},
    "OpenMetrics": {"accept": "application/openmetrics-text"},
    "OpenMetrics, gzip": {"accept": "application/openmetrics-text", "accept-encoding": "gzip"},
}


def config() -> Config:
    providers = [f"  - {{name: p{n}, base_url: 'http://127.0.0.1:9/{n}/v1'}}" for n in range(PROVIDERS)]
    keys = [f"  - {{name: key-{n}, hash: '{digest(f'sk-fake-{n}')}', models: ['*']}}" for n in range(KEYS)]
    keys.append(f"  - {{name: admin, hash: '{digest(ADMIN)}', models: [], admin: true}}")
    return config_of("\n".join(["providers:", *providers, "keys:", *keys]))


def fill(counters: Counters) -> None:
    """Count requests and calls of every key, with several providers, models and outcomes."""
    for number in range(8 * KEYS):
        turn = number // KEYS
        key, provider = f"key-{number % KEYS}", f"p{(number + turn) % PROVIDERS}"
        route, status = ROUTES[turn % len(ROUTES)], 200 if turn < len(ROUTES) else 404
        counters.requests_ended([((route, "GET", status, key), 0.01)])
        call = CallRecord("1", "POST", ROUTES[2], "openai", key, "", b"", 0.0, f"m-{number % MODELS}")
        call.provider, call.outcome = provider, OUTCOMES[turn % len(OUTCOMES)]
        call.input_tokens, call.output_tokens, call.first_byte = 100, 200, 0.5
        counters.attempt_ended(call, provider, "ok", 0.5, Tokens(100, 200))
        counters.queue_waited(provider, 0.1)
        counters.calls_ended(grouped([call]))


async def measure() -> list[list[str]]:
    fetch = FakeFetch()
    for provider in range(PROVIDERS):
        fetch.lists(f"p{provider}", *(f"m-{number}" for number in range(MODELS)))
    app = Proxy(config(), fetch=fetch)
    async with app.lifespan():
        await app.deployment.store.wait_until_warmed_up()
        fill(app.metrics.counters)
        with as_when_serving():
            return [await _row(app, name, headers) for name, headers in FORMATS.items()]


async def _row(app: Proxy, name: str, headers: Mapping[str, str]) -> list[str]:
    headers = {**headers, "authorization": f"Bearer {ADMIN}"}
    plain = await reply_to(app, "/metrics", {**headers, "accept-encoding": "identity"})
    series = sum(not line.startswith(b"#") for line in plain.body.splitlines())
    size = len((await reply_to(app, "/metrics", headers)).body)
    cpu = median([await _cpu(app, headers) for _ in range(ROUNDS)])
    pause = median([await _pause(app, headers) for _ in range(ROUNDS)])
    return [
        name, f"{series:,}", f"{size / 1024:,.0f}", f"{cpu:.1f}", f"{pause:.1f}",
        verdict(series < SERIES_GOAL and cpu < CPU_GOAL and pause < PAUSE_GOAL),
    ]  # fmt: skip


async def _cpu(app: Proxy, headers: Mapping[str, str]) -> float:
    """Milliseconds of CPU."""
    before = time.process_time()
    await reply_to(app, "/metrics", headers)
    return (time.process_time() - before) * 1000


async def _pause(app: Proxy, headers: Mapping[str, str]) -> float:
    """The longest pause of the event loop in milliseconds."""
    pauses = Pauses()
    watching = asyncio.create_task(pauses.watch())
    await asyncio.sleep(0)
    await reply_to(app, "/metrics", headers)
    watching.cancel()
    return pauses.longest * 1000


def main() -> None:
    begin(f"GET /metrics with {KEYS:,} keys, {PROVIDERS} providers x {MODELS} models")
    pin(SERVER_CORE)
    head = ["format", "series", "KiB", "CPU ms", "longest pause ms", "met"]
    print(table(head, uvloop.run(measure())))
    print(f"\ngoals: < {SERIES_GOAL:,} series, CPU < {CPU_GOAL:g} ms, pause < {PAUSE_GOAL:g} ms")


if __name__ == "__main__":
    main()

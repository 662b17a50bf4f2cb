"""A proxy in which something has happened, and what its status page shows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.api.workers import Workers
from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from proxy.telemetry.events import grouped
from tests.api.status.html import Element, parsed
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, digest, reply_to, started
from tests.telemetry.calls import record

ADMIN, PLAIN = "sk-canary-of-an-operator", "sk-canary-of-a-client"
ADMINS = {"authorization": f"Bearer {ADMIN}"}
CONFIG = f"""
cache: {{ttl: 100s, max_stale: 1000s, initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1", api_key: sk-canary-of-the-provider, max_in_flight: 4}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1", max_in_flight: 4}}
  - {{name: away, base_url: "http://127.0.0.1/c/v1", api_key: "${{ABSENT_KEY}}", optional: true}}
groups:
  staff: {{models: ["*", "!secret-*"]}}
keys:
  - {{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}
  - {{name: plain, hash: '{digest(PLAIN)}', group: staff}}
"""
CALL = {"key": "plain", "model": "m", "provider": "a", "first_byte": 0.4, "input_tokens": 12, "output_tokens": 30}


@asynccontextmanager
async def failing(fetch: FakeFetch, clock: FakeClock, workers: Workers | None = None) -> AsyncIterator[Proxy]:
    """Provider `b` lists `m` and `n`, then fails. Provider `a` lists `m` and `secret-1`, and answers two calls."""
    fetch.lists("a", "m", "secret-1")
    fetch.lists("b", "m", "n")
    async with started(config_of(CONFIG), fetch, clock, workers) as app:
        fetch.fails("b", UpstreamError("status", "503 Service Unavailable", retryable=True))
        await clock.advance(130)
        call(app, model="n", provider="b", first_byte=None, input_tokens=0, output_tokens=0, outcome="failed")
        call(app)
        call(app, first_byte=None, input_tokens=0, output_tokens=0, outcome="rejected")
        yield app


def call(app: Proxy, **fields: Any) -> None:
    """A call has ended."""
    ended = [record(**{**CALL, **fields})]
    app.usage.usage.calls_ended(grouped(ended))
    app.usage.recent.calls_ended(grouped(ended))


async def page_of(app: Proxy, path: str) -> Reply:
    reply = await reply_to(app, path, {**ADMINS, "accept": "text/html"})
    assert reply.status == 200, reply.body
    assert b"canary" not in reply.body
    return reply


async def overview_of(app: Proxy, query: str = "") -> Element:
    return parsed((await page_of(app, f"/status{query}")).body)

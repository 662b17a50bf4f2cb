"""The log contains no secret at its most detailed level, whatever fails."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from proxy.clock import SystemClock
from proxy.config import parse
from proxy.server.app import Proxy
from proxy.server.log import Log
from tests.fakes import digest
from tests.providers.calls import completion
from tests.providers.lists import lists
from tests.providers.scripted import Exchange, fake_provider, replies

pytestmark = pytest.mark.anyio

OURS = "sk-canary-provider/+=1"
THEIRS = "sk-canary-client/+=2"
PROXY_PASSWORD = "canary-egress"


class Logged:
    """The log, and its lines after `read`."""

    def __init__(self) -> None:
        self._written = b""
        self.log = Log(self._write, SystemClock.time)

    def _write(self, data: bytes) -> None:
        self._written += data

    def read(self) -> str:
        self.log.close()
        return self._written.decode()


@pytest.fixture
def logged() -> Iterator[Logged]:
    """All lines of the log, of all loggers, at the level DEBUG."""
    logged, root = Logged(), logging.getLogger()
    level = root.level
    root.addHandler(logged.log.handler)
    root.setLevel(logging.DEBUG)
    logged.log.access.access = "all"
    yield logged
    root.setLevel(level)
    root.removeHandler(logged.log.handler)


def forms(secret: str) -> list[str]:
    """How a secret may be written: raw, URL-encoded, in Base64, and in parts."""
    encoded = base64.b64encode(secret.encode()).decode()
    return [secret, quote(secret, safe=""), encoded, secret[:14], secret[-8:]]


async def respond(exchange: Exchange) -> None:
    if exchange.request.method == "GET":
        await lists("m", "broken")(exchange)
    elif b"broken" in exchange.request.body:
        await exchange.reply(f'{{"error": "{OURS} is no key"}}'.encode(), 500)
    else:
        await replies(completion("m"))(exchange)


async def test_lists_calls_and_errors_write_no_credential(logged: Logged) -> None:
    async with fake_provider(respond) as provider:
        text = f"""
providers:
  - {{name: a, base_url: "{provider.url}/v1", api_key: "{OURS}", headers: {{X-Extra: "{OURS}"}}, retries: 0}}
  - {{name: down, base_url: "http://127.0.0.1:9/v1", api_key: "{OURS}", retries: 0,
      proxy: "http://user:{PROXY_PASSWORD}@127.0.0.1:9"}}
keys: [{{name: k, hash: "{digest(THEIRS)}", models: ["*"]}}]
"""
        app = Proxy(parse(text))
        app.telemetry.add(logged.log.access)
        asyncio.get_running_loop().set_debug(True)
        key = {"authorization": f"Bearer {THEIRS}"}
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            listed = await client.get(f"/v1/models?api-version={THEIRS}", headers=key)
            statuses = [
                (
                    await client.post("/v1/chat/completions", json={"model": model, "messages": []}, headers=headers)
                ).status_code
                for model, headers in (("m", key), ("broken", key), ("m", {"authorization": f"Bearer {THEIRS}x"}))
            ]
        asyncio.get_running_loop().set_debug(False)

    log = logged.read()
    assert (listed.status_code, statuses) == (200, [200, 502, 401])
    assert {"debug", "call", "request"} <= set(re.findall(r'"(?:level|event)":"(\w+)"', log))
    assert [form for secret in (OURS, THEIRS, PROXY_PASSWORD) for form in forms(secret) if form in log] == []

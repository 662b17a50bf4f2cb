"""Names of providers that a name server does not answer for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx

from tests.processes import CONSOLE, Process, threads, until
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, FakeProviders

HANGING = 10
KEY = "sk-canary-of-a-client"


async def lists_and_calls(exchange: Exchange) -> None:
    content = b'{"data":[{"id":"m"}]}'
    if exchange.request.method == "POST":
        content = httpx.Response(200, json=completion("m")).content
    await exchange.reply(content)


def test_ten_hanging_names_delay_neither_lists_nor_calls_of_another_provider_nor_the_shutdown(tmp_path: Path) -> None:
    with FakeProviders() as upstreams:
        server = upstreams.open(lists_and_calls)
        port = server.port
        hanging = [(f"h{number}", f"h{number}.hanging.test") for number in range(HANGING)]
        # Many short attempts: each one once occupied another thread of a pool.
        settings = "timeout: 600ms, initial_wait: 100ms, ttl: 1s, retries: 2"
        rows = [f"  - {{name: {name}, base_url: 'http://{host}:{port}/v1', {settings}}}" for name, host in hanging]
        rows.append(f"  - {{name: good, base_url: 'http://good.test:{port}/v1', ttl: 4s, timeout: 20s}}")
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        config = tmp_path / "config.yaml"
        config.write_text(
            "\n".join([f"keys: [{{name: a, hash: 'sha256:{digest}', models: ['*']}}]", "providers:", *rows])
        )
        command = "-m", "tests.reliability.hanging_names", "serve", "--config", str(config), "--port", "0", *CONSOLE
        with Process(*command) as process:
            authorization = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=process.url, headers=authorization, trust_env=False, timeout=30) as client:
                until(lambda: len(server.requests) >= 4)
                listed = client.get("/v1/models")
                called = client.post("/v1/chat/completions", json={"model": "m", "messages": []})
            assert [model["id"] for model in listed.json()["data"]] == ["m"]
            assert "x-models-stale" not in listed.headers
            assert called.status_code == 200
            assert threads(process.pid) < HANGING + 10, "one lookup for each host at a time"
            assert process.stop() == 0

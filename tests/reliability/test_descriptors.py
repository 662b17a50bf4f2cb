"""A process that can open few files: calls use all descriptors, and afterwards everything works as before."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.fakes import digest
from tests.processes import CONSOLE, Process, descriptors, until
from tests.providers.calls import DONE, chunk_event
from tests.providers.scripted import Exchange, FakeProviders

pytestmark = pytest.mark.usefixtures("own_protocol")

LIMIT = 256
CALLS = 200
"""Each needs two descriptors, so they do not all fit."""
LIMITED = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
runpy.run_module("proxy", run_name="__main__")
"""
"""The command, as after `ulimit -n 256`."""
KEY = "sk-fake-of-a-client"


def _client(url: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, limits=limits, verify=False)  # noqa: S501  # no TLS


def _call(client: httpx.Client) -> int | str:
    """Send a call, and read its stream to the end. Returns its status, or the name of the exception."""
    try:
        return client.post("/v1/chat/completions", json={"model": "m", "messages": [], "stream": True}).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


def test_server_recovers_after_calls_have_used_all_descriptors(tmp_path: Path) -> None:
    goes_on = threading.Event()

    async def provider(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "a"))
        while not goes_on.is_set():  # noqa: ASYNC110  # an event of another thread
            await asyncio.sleep(0.01)
        await exchange.chunk(DONE)
        await exchange.end()

    config = tmp_path / "config.yaml"
    with FakeProviders() as upstreams:
        lab = upstreams.open(provider)
        config.write_text(
            f"providers: [{{name: lab, base_url: '{lab.url}/v1', models: [m]}}]\n"
            f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*'], admin: true}}]\n",
            encoding="utf-8",
        )
        command = ("-c", LIMITED, "serve", "--config", str(config), "--port", "0", *CONSOLE)
        with Process(*command) as process, ThreadPoolExecutor(CALLS) as threads, _client(process.url) as client:
            goes_on.set()
            assert _call(client) == 200
            idle = descriptors(process.pid)
            goes_on.clear()
            calls = [threads.submit(_call, client) for _ in range(CALLS)]
            try:
                until(lambda: descriptors(process.pid) > LIMIT * 3 // 4)
            finally:
                goes_on.set()
            results = [call.result(30) for call in calls]

            # What did not fit was rejected, and neither a provider nor the process is worse off.
            assert results.count(200) > LIMIT // 4
            assert set(results) <= {200, 502, 503, "ConnectError", "ReadError", "RemoteProtocolError"}
            assert _call(client) == 200
            assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["m"]
            (state,) = client.get("/health").json()["providers"]
            assert (state["calls"], state["in_flight"], state["open_circuits"]) == ("ok", 0, [])
            process.send(signal.SIGHUP)
            process.line(process.err, "SIGHUP: configuration unchanged")
            until(lambda: descriptors(process.pid) <= idle + 5)
            assert process.stop() == 0
        assert not [line for line in process.err if "internal error" in line or "Traceback" in line]

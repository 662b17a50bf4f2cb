"""Usage, changes and webhooks of replicas as real processes over a real Valkey server: those of one deployment."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import digest
from tests.processes import Process, serving, until
from tests.providers.scripted import Exchange, FakeProviders
from tests.valkey_servers import ValkeyServer

KEY = "mp-made-up-admin-key"
USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
COMPLETION = {"id": "1", "object": "chat.completion", "choices": [], "usage": USAGE}


class Deployment:
    """Two replicas, of which the first one has two workers."""

    def __init__(self, stack: ExitStack, folder: Path, server: ValkeyServer) -> None:
        self.server = server
        self.models = ["m"]
        upstreams = stack.enter_context(FakeProviders())
        self._provider = upstreams.open(self._reply)
        self.replicas = [self._start(stack, folder, workers) for workers in (2, 1)]

    def _start(self, stack: ExitStack, folder: Path, workers: int) -> Process:
        config = {
            "logging": {"access": "off"},
            "server": {"workers": workers, "drain_delay": "100ms"},
            "store": {"valkey": self.server.url, "namespace": "test", "lease": "2s"},
            "keys": [{"name": "ops", "hash": digest(KEY), "models": ["*"], "admin": True}],
            "providers": [{"name": "a", "base_url": f"{self._provider.url}/v1", "ttl": "2s"}],
        }
        return stack.enter_context(serving(folder / f"{workers}.yaml", json.dumps(config)))

    async def _reply(self, exchange: Exchange) -> None:
        models = {"object": "list", "data": [{"id": model, "object": "model"} for model in self.models]}
        await exchange.reply(json.dumps(models if exchange.request.method == "GET" else COMPLETION).encode())

    def call(self, replica: int, times: int) -> None:
        for _ in range(times):
            send(self.replicas[replica], "POST", "/v1/chat/completions", {"model": "m", "messages": []})

    def usage(self, replica: int) -> tuple[int, bool]:
        """The calls of all replicas, and whether they are complete."""
        usage = send(self.replicas[replica], "GET", "/admin/usage?by=key")
        return usage["total"]["requests"], usage["complete"]


def send(process: Process, method: str, path: str, body: object = None) -> Any:
    """The response on a new connection, so that any of the workers sends it."""
    with httpx.Client(trust_env=False, timeout=10, headers={"Authorization": f"Bearer {KEY}"}) as client:
        response = client.request(method, process.url + path, json=body)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(stack, tmp_path, stack.enter_context(ValkeyServer()))


def test_usage_is_that_of_all_replicas(deployment: Deployment) -> None:
    deployment.call(0, 10)
    assert {deployment.usage(0) for _ in range(8)} == {(10, True)}  # whichever worker responds
    deployment.call(1, 5)
    until(lambda: deployment.usage(0) == deployment.usage(1) == (15, True))

    deployment.server.stop()
    try:
        deployment.call(1, 1)
        until(lambda: deployment.usage(1) == (16, False))
    finally:
        deployment.server.resume()
    until(lambda: deployment.usage(0) == deployment.usage(1) == (16, True))
    deployment.replicas[0].send(signal.SIGKILL)
    assert deployment.usage(1) == (16, True)

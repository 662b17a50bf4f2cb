"""Usage, changes and webhooks of replicas as real processes over a real Valkey server: those of one deployment."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import digest
from tests.processes import Process, serving, until
from tests.providers.scripted import Exchange, FakeProviders, replies
from tests.valkey_servers import ValkeyServer

KEY = "mp-made-up-admin-key"
SECRET = "whsec_" + base64.b64encode(b"fake-secret-of-a-webhook").decode()
USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
COMPLETION = {"id": "1", "object": "chat.completion", "choices": [], "usage": USAGE}


class Deployment:
    """Two replicas, of which the first one has two workers."""

    def __init__(self, stack: ExitStack, folder: Path, server: ValkeyServer) -> None:
        self.server = server
        self.models = ["m"]
        upstreams = stack.enter_context(FakeProviders())
        self._provider = upstreams.open(self._reply)
        self._receiver = upstreams.open(replies(b""))
        self.replicas = [self._start(stack, folder, workers) for workers in (2, 1)]

    def _start(self, stack: ExitStack, folder: Path, workers: int) -> Process:
        config = {
            "logging": {"access": "off"},
            "server": {"workers": workers, "drain_delay": "100ms"},
            "store": {"valkey": self.server.url, "namespace": "test", "lease": "2s"},
            "notify": [{"webhook": f"{self._receiver.url}/hook", "secret": SECRET, "events": ["model_added"]}],
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

    def changes(self, replica: int) -> list[tuple[str, str]]:
        """The models in the feed, with the ids of their notifications."""
        changes = send(self.replicas[replica], "GET", "/admin/changes")["changes"]
        return [(change["model"], change["webhook_id"]) for change in changes]

    def notified(self, model: str) -> list[str]:
        """The ids of the notifications of a model."""
        requests = [
            (json.loads(each.body)["data"]["model"], each.headers["webhook-id"]) for each in self._receiver.requests
        ]
        return [webhook_id for of, webhook_id in requests if of == model]


def send(process: Process, method: str, path: str, body: object = None) -> Any:
    """The response on a new connection, so that any of the workers sends it."""
    with httpx.Client(trust_env=False, timeout=10, headers={"Authorization": f"Bearer {KEY}"}) as client:
        response = client.request(method, process.url + path, json=body)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(stack, tmp_path_factory.mktemp("replicas"), stack.enter_context(ValkeyServer()))


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


def test_a_change_is_notified_once_and_without_the_store_by_each_process_with_the_same_id(
    deployment: Deployment,
) -> None:
    deployment.models = ["m", "n"]
    until(lambda: deployment.changes(0) == deployment.changes(1) != [])
    until(lambda: bool(deployment.notified("n")))
    deployment.server.stop()
    try:
        deployment.models = ["m", "n", "o"]
        until(lambda: len(deployment.notified("o")) == 3)  # two workers and one replica
    finally:
        deployment.server.resume()
    until(lambda: len(deployment.changes(0)) == 2)
    until(lambda: deployment.changes(0) == deployment.changes(1))

    ids = dict(deployment.changes(0))
    assert deployment.notified("n") == [ids["n"]]
    assert deployment.notified("o") == [ids["o"]] * 3

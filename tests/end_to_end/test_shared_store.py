"""Replicas as real processes over a real Valkey server: one fetch per provider, whatever happens to the server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import CONSOLE, Process, serving, until
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders
from tests.valkey_servers import ValkeyServer

TTL = 3.0
FIELDS = {"description": "a-shown-text", "api_key": "sk-fake-leak-1", "root": "/data/fake-leak-2", "api_base": "leak-3"}


class Replicas:
    """Processes with the same configuration, over one provider."""

    def __init__(self, stack: ExitStack, folder: Path, server: ValkeyServer) -> None:
        self._stack = stack
        self._folder = folder
        self.server = server
        self.models = ["m"]
        upstreams = stack.enter_context(FakeProviders())
        self.upstream: FakeProvider = upstreams.open(self._reply)
        self.processes: list[Process] = []

    async def _reply(self, exchange: Exchange) -> None:
        body = {"object": "list", "data": [{"id": model, "object": "model", **FIELDS} for model in self.models]}
        await exchange.reply(json.dumps(body).encode())

    @property
    def fetches(self) -> int:
        return len(self.upstream.requests)

    def start(self, *, credential: str = "fake-credential") -> Process:
        text = json.dumps(
            {
                "store": {"valkey": self.server.url, "namespace": "test", "lease": "2s"},
                "providers": [
                    {"name": "a", "base_url": self.upstream.url, "api_key": credential, "ttl": f"{TTL:g}s"},
                ],
            }
        )
        path = self._folder / f"{len(self.processes)}.yaml"
        process = self._stack.enter_context(serving(path, text, *CONSOLE))
        self.processes.append(process)
        return process

    @property
    def listed(self) -> list[list[str]]:
        return [[model["id"] for model in get(process, "/v1/models")["data"]] for process in self.processes]

    @property
    def etags(self) -> list[str]:
        return [
            httpx.get(f"{each.url}/v1/models", trust_env=False, timeout=30).headers["etag"] for each in self.processes
        ]


def get(process: Process, path: str) -> Any:
    return httpx.get(process.url + path, trust_env=False, timeout=30).json()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(stack, tmp_path, stack.enter_context(ValkeyServer()))


def test_three_replicas_cost_a_provider_the_fetches_of_one(replicas: Replicas) -> None:
    began = time.monotonic()
    for _ in range(3):
        replicas.start()
    assert replicas.listed == [["m"]] * 3
    replicas.models = ["m", "new"]
    until(lambda: replicas.listed == [["m", "new"]] * 3)

    assert replicas.fetches <= 1 + (time.monotonic() - began) / (TTL / 2)  # a list is refreshed after half of its TTL
    assert len(set(replicas.etags)) == 1


def test_a_replica_that_is_killed_during_its_fetch_is_replaced(replicas: Replicas) -> None:
    first, *_ = [replicas.start() for _ in range(3)]
    before, began = replicas.fetches, time.monotonic()
    first.send(signal.SIGKILL)
    replicas.processes.remove(first)
    replicas.models = ["m", "new"]

    until(lambda: replicas.listed == [["m", "new"]] * 2)
    assert replicas.fetches <= before + 1 + (time.monotonic() - began) / (TTL / 2)


def test_lists_go_on_while_the_store_is_dead_and_are_shared_again_after_it_returns(replicas: Replicas) -> None:
    one, two = replicas.start(), replicas.start()
    replicas.server.kill()
    before = replicas.fetches
    for process in (one, two):
        process.line(process.err, "store.valkey is not available: connection refused or lost")
    replicas.models = ["m", "new"]
    until(lambda: replicas.listed == [["m", "new"]] * 2)
    assert replicas.fetches >= before + 2  # each for itself
    replicas.server.start()
    for process in (one, two):
        process.line(process.err, "store.valkey is available again")
    replicas.models = ["m"]
    until(lambda: replicas.listed == [["m"]] * 2)
    until(lambda: bool(replicas.server.client.keys("models-proxy:list:*")))

    late = replicas.start()
    assert get(late, "/v1/models") == get(one, "/v1/models")


def test_a_silent_store_delays_no_list(replicas: Replicas) -> None:
    replicas.start()
    replicas.server.stop()
    try:
        late = replicas.start()
        assert [model["id"] for model in get(late, "/v1/models")["data"]] == ["m"]
        late.line(late.err, "store.valkey is not available: timed out")
    finally:
        replicas.server.resume()


def test_flushed_keys_cost_one_fetch(replicas: Replicas) -> None:
    one, two = replicas.start(), replicas.start()
    replicas.server.client.flushall()
    replicas.models = ["m", "new"]
    until(lambda: replicas.listed == [["m", "new"]] * 2)

    assert get(one, "/health") == get(two, "/health") == {"status": "ok"}


def test_replicas_with_other_credentials_fetch_for_themselves_and_store_nothing_that_is_never_shown(
    replicas: Replicas,
) -> None:
    replicas.start()
    replicas.start(credential="another-fake-credential")

    assert replicas.listed == [["m"]] * 2
    assert replicas.fetches >= 2
    # A list is served before it is published.
    until(lambda: ["a-shown-text" in repr(value) for value in stored_lists(replicas.server)] == [True, True])
    stored = everything(replicas.server)
    assert "fake-credential" not in repr(stored)
    assert "leak" not in repr(stored)


def everything(server: ValkeyServer) -> dict[bytes, Any]:
    """Key -> its value, of each type."""
    client: Any = server.client
    readers = {b"hash": client.hgetall, b"string": client.get, b"zset": lambda name: client.zrange(name, 0, -1)}
    return {name: readers[client.type(name)](name) for name in client.keys("*")}


def stored_lists(server: ValkeyServer) -> list[Any]:
    return [value for name, value in everything(server).items() if b":list:" in name and b":changes:" not in name]

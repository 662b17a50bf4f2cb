"""Webhooks of a running proxy: one notification for each recorded change."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec
import pytest

from proxy.server.app import Proxy
from tests.fakes import FakeClock, FakeFetch, config_of, digest, run_pending_tasks
from tests.listening import serving, until
from tests.providers.scripted import FakeProvider, fake_provider, replies
from tests.sharing.memory import Medium, SharedMemory

pytestmark = pytest.mark.anyio

CONFIG = f"""
cache: {{ttl: 100s}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
keys: [{{name: ops, hash: '{digest("sk-fake-ops")}', models: ['*'], admin: true}}]
"""


def notifying(url: str, events: str = "model_added, model_removed") -> str:
    secret = "whsec_ZmFrZS1zZWNyZXQtb2YtYS13ZWJob29r"  # made up
    return f"notify: [{{webhook: '{url}/canary-hook', secret: {secret}, events: [{events}]}}]\n{CONFIG}"


def received(hook: FakeProvider) -> list[tuple[str, str]]:
    bodies = [msgspec.json.decode(request.body) for request in hook.requests]
    return [(body["type"], body["data"]["model"]) for body in bodies]


async def test_changes_are_sent_and_counted(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with fake_provider(replies(b"")) as hook, serving(config_of(notifying(hook.url)), fetch, clock) as proxy:
        fetch.lists("a", "n")
        await clock.advance(100)
        await until(lambda: len(hook.requests) == 2)
        await until(lambda: proxy.app.shared.notifications.pending == 0)
        headers = {"authorization": "Bearer sk-fake-ops"}
        metrics = (await proxy.client.get("/metrics", headers=headers)).text
        health = (await proxy.client.get("/health", headers=headers)).text
        changes = (await proxy.client.get("/admin/changes", headers=headers)).json()["changes"]

    assert received(hook) == [("model_added", "n"), ("model_removed", "m")]
    assert [msgspec.json.decode(request.body)["data"] for request in hook.requests] == changes
    assert 'models_proxy_notifications_total{outcome="sent"} 2' in metrics
    assert "models_proxy_notifications_pending 0" in metrics
    assert "canary-hook" not in metrics + health


async def test_of_several_replicas_one_sends_each_change(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    medium = Medium(clock)
    async with fake_provider(replies(b"")) as hook, AsyncExitStack() as stack:
        for _ in range(3):
            app = Proxy(config_of(notifying(hook.url)), clock=clock, fetch=fetch, sharing=SharedMemory(medium))
            await stack.enter_async_context(app.lifespan())
        await run_pending_tasks()
        for models in (["m", "n"], ["n"], ["n", "o"]):
            fetch.lists("a", *models)
            await clock.advance(100)
        await until(lambda: len(hook.requests) >= 3)
        await clock.advance(60)

    assert sorted(received(hook)) == [("model_added", "n"), ("model_added", "o"), ("model_removed", "m")]


async def test_a_reload_adds_and_removes_webhooks(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with fake_provider(replies(b"")) as hook, serving(config_of(CONFIG), fetch, clock) as proxy:
        await proxy.app.replace(config_of(notifying(hook.url)))
        fetch.lists("a", "m", "n")
        await clock.advance(100)
        await until(lambda: received(hook) == [("model_added", "n")])
        await proxy.app.replace(config_of(CONFIG))
        fetch.lists("a", "m", "n", "o")
        await clock.advance(100)

        assert proxy.app.shared.notifications.pending == 0
        assert [change.model for change in proxy.app.changes.current.changes] == ["n", "o"]
    assert len(hook.requests) == 1


async def test_a_receiver_that_fails_delays_no_request_and_not_the_end(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(notifying("http://127.0.0.1:9")), fetch, clock) as proxy:
        fetch.lists("a", "n")
        await clock.advance(100)
        await until(lambda: proxy.app.shared.notifications.outcomes["failed"] >= 1)
        response = await proxy.client.get("/v1/models", headers={"authorization": "Bearer sk-fake-ops"})

    assert [model["id"] for model in response.json()["data"]] == ["n"]

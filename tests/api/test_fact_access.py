"""Rules over facts on a real socket: a key lists, retrieves and calls the same models, in every format of lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import fake_provider, replies

pytestmark = pytest.mark.anyio

KEYS: Mapping[str, tuple[str, set[str]]] = {
    # Name -> rules, and the models that they allow.
    "all": ("'*'", {"chat-1", "vectors-1", "silent-1", "gpt-4o", "text-embedding-3-small", "smart", "vision-1"}),
    "chat": ("type:chat", {"chat-1", "vision-1", "gpt-4o"}),
    "vectors": ("type:embedding, sm*", {"vectors-1", "text-embedding-3-small"}),
    "no-chat": ("'*', '!type:chat'", {"vectors-1", "text-embedding-3-small"}),
    "tools": ("'capability:tools', smart", {"chat-1", "smart"}),
    "no-vision": ("'*', '!capability:vision'", {"chat-1", "smart"}),
    "long": ("'context>=100000'", {"chat-1", "vision-1"}),
    "short": ("'*', '!context>=200000'", {"chat-1", "vectors-1", "smart"}),
}
MODELS = (
    {"id": "chat-1", "type": "llm", "max_model_len": 128000, "tool_call": True, "modalities": {"input": ["text"]}},
    {"id": "vision-1", "type": "vlm", "context_window": 200000, "architecture": {"modality": "text+image->text"}},
    {"id": "vectors-1", "task": "feature-extraction", "context_length": 8192, "aliases": ["vec"]},
    {"id": "silent-1"},
    {"id": "gpt-4o"},
    {"id": "text-embedding-3-small"},
)


@asynccontextmanager
async def serving_facts(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[Served]:
    fetch.lists("a", *MODELS)
    async with fake_provider(replies(completion("chat-1"))) as up:
        keys = "".join(
            f"  - {{name: {name}, hash: '{digest(secret_of(name))}', models: [{rules}]}}\n"
            for name, (rules, _) in KEYS.items()
        )
        text = f"""
models: [{{id: smart, targets: [chat-1]}}]
providers:
  - {{name: a, base_url: '{up.url}', accept: ["*:online", "other-*"]}}
keys:
{keys}"""
        async with serving(config_of(text), fetch, clock) as served:
            yield served


def secret_of(name: str) -> str:
    return f"sk-canary-of-the-key-{name}"


def headers_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret_of(name)}"}


ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def status_of_call(served: Served, name: str, model: str) -> int:
    body = {"model": model, "messages": []}
    return (await served.client.post("/v1/chat/completions", json=body, headers=headers_of(name))).status_code


@pytest.mark.parametrize("name", KEYS)
async def test_listed_retrievable_and_callable_models_are_the_same(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    everything, (_, allowed) = {*KEYS["all"][1]}, KEYS[name]
    async with serving_facts(fetch, clock) as served:

        async def get(path: str, **headers: str) -> httpx.Response:
            return await served.client.get(path, headers={**headers_of(name), **headers})

        listed = {model["id"] for model in (await get("/v1/models")).json()["data"]}
        anthropic = {m["id"] for m in (await get("/v1/models?limit=100", **ANTHROPIC)).json()["data"]}
        retrieved = {model for model in everything if (await get(f"/v1/models/{quote(model)}")).status_code == 200}
        called = {model for model in everything if await status_of_call(served, name, model) == 200}

    assert {"listed": listed, "anthropic": anthropic, "retrieved": retrieved, "called": called} == dict.fromkeys(
        ("listed", "anthropic", "retrieved", "called"), allowed
    )


@pytest.mark.parametrize(
    ("name", "model", "is_allowed"),
    [
        ("all", "other-1", True),
        ("all", "chat-1:online", True),
        ("chat", "other-1", False),
        ("chat", "chat-1:online", False),
        ("no-chat", "other-1", False),
        ("no-chat", "chat-1:online", False),
        ("vectors", "vec", True),
        ("no-chat", "vec", True),
        ("chat", "vec", False),
    ],
)
async def test_a_name_that_is_not_listed_has_the_facts_of_the_model_that_it_is_another_name_of(
    name: str, model: str, is_allowed: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving_facts(fetch, clock) as served:
        retrieved = await served.client.get(f"/v1/models/{model}", headers=headers_of(name))

        assert retrieved.status_code == (200 if is_allowed else 404)
        assert await status_of_call(served, name, model) == retrieved.status_code

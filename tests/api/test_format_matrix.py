"""Formats x keys x models: what is listed in a format can be retrieved and called in it, and nothing else can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import serving
from tests.providers.scripted import fake_provider, replies

pytestmark = pytest.mark.anyio

CONFIG = """
providers:
  - {{name: chat, base_url: "{url}/chat/v1", speaks: [openai]}}
  - {{name: claude, kind: anthropic, base_url: "{url}/claude", api_key: sk-canary-up, speaks: [anthropic]}}
  - {{name: google, kind: gemini, base_url: "{url}/google", api_key: sk-canary-up}}
  - {{name: local, kind: ollama, base_url: "{url}/local"}}
  - {{name: gateway, base_url: "{url}/gateway/v1", speaks: [openai, anthropic, gemini, ollama], prefix: "gw/"}}
  - {{name: listed, base_url: "{url}/listed/v1", call: false}}
models:
  - {{id: smart, targets: [gemini-9, "qwen9:1b"]}}
keys:
{keys}
"""
KEYS = {
    "everything": ["*"],
    "by-name": ["gemini-*", "gw/*", "smart"],
    "by-provider": ["provider:local", "provider:claude"],
    "all-but-one": ["*", "!*qwen*"],
    "nothing": ["other-*"],
}
SPEAKS: Mapping[str, frozenset[str]] = {
    "gpt-9": frozenset({"openai"}),
    "claude-9": frozenset({"anthropic"}),
    "gemini-9": frozenset({"openai", "anthropic", "gemini"}),
    "qwen9:1b": frozenset({"openai", "anthropic", "ollama"}),
    "gw/vendor/model:free": frozenset({"openai", "anthropic", "gemini", "ollama"}),
    "only-listed": frozenset(),
    "smart": frozenset({"openai", "anthropic", "gemini", "ollama"}),
    "unknown": frozenset(),
}
"""Model -> the APIs that one of its providers speaks."""
MESSAGES = [{"role": "user", "content": "Hi"}]


class Format(NamedTuple):
    """How clients of an API list, retrieve and call models."""

    api: str
    headers: Mapping[str, str]
    path: str
    ids: Callable[[Any], list[str]]
    retrieve: tuple[str, str]
    """Method and path; `{id}` is the model, also in the body of a POST."""
    call: str

    def url_of(self, path: str, model: str) -> str:
        return path.replace("{id}", quote(model, safe=":"))


FORMATS = [
    Format(
        "openai",
        {},
        "/v1/models",
        lambda body: [each["id"] for each in body["data"]],
        ("GET", "/v1/models/{id}"),
        "/v1/chat/completions",
    ),
    Format(
        "anthropic",
        {"anthropic-version": "2023-06-01"},
        "/v1/models?limit=1000",
        lambda body: [each["id"] for each in body["data"]],
        ("GET", "/v1/models/{id}"),
        "/v1/messages",
    ),
    Format(
        "gemini",
        {},
        "/v1beta/models",
        lambda body: [each["name"].removeprefix("models/") for each in body["models"]],
        ("GET", "/v1beta/models/{id}"),
        "/v1beta/models/{id}:generateContent",
    ),
    Format(
        "ollama",
        {},
        "/api/tags",
        lambda body: [each["model"] for each in body["models"]],
        ("POST", "/api/show"),
        "/api/chat",
    ),
]


@asynccontextmanager
async def calling(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    fetch.lists("chat", "gpt-9")
    fetch.lists("claude", "claude-9")
    fetch.lists("google", "gemini-9")
    fetch.lists("local", "qwen9:1b")
    fetch.lists("gateway", "vendor/model:free")
    fetch.lists("listed", "only-listed")
    keys = "\n".join(
        f'  - {{name: "{name}", hash: "{digest(key_of(name))}", models: {rules}}}' for name, rules in KEYS.items()
    )
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(fake_provider(replies({"id": "any"})))
        served = await stack.enter_async_context(serving(config_of(CONFIG.format(url=up.url, keys=keys)), fetch, clock))
        yield served.client


def key_of(name: str) -> str:
    return f"sk-canary-{name}"


@pytest.mark.parametrize("row", FORMATS, ids=[row.api for row in FORMATS])
async def test_what_is_listed_in_a_format_can_be_retrieved_and_called_and_nothing_else(
    row: Format, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as client:
        for name in KEYS:
            headers = {**row.headers, "x-goog-api-key": key_of(name)}
            if row.api in ("openai", "anthropic"):
                headers = {**row.headers, "authorization": f"Bearer {key_of(name)}"}
            listed = row.ids((await client.get(row.path, headers=headers)).json())
            retrieved, called = [], []
            for model in sorted(SPEAKS):
                method, path = row.retrieve
                body = {"model": model, "messages": MESSAGES, "max_tokens": 1} if method == "POST" else None
                response = await client.request(method, row.url_of(path, model), json=body, headers=headers)
                if response.status_code == 200:
                    retrieved.append(model)
                body = (
                    {"contents": []} if "{id}" in row.call else {"model": model, "messages": MESSAGES, "max_tokens": 1}
                )
                response = await client.post(row.url_of(row.call, model), json=body, headers=headers)
                assert response.status_code in (200, 400, 404), response.text
                if response.status_code == 200:
                    called.append(model)
            assert retrieved == listed, name
            # OpenAI's list has all models, also those that other APIs reach or none.
            callable_ids = [model for model in listed if row.api in SPEAKS[model]]
            assert called == callable_ids, name
            assert row.api == "openai" or listed == callable_ids, name
            assert name != "everything" or listed == [
                model
                for model in sorted(SPEAKS)
                if row.api in SPEAKS[model] or (row.api == "openai" and model != "unknown")
            ]

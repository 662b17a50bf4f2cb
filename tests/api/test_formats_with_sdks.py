"""Model lists in other formats, read by the SDKs of Anthropic and OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import httpx2
import openai
import pytest

from proxy.server.app import Proxy
from tests.fakes import FakeClock, FakeFetch, config_of, digest, started

pytestmark = pytest.mark.anyio

KEY = "sk-canary-of-sdks"
IDS = [f"claude-{n:03}" for n in range(45)]
CONFIG = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/a/v1"}}]
keys: [{{name: k, hash: "{digest(KEY)}", models: ["*"]}}]
"""


@pytest.fixture
async def app(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[Proxy]:
    fetch.lists("a", *({"id": model, "type": "chat", "context_length": 200000} for model in IDS))
    async with started(config_of(CONFIG), fetch, clock) as app:
        yield app


@pytest.mark.parametrize("limit", [1, 20, 1000])
async def test_anthropics_sdk_pages_through_the_list_and_retrieves_a_model(limit: int, app: Proxy) -> None:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url="http://localhost", http_client=http) as client:
        listed = [model async for model in client.models.list(limit=limit)]
        backwards = [model.id async for model in client.models.list(limit=20, before_id=IDS[30])]
        one = await client.models.retrieve(IDS[7])
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            await client.models.retrieve("none")

    assert [model.id for model in listed] == IDS
    assert (listed[7], one.max_input_tokens, one.created_at.year, one.lifecycle) == (one, 200000, 1970, "active")
    assert sorted(backwards) == IDS[:30]


async def test_openais_sdk_lists_filters_and_retrieves(app: Proxy) -> None:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    async with openai.AsyncOpenAI(api_key=KEY, base_url="http://localhost/v1", http_client=http) as client:
        listed = [model.id async for model in client.models.list()]
        filtered = [model.id async for model in client.models.list(extra_query={"q": "-01"})]
        none = [model.id async for model in client.models.list(extra_query={"type": "embedding"})]
        one = await client.models.retrieve(IDS[7])

    assert listed == IDS
    assert (filtered, none) == (IDS[10:20], [])
    assert one.id == IDS[7]

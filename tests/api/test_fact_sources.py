"""`?facts=sources`: lists and single models with the source of each fact, for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.catalog.bundled import bundled
from proxy.server.app import Proxy
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

USER, ADMIN = "sk-canary-user-of-facts", "sk-canary-admin-of-facts"
USERS, ADMINS = {"Authorization": f"Bearer {USER}"}, {"Authorization": f"Bearer {ADMIN}"}
CONFIG = f"""
server: {{facts_style: all}}
facts: bundled
merge: {{fill: true}}
models: [{{id: smart, targets: [gpt-4o]}}]
providers:
  - name: a
    base_url: https://api.openai.com/v1
    overrides: [{{match: own, max_output_tokens: 7}}]
    models: [{{id: declared, context_length: 5}}]
  - {{name: b, base_url: 'http://127.0.0.1/b/v1'}}
keys:
  - {{name: user, hash: '{digest(USER)}', models: ['*']}}
  - {{name: admin, hash: '{digest(ADMIN)}', models: ['*', '!hidden'], admin: true}}
"""


def lists(fetch: FakeFetch) -> None:
    fetch.lists("a", "gpt-4o", {"id": "own", "max_model_len": 9, "created": 1700000001}, "hidden", "tagged:latest")
    fetch.lists("b", {"id": "own", "supports_tools": True})


async def get(app: Proxy, path: str, headers: Mapping[str, str] = ADMINS) -> Any:
    reply = await reply_to(app, path, headers)
    assert reply.status == 200, reply.body
    return reply.json


def without_texts(model: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Fact -> its source and its provider."""
    assert all(each["text"] for each in model["fact_sources"].values())
    return {name: (each["source"], each["provider"]) for name, each in model["fact_sources"].items()}


async def test_every_fact_of_a_list_has_its_source(fetch: FakeFetch, clock: FakeClock) -> None:
    lists(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        listed = {model["id"]: without_texts(model) for model in (await get(app, "/v1/models?facts=sources"))["data"]}

    assert listed == {
        "declared": {"created": ("none", ""), "context_length": ("declared", "a")},
        "gpt-4o": {"created": ("none", ""), "context_length": ("bundled", "a"), "type": ("name", "a")},
        "own": {
            "created": ("provider", "a"),
            "context_length": ("provider", "a"),
            "max_output_tokens": ("override", "a"),
            "supports_tools": ("provider", "b"),
        },
        "smart": {"created": ("none", ""), "context_length": ("bundled", "a"), "type": ("name", "a")},
        "tagged:latest": {"created": ("none", "")},
    }


async def test_a_list_with_sources_has_the_fields_of_the_list(fetch: FakeFetch, clock: FakeClock) -> None:
    lists(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        plain, with_sources = await get(app, "/v1/models"), await get(app, "/v1/models?x=1&facts=sources")

    models = [{name: model[name] for name in model if name != "fact_sources"} for model in with_sources["data"]]
    assert {**with_sources, "data": models} == plain


async def test_filters_select_models_of_a_list_with_sources(fetch: FakeFetch, clock: FakeClock) -> None:
    lists(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        chats = await get(app, "/v1/models?facts=sources&type=chat")
        of_b = await get(app, "/v1/models?provider=b&facts=sources")
        too_long = await reply_to(app, f"/v1/models?facts=sources&q={'x' * 101}", ADMINS)

    assert [(model["id"], "fact_sources" in model) for model in chats["data"]] == [("gpt-4o", True), ("smart", True)]
    assert [model["id"] for model in of_b["data"]] == ["own"]
    assert too_long.status == 400


async def test_a_single_model_has_the_sources_of_its_facts(fetch: FakeFetch, clock: FakeClock) -> None:
    lists(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        model = await get(app, "/v1/models/gpt-4o?facts=sources")
        accepted = await get(app, "/v1/models/tagged?facts=sources")
        unknown = await reply_to(app, "/v1/models/hidden?facts=sources", ADMINS)

    assert model["fact_sources"]["context_length"] == {
        "source": "bundled",
        "provider": "a",
        "text": f"from {bundled().label(clock.time())}: no provider reports it",
    }
    assert (accepted["id"], without_texts(accepted)) == ("tagged", {"created": ("none", "")})
    assert unknown.status == 404


@pytest.mark.parametrize("query", ["facts=sources", "facts=other", "fact=sources", "xfacts=sources", "facts=sources1"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/own"])
async def test_it_is_ignored_for_other_callers_and_other_values(
    path: str, query: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    lists(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        headers = USERS if query == "facts=sources" else ADMINS
        assert await get(app, f"{path}?{query}", headers) == await get(app, path, headers)


@pytest.mark.parametrize(("allow", "has_sources"), [("false", True), ("true", False)])
async def test_an_open_proxy_shows_sources_on_loopback_only(
    allow: str, has_sources: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    text = f"server: {{allow_anonymous: {allow}}}\nproviders: [{{name: a, base_url: 'http://127.0.0.1/a/v1'}}]"
    async with started(config_of(text), fetch, clock) as app:
        [model] = (await get(app, "/v1/models?facts=sources", {}))["data"]

    assert ("fact_sources" in model) is has_sources

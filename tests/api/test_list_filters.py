"""`GET /v1/models` with filters in the query: which models are listed, and lists joined from encoded entries."""

from __future__ import annotations

import gzip
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.merge import model_of
from proxy.cooperative import run_now
from proxy.dialects.entry import Entry
from proxy.wire.filters import Filters, indexed
from proxy.wire.openai import SharedEntries, listing
from tests.fakes import FakeClock, FakeFetch, config_of, digest, ids, reply_to, started

pytestmark = pytest.mark.anyio

ADMIN, BOB = "sk-canary-admin", "sk-canary-bob"
CONFIG = f"""
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1"}}
keys:
  - {{name: admin, hash: "{digest(ADMIN)}", models: ["*"], admin: true}}
  - {{name: bob, hash: "{digest(BOB)}", models: ["*", "!secret-*"]}}
"""


def offered(fetch: FakeFetch) -> None:
    fetch.lists(
        "a",
        {"id": "gpt-5", "owned_by": "openai", "type": "chat", "supports_tools": True, "display_name": "GPT Five"},
        {"id": "lab-mini", "owned_by": "Lab", "input_modalities": ["text", "image"]},
        {"id": "lab-search", "owned_by": "Lab", "type": "embedding"},
    )
    fetch.lists("b", {"id": "gpt-5", "type": "chat"}, {"id": "secret-embedder", "type": "embedding"})


def key(secret: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}", **headers}


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("type=embedding", ["lab-search", "secret-embedder"]),
        ("type=chat", ["gpt-5"]),
        ("type=llm", ["gpt-5"]),
        ("type=Text-Embedding", ["lab-search", "secret-embedder"]),
        ("type=" + "llm" * 100, []),
        ("type=unknown", []),
        ("capability=tools", ["gpt-5"]),
        ("capability=vision", ["lab-mini"]),
        ("owned_by=lab", ["lab-mini", "lab-search"]),
        ("owned_by=OpenAI", ["gpt-5"]),
        ("provider=b", ["gpt-5", "secret-embedder"]),
        ("provider=c", []),
        ("q=MINI", ["lab-mini"]),
        ("q=five", ["gpt-5"]),
        ("q=lab-&type=embedding&owned_by=lab", ["lab-search"]),
        ("q=none", []),
        ("type=embedding&type=chat", ["gpt-5"]),
        ("type=&q=", ["gpt-5", "lab-mini", "lab-search", "secret-embedder"]),
        ("limit=1&order=desc", ["gpt-5", "lab-mini", "lab-search", "secret-embedder"]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/"])
async def test_filters_select_models(
    path: str, query: str, listed: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        cold = await reply_to(app, f"{path}?{query}", key(ADMIN))
        whole = await reply_to(app, "/v1/models", key(ADMIN))
        warm = await reply_to(app, f"{path}?{query}", key(ADMIN))

    assert (cold.status, ids(cold.body)) == (200, listed)
    assert warm.body == cold.body
    assert warm.json["data"] == [model for model in whole.json["data"] if model["id"] in listed]


async def test_a_filter_shows_only_what_the_key_can_see_and_does_not_reveal_providers(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        whole = await reply_to(app, "/v1/models", key(BOB))
        embedding = await reply_to(app, "/v1/models?type=embedding", key(BOB))
        by_provider = await reply_to(app, "/v1/models?provider=b", key(BOB))
        by_both = await reply_to(app, "/v1/models?provider=b&type=embedding", key(BOB))

    assert ids(embedding.body) == ids(by_both.body) == ["lab-search"]
    assert by_provider.body is whole.body


async def test_the_list_of_an_administrator_is_not_sent_to_a_key_with_the_same_rules(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    config = config_of(CONFIG.replace(', "!secret-*"', ""))
    async with started(config, fetch, clock) as app:
        by_key = {
            name: [ids((await reply_to(app, "/v1/models?provider=a", key(secret))).body) for _ in range(3)]
            for name, secret in [("admin", ADMIN), ("bob", BOB)]
        }

    assert by_key == {
        "admin": [["gpt-5", "lab-mini", "lab-search"]] * 3,
        "bob": [["gpt-5", "lab-mini", "lab-search", "secret-embedder"]] * 3,
    }


async def test_requests_with_long_queries_are_not_kept(fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        for _ in range(3):
            await reply_to(app, "/v1/models?q=lab", key(ADMIN))
            await reply_to(app, f"/v1/models?q=lab&x={'x' * 1024}", key(ADMIN))
        kept = app.deployment.store.view(Policy.of(["*"])).ready

    assert [request[2] for request in kept if isinstance(request, tuple)] == [b"q=lab"]


async def test_a_filtered_list_has_an_etag_of_its_own_and_is_cached(fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        whole = await reply_to(app, "/v1/models", key(ADMIN))
        first = await reply_to(app, "/v1/models?q=lab", key(ADMIN))
        other_spelling = await reply_to(app, "/v1/models?x=1&q=LAB", key(ADMIN))
        packed = await reply_to(app, "/v1/models?q=lab", key(ADMIN, **{"accept-encoding": "gzip"}))
        etag = first.header("etag") or ""
        unchanged = await reply_to(app, "/v1/models?q=lab", key(ADMIN, **{"if-none-match": etag}))

    assert first.body is other_spelling.body
    assert gzip.decompress(packed.body) == first.body
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert etag != whole.header("etag")


async def test_a_text_above_100_characters_is_an_error(fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        allowed = await reply_to(app, f"/v1/models?q={quote('ü' * 100)}", key(ADMIN))
        refused = await reply_to(app, f"/v1/models?q={quote('ü' * 101)}", key(ADMIN))

    assert (allowed.status, ids(allowed.body)) == (200, [])
    assert (refused.status, refused.json["error"]["message"]) == (400, "q has more than 100 characters.")


async def test_filtered_lists_beyond_the_limit_are_evicted(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *({"id": f"m{n:03}", "text": "x" * 1000} for n in range(100)))
    async with started(config_of(CONFIG), fetch, clock) as app:
        for n in range(100):
            await reply_to(app, f"/v1/models?q=m{n:03}", key(ADMIN))
        view = app.deployment.store.view(Policy.of(["*"]))
        of_small_ones = view.rendered.formats.size
        for n in range(10):
            await reply_to(app, f"/v1/models?owned_by=a&q=m0{n}", key(ADMIN))
        for text in ("m", "m0"):
            await reply_to(app, f"/v1/models?q={text}", key(ADMIN))
        of_large_ones = view.rendered.formats.size

    assert of_small_ones < 64 * 3000
    assert of_large_ones < 3 * view.rendered.length + 64 * 1024


def model(model_id: str) -> Model:
    return model_of((Offer(model_id, "a", "a", Entry(model_id)),))


@given(st.lists(st.text(min_size=1), unique=True, max_size=8), st.data())
@settings(max_examples=50, deadline=None)
def test_entries_are_joined_as_if_they_were_encoded_anew(names: list[str], data: st.DataObject) -> None:
    models = Catalog(tuple(sorted(map(model, names), key=lambda each: each.id))).models
    encoded = run_now(listing(models))
    positions = sorted(data.draw(st.sets(st.integers(0, len(models) - 1)))) if models else []
    some = run_now(listing([models[position] for position in positions])).body.removeprefix(
        b'{"object":"list","data":['
    )

    assert bytes(encoded.joined_entries().joined(positions)) + b"]}" == some
    assert SharedEntries(tuple(encoded.entries())).joined(positions) + b"]}" == some
    everything = encoded.body.removeprefix(b'{"object":"list","data":[')
    assert bytes(encoded.joined_entries().joined(range(len(models)))) + b"]}" == everything


def test_an_index_finds_the_models_of_all_filters_together() -> None:
    index = run_now(indexed([model("m1"), model("n1"), model("m2")]))

    assert [*index.matching(Filters(owned_by="a", q="m"))] == [0, 2]
    assert [*index.matching(Filters(provider="a"))] == [0, 1, 2]
    assert [*index.matching(Filters(provider="a", owned_by="b"))] == []

"""The offers of all providers become one catalog per policy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from proxy.access import Policy
from proxy.catalog import Catalog, Model, Offer, merge
from proxy.catalog.merge import merging
from proxy.cooperative import BATCH_SIZE
from tests.fakes import FakeClock, FakeFetch, config_of, digest, entry, reply_to, started

ALL = Policy(["*"])


def offer(model_id: str, provider: str = "a", *, created: int = 0, owner: str = "", **extra: object) -> Offer:
    payload = entry({"id": model_id, "created": created, "owned_by": owner, **extra})
    return Offer(model_id, provider, owner or provider, payload)


def test_merged_model_has_the_fields_of_its_first_offer() -> None:
    first, second = offer("m", "a", created=200, note="a"), offer("m", "b", created=300, owner="maker", note="b")

    assert merge([first, second], ALL.allows) == Catalog((Model((first, second), 200),))


def test_caller_with_access_to_the_second_provider_sees_only_its_entry() -> None:
    first, second = offer("m", "a", created=100, note="a"), offer("m", "b", created=300, owner="maker", note="b")

    assert merge([first, second], Policy(["provider:b"]).allows) == Catalog((Model((second,), 300),))


@pytest.mark.parametrize(
    ("times", "created"),
    [
        pytest.param([300, 200, 400], 200, id="the earliest of any offer"),
        pytest.param([300, 0], 300, id="unknown is not a time"),
        pytest.param([0, 300], 300, id="a known time before the preferred offer's unknown one"),
        pytest.param([1626777600, 1700000000], 1700000000, id="One-API's placeholder"),
        pytest.param([1677610602, 1700000000], 1700000000, id="OpenAI's placeholder"),
        pytest.param([735790403, 1700000000], 1700000000, id="NVIDIA's placeholder"),
        pytest.param([1677649963, 1700000000], 1700000000, id="One-Hub's placeholder"),
        pytest.param([1704067200, 1710000000], 1710000000, id="the first second of a year"),
        pytest.param([1626777600, 0, 735790403], 1626777600, id="only placeholders: that of the preferred offer"),
        pytest.param([0, 735790403], 0, id="only placeholders: also unknown"),
        pytest.param([1626777600], 1626777600, id="that of a single offer"),
    ],
)
def test_created_is_the_earliest_value_that_is_not_a_placeholder(times: list[int], created: int) -> None:
    offers = [offer("m", f"provider-{n}", created=time) for n, time in enumerate(times)]

    assert merge(offers, ALL.allows) == Catalog((Model(tuple(offers), created),))


def test_model_has_only_the_first_offer_of_each_provider() -> None:
    first, other, second = offer("m", "a", note=1), offer("m", "b"), offer("m", "a", note=2)

    assert merge([first, other, second], ALL.allows) == Catalog((Model((first, other), 0),))


def test_a_model_is_listed_only_if_one_of_its_offers_is_allowed() -> None:
    kept, denied = offer("m"), offer("n")

    assert merge([kept, denied], Policy(["m"]).allows) == Catalog((Model((kept,), 0),))
    assert merge([kept, denied], Policy([]).allows) == Catalog(())


@pytest.mark.parametrize(
    ("first", "others", "filled"),
    [
        pytest.param({}, [{"context_length": 8}], {"context_length": 8}, id="missing"),
        pytest.param({"type": None}, [{"type": "chat"}], {"type": "chat"}, id="null"),
        pytest.param({"context_length": 4}, [{"context_length": 8}], {"context_length": 4}, id="known"),
        pytest.param({"supports_tools": False}, [{"supports_tools": True}], {"supports_tools": False}, id="false"),
        pytest.param({}, [{"type": None}, {"type": "chat"}, {"type": "image"}], {"type": "chat"}, id="the next known"),
        pytest.param({}, [{"note": 1}], {}, id="other fields are no facts"),
        pytest.param({}, [{"pricing": {"prompt": "0.000001"}, "shutdown_at": 5}], {}, id="facts of one provider"),
    ],
)
def test_facts_are_filled_from_the_next_allowed_offer(
    first: dict[str, Any], others: list[dict[str, Any]], filled: dict[str, Any]
) -> None:
    offers = [offer("m", "a", **first), *(offer("m", f"b{n}", **other) for n, other in enumerate(others))]

    [model] = merge(offers, ALL.allows, fill=True).models
    assert msgspec.json.decode(model.offers[0].entry.extra) == filled
    assert model.offers[1:] == tuple(offers[1:])
    assert merge(offers, ALL.allows) == Catalog((Model(tuple(offers), 0),)), "only if it is set"


def test_facts_are_never_filled_from_an_offer_that_the_policy_denies() -> None:
    first, second = offer("m", "a"), offer("m", "b", context_length=8)

    assert merge([first, second], Policy(["provider:a"]).allows, fill=True) == Catalog((Model((first,), 0),))


def test_entry_that_is_also_shown_as_it_was_sent_is_not_filled() -> None:
    first, second = offer("m", "a"), offer("m", "b", context_length=8)
    first = replace(first, entry=replace(first.entry, raw=b'{"id":"m"}'))

    assert merge([first, second], ALL.allows, fill=True) == Catalog((Model((first, second), 0),))


def test_merging_yields_after_each_batch() -> None:
    offers = [offer(f"m{number:04}", provider) for provider in "ab" for number in range(BATCH_SIZE)]

    assert len(list(merging(offers, ALL.allows))) == 3, "two batches of offers, one of models"


def test_models_are_sorted_by_id_in_code_point_order() -> None:
    # In UTF-16 order the emoji would precede U+FF21, in dictionary order `a` would precede `Z`.
    ordered = ["A", "Z", "a", "a-b", "a/b", "ab", "é", "测试", "Ａ", "🤖"]

    assert [model.id for model in merge(map(offer, reversed(ordered)), ALL.allows).models] == ordered


@pytest.mark.anyio
async def test_list_shows_filled_facts_of_providers_that_the_key_can_use(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "m", "context_length": None})
    fetch.lists("b", {"id": "m", "context_length": 8})
    config = config_of(
        "merge: {fill: true}\n"
        "providers: [{name: a, base_url: 'http://127.0.0.1/a'}, {name: b, base_url: 'http://127.0.0.1/b'}]\n"
        f"keys: [{{name: all, hash: '{digest('all')}', models: ['*']}}, "
        f"{{name: one, hash: '{digest('one')}', models: ['provider:a']}}]"
    )
    async with started(config, fetch, clock) as app:
        filled = await reply_to(app, "/v1/models/m", {"Authorization": "Bearer all"})
        own = await reply_to(app, "/v1/models/m", {"Authorization": "Bearer one"})

    assert (filled.json["context_length"], own.json["context_length"]) == (8, None)

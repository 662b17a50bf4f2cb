"""`merge.ignore_case`: ids that differ only in case are one model."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from proxy.access import Policy
from proxy.catalog import Catalog, Offer, merge
from tests.fakes import FakeClock, FakeFetch, config_of, digest, entry, reply_to, started


def offer(model_id: str, provider: str = "a", created: int = 0, **fields: object) -> Offer:
    return Offer(model_id, provider, "maker", entry({"id": model_id, "created": created, **fields}))


def merged(*offers: Offer, rules: Sequence[str] = ("*",)) -> Catalog:
    return merge(offers, Policy(rules).allows, ignore_case=True)


def test_the_first_spelling_is_listed_with_the_offers_of_all_in_the_configured_order() -> None:
    catalog = merged(offer("M", "a"), offer("n", "a"), offer("m", "b"), offer("M", "c"), offer("m", "c"))

    assert [(model.id, model.spellings) for model in catalog.models] == [("M", ("m",)), ("n", ())]
    assert [(offer.provider, offer.id) for offer in catalog.models[0].offers] == [("a", "M"), ("b", "m"), ("c", "M")]


def test_all_spellings_that_are_listed_find_the_model_and_no_others() -> None:
    catalog = merged(offer("Straße-M"), offer("STRASSE-m", "b"))

    assert catalog.find("Straße-M") is catalog.find("STRASSE-m") is catalog.models[0]
    assert [catalog.find(other) for other in ("straße-m", "strasse-m", "STRASSE-M")] == [None, None, None]


def test_facts_that_only_another_spelling_has_are_added() -> None:
    first = offer("m", context_length=None, type="chat", note="first", pricing={"prompt": "0.000001"})
    second = offer("M", created=5, context_length=5, type="text", alias_of="m", pricing={"completion": "0.000002"})
    third = offer("M", "b", context_length=7, max_output_tokens=9)
    (model,) = merged(first, second, third).models

    assert msgspec.json.decode(model.offers[0].entry.extra) == {
        "context_length": 5,
        "type": "chat",
        "note": "first",
        "pricing": {"prompt": "0.000001"},
        "max_output_tokens": 9,
    }
    assert model.offers[1] == third, "only the listed fields are completed"


def test_offers_of_one_spelling_are_not_completed() -> None:
    first, second = offer("m"), offer("m", "b", context_length=5)
    assert merged(first, second) == merge([first, second], Policy(["*"]).allows)


@pytest.mark.parametrize(
    ("rules", "models"),
    [
        pytest.param(["*"], [("m", ("M",), b'{"type":"chat","context_length":1}')], id="both"),
        pytest.param(["m"], [("m", (), b'{"type":"chat"}')], id="an allow rule is exact"),
        pytest.param(["M"], [("M", (), b'{"context_length":1}')], id="the other spelling is then the first"),
        pytest.param(["*", "!M"], [], id="a deny rule ignores case"),
    ],
)
def test_access_rules_are_applied_to_each_spelling_first(
    rules: list[str], models: list[tuple[str, tuple[str, ...], bytes]]
) -> None:
    catalog = merged(offer("m", type="chat"), offer("M", context_length=1), rules=rules)
    assert [(model.id, model.spellings, model.offers[0].entry.extra) for model in catalog.models] == models


def test_spellings_are_different_models_without_the_setting() -> None:
    catalog = merge([offer("m"), offer("M")], Policy(["*"]).allows)
    assert [model.id for model in catalog.models] == ["M", "m"]


@pytest.mark.anyio
async def test_the_other_spelling_can_be_retrieved(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "lab/m", "context_length": None}, {"id": "lab/M", "context_length": 5})
    config = config_of(
        "merge: {ignore_case: true}\n"
        "providers: [{name: a, base_url: 'http://127.0.0.1/v1'}]\n"
        f"keys: [{{name: all, hash: '{digest('all')}', models: ['*']}}, "
        f"{{name: k, hash: '{digest('sk-fake-k')}', models: [lab/m]}}]"
    )
    async with started(config, fetch, clock) as app:
        listed = await reply_to(app, "/v1/models", {"Authorization": "Bearer all"})
        other = await reply_to(app, "/v1/models/lab/M", {"Authorization": "Bearer all"})
        hidden = await reply_to(app, "/v1/models/lab/M", {"Authorization": "Bearer sk-fake-k"})

    assert [(model["id"], model["context_length"]) for model in listed.json["data"]] == [("lab/m", 5)]
    assert (other.status, other.json["id"], hidden.status) == (200, "lab/m", 404)

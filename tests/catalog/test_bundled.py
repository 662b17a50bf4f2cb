"""`facts: bundled`: context lengths and prices from `genai-prices` that no provider reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from genai_prices.data import providers as PROVIDERS

from proxy.access import Policy
from proxy.catalog import per_provider
from proxy.catalog.bundled import Bundled, bundled
from proxy.catalog.virtual import catalog_of
from proxy.config import ConfigError, parse
from proxy.cooperative import run_now
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, entry, running
from tests.store.stores import ALL, store_of

pytestmark = pytest.mark.anyio

OPENAI, LAB = "https://api.openai.com/v1", "http://lab.example/v1"
KNOWN = next(each for each in PROVIDERS if each.id == "openai")
CONTEXT = {model.id: model.context_window for model in KNOWN.models}


def listed(text: str, *lists: list[Mapping[str, object]]) -> dict[str, Any]:
    """The fields of all models that a list shows, by id."""
    config = config_of("facts: bundled\n" + text)
    offers = [
        offer
        for provider, payloads in zip(config.providers, lists, strict=True)
        for offer in per_provider(provider, config)(answer_of(*payloads).entries)
    ]
    catalog = run_now(catalog_of(offers, Policy.of(["*"]), config))
    return {model.id: json.loads(model.offers[0].entry.extra) for model in catalog.models}


def shown(url: str, payload: Mapping[str, object], settings: str = "") -> Any:
    models = listed(f"providers: [{{name: a, base_url: '{url}'{settings}}}]", [payload])
    assert len(models) == 1
    return next(iter(models.values()))


# -- which model -------------------------------------------------------------------------------------------------------


def test_every_model_is_found_as_by_the_package_itself() -> None:
    ids = sorted({model.id.lower() for provider in PROVIDERS for model in provider.models})
    data = Bundled(PROVIDERS, "0")
    for provider in PROVIDERS:
        own = {model.id.lower() for model in provider.models}
        for own_id in {*own, *ids[::20]}:
            expected = provider._match_model(own_id)
            found = data._sources[provider.id].find(own_id)
            assert (found and found.context) == (expected and (expected.context_window or 0)), (provider.id, own_id)


@pytest.mark.parametrize(
    ("url", "own_id", "owner", "expected"),
    [
        pytest.param(OPENAI, "gpt-4o", "openai", {"context_length": CONTEXT["gpt-4o"]}, id="the maker"),
        pytest.param(OPENAI, "GPT-4o-2024-08-06", "x", {"context_length": CONTEXT["gpt-4o"]}, id="a documented id"),
        pytest.param(OPENAI, "gpt-4o-of-mine", "openai", None, id="a similar id"),
        pytest.param("https://x.openai.azure.com/openai/v1", "gpt-4o", "a", {"context_length": CONTEXT["gpt-4o"]},
                     id="a host of its models"),
        pytest.param(LAB, "gpt-4o", "openai", {"context_length": CONTEXT["gpt-4o"]}, id="a gateway"),
        pytest.param(LAB, "openai/gpt-4o", "openai", {"context_length": CONTEXT["gpt-4o"]}, id="with the maker's name"),
        pytest.param(LAB, "acme/gpt-4o", "openai", None, id="with another name"),
        pytest.param(LAB, "gpt-4o", "acme", None, id="of another maker"),
        pytest.param(LAB, "claude-opus-4-1-x", "anthropic", None, id="no exact id"),
        pytest.param(LAB, "deepseek-chat", "deepseek", None, id="weights that others can serve with less context"),
        pytest.param(None, "gpt-4o", "openai", {"context_length": CONTEXT["gpt-4o"]}, id="without a URL"),
        pytest.param("http://x.example/api.openai.com", "gpt-4o", "x", None, id="a URL with another host"),
    ],
)  # fmt: skip
def test_a_model_is_looked_up_by_url_or_maker(
    url: str | None, own_id: str, owner: str, expected: Mapping[str, object] | None
) -> None:
    found = json.loads(bundled().lookup(url)(own_id, owner) or b"null")

    assert found == expected


class _Model:
    """A model of the package."""

    def __init__(self, own_id: str, prices: object, price_variants: object = None) -> None:
        from genai_prices.types import ClauseEquals

        self.id, self.match, self.context_window = own_id, ClauseEquals(own_id), None
        self.prices, self.price_variants = prices, price_variants


class _Provider:
    def __init__(self, *models: _Model) -> None:
        self.id, self.api_pattern, self.models, self.fallback_model_providers = "acme", "https://acme", models, None


def test_only_one_price_per_token_is_shown_and_only_at_its_provider() -> None:
    from decimal import Decimal

    from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint, Tier, TieredPrices

    plain = ModelPrice(input_mtok=Decimal("2.5"), output_mtok=Decimal(10))
    tiered = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(200_000, Decimal(2))]), output_mtok=Decimal(3)
    )
    later = [
        ConditionalPrice(prices=plain),
        ConditionalPrice(prices=plain, constraint=StartDateConstraint(start_date=date(2026, 5, 1))),
        ConditionalPrice(prices=plain, constraint=StartDateConstraint(start_date=date(2027, 5, 1))),
    ]
    models = [
        _Model("plain", plain),
        _Model("tiered", tiered),
        _Model("later", later),
        _Model("varies", plain, [object()]),
    ]
    data = Bundled([_Provider(*models, _Model("input", ModelPrice(input_mtok=Decimal(1))))], "1.2")

    at_acme, elsewhere = data.lookup("https://acme/v1"), data.lookup(LAB)
    assert at_acme("plain", "") == b'{"pricing":{"prompt":"0.0000025","completion":"0.00001"}}'
    assert [at_acme(each, "") for each in ("tiered", "later", "varies", "input")] == [b"", b"", b"", b""]
    assert elsewhere("plain", "acme") == b""
    assert data.date(1_798_000_000) == date(2026, 5, 1), "a change in the future is not the age of the data"
    assert data.date(0) is None
    assert data.label(1_798_000_000) == "genai-prices 1.2, latest price change 2026-05-01"
    assert data.label(0) == "genai-prices 1.2"


# -- which facts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "settings", "expected"),
    [
        pytest.param({}, "", CONTEXT["gpt-4o"], id="a missing fact"),
        pytest.param({"context_length": None}, "", CONTEXT["gpt-4o"], id="null"),
        pytest.param({"max_model_len": 4096}, "", 4096, id="what the provider reports"),
        pytest.param({}, ", overrides: [{match: '*', context_length: 7}]", 7, id="what the operator declares"),
        pytest.param({}, ", models: [{id: gpt-4o, context_length: 7}]", 7, id="a declared model"),
        pytest.param({}, ", overrides: [{match: '*', context_length: null}]", None, id="what the operator removes"),
        pytest.param({}, ", drop_fields: [context_length]", None, id="a dropped field"),
        pytest.param({}, ", extra_fields: none", None, id="a field that is not shown"),
        pytest.param({}, ", extra_fields: [context_length]", CONTEXT["gpt-4o"], id="a field that is shown"),
    ],
)
def test_a_bundled_fact_is_the_last_choice(payload: Mapping[str, object], settings: str, expected: object) -> None:
    assert shown(OPENAI, {"id": "gpt-4o", **payload}, settings).get("context_length") == expected


@pytest.mark.parametrize(("fill", "expected"), [("true", 5), ("false", CONTEXT["gpt-4o"])])
def test_with_fill_the_fact_of_another_offer_wins(fill: str, expected: int) -> None:
    text = f"merge: {{fill: {fill}}}\nproviders: [{{name: a, base_url: '{OPENAI}'}}, {{name: b, base_url: '{LAB}'}}]"

    assert (
        listed(text, [{"id": "gpt-4o"}], [{"id": "gpt-4o", "context_length": 5}])["gpt-4o"]["context_length"]
        == expected
    )


def test_a_virtual_model_has_the_bundled_facts_of_its_target() -> None:
    text = f"models: [{{id: smart, targets: [gpt-4o]}}]\nproviders: [{{name: a, base_url: '{OPENAI}'}}]"

    assert listed(text, [{"id": "gpt-4o"}])["smart"]["context_length"] == CONTEXT["gpt-4o"]


def test_access_rules_read_bundled_facts() -> None:
    config = config_of(f"facts: bundled\nproviders: [{{name: a, base_url: '{OPENAI}'}}]")
    [offer, other] = per_provider(config.providers[0], config)(answer_of("gpt-4o", "mine").entries)

    assert Policy(["context>=100000"]).allows(offer)
    assert not Policy(["context>=100000"]).allows(other)


async def test_bundled_facts_are_not_stored_with_the_list_of_the_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "gpt-4o")
    text = f"facts: bundled\nproviders: [{{name: a, base_url: '{OPENAI}'}}]"
    async with running(store_of(text, fetch, clock)) as store:
        record = store.record("a")

        assert record is not None
        assert record.entries == (entry("gpt-4o"),)
        assert b'"context_length"' in store.view(ALL).rendered.identity


async def test_turning_them_on_and_off_needs_no_fetch(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "gpt-4o")
    text = f"facts: VALUE\nproviders: [{{name: a, base_url: '{OPENAI}'}}]"
    async with running(store_of(text.replace("VALUE", "off"), fetch, clock)) as off:
        bundled_ones, off_again = (store_of(text.replace("VALUE", value), fetch, clock) for value in ("bundled", "off"))
        shown_by = [off.view(ALL).rendered.identity]
        off.hand_over()
        for before, after in ((off, bundled_ones), (bundled_ones, off_again)):
            await after.inherit(before, [ALL], 1.0)
            shown_by.append(after.view(ALL).rendered.identity)

    assert [b'"context_length"' in body for body in shown_by] == [False, True, False]
    assert fetch.requests == {"a": 1}


# -- the package -------------------------------------------------------------------------------------------------------


def test_the_data_is_read_once_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "genai_prices.data", raising=False)
    bundled.cache_clear()

    assert bundled() is bundled()
    assert "genai_prices.data" not in sys.modules


@pytest.mark.parametrize("value", ["off", "'off'", "", "false"])
def test_without_the_setting_nothing_is_looked_up(value: str) -> None:
    config = config_of(f"facts: {value}\nproviders: [{{name: a, base_url: '{OPENAI}'}}]")
    [offer] = per_provider(config.providers[0], config)(answer_of("gpt-4o").entries)

    assert (config.facts, offer.facts) == ("off", None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("on", "facts: must be 'off' or 'bundled'"),
        ("[bundled]", "facts: must be 'off' or 'bundled'"),
        (
            "bundled",
            "facts: requires the library genai-prices, which is not installed; run `pip install 'models-proxy[facts]'`",
        ),
    ],
)
def test_a_wrong_setting_and_a_missing_package_are_problems(value: str, problem: str) -> None:
    text = f"facts: {value}\nproviders: [{{name: a, base_url: '{OPENAI}'}}]"
    with pytest.raises(ConfigError) as caught:
        parse(text, is_installed=lambda library: library != "genai_prices")

    assert problem in str(caught.value)

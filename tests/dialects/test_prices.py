"""Prices: shown under names with a documented unit only if their unit is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from proxy.dialects import DIALECTS, entry_of
from proxy.dialects.prices import UNKNOWN_UNIT, unit_factor

OPENAI = DIALECTS["openai"]


def pricing(payload: Mapping[str, object], price_per: int = 1) -> Any:
    """The object `pricing` of an entry, None if it is not shown."""
    dialect = replace(OPENAI, price_per=price_per)
    return json.loads(entry_of(dialect, {"id": "m", **payload}, b"", {}).extra).get("pricing")


PER_TOKEN = {"prompt": "0.0000025", "completion": "0.00001"}


@pytest.mark.parametrize(
    "unchanged",
    [
        pytest.param(PER_TOKEN, id="strings for one token"),
        pytest.param({**PER_TOKEN, "image": "0.0036", "request": "0"}, id="with prices of other things"),
        pytest.param({**PER_TOKEN, "currency": "USD"}, id="dollars"),
        pytest.param({**PER_TOKEN, "unit": "USD"}, id="a unit that is a currency"),
        pytest.param({"prompt": "-1", "completion": "-1"}, id="a price that depends on the route"),
        pytest.param({"prompt": "0", "completion": "0"}, id="free"),
        pytest.param({"prompt": 2.5e-06, "completion": 1e-05}, id="numbers for one token"),
        pytest.param({"input": 0.88, "output": 0.88, "hourly": 0}, id="numbers without a unit under other names"),
        pytest.param({"input_tokens": 0.09}, id="names that are not known"),
        pytest.param([{"prompt": 1}], id="an array"),
        pytest.param("free", id="a text"),
        pytest.param({}, id="an empty object"),
    ],
)
def test_price_that_is_right_or_makes_no_claim_is_unchanged(unchanged: object) -> None:
    assert pricing({"pricing": unchanged}) == unchanged


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param(
            {"prompt": 1, "completion": 2, "unit": "per_1m_tokens"},
            {"prompt": "0.000001", "completion": "0.000002"},
            id="a million tokens",
        ),
        pytest.param(
            {"input": "0.15", "output": "0.60", "unit": "USD / 1K tokens", "currency": "usd"},
            {"input": "0.00015", "output": "0.0006", "currency": "usd", "prompt": "0.00015", "completion": "0.0006"},
            id="a thousand, under other names",
        ),
        pytest.param(
            {"prompt": 1.5, "per": 1000000, "cache_read": 0.1, "image": 3, "note": "x"},
            {"prompt": "0.0000015", "cache_read": "0.0000001", "note": "x"},
            id="a number; prices of other things lose their unit",
        ),
        pytest.param({"prompt": "0.000001", "unit": "token"}, {"prompt": "0.000001"}, id="one token"),
        pytest.param(
            {"prompt": 1, "completion": 2, "unit": "per_1m_tokens", "currency": "CNY"},
            {"unit": "per_1m_tokens", "currency": "CNY"},
            id="another currency",
        ),
        pytest.param({"prompt": 1, "unit": "credits"}, {"unit": "credits"}, id="an unknown unit"),
        pytest.param(
            {"prompt": 1, "input": 2, "unit": "元/百万tokens"}, {"input": 2, "unit": "元/百万tokens"}, id="yuan"
        ),
        pytest.param({"prompt": 5, "unit": "token"}, {"unit": "token"}, id="a unit that cannot be right"),
        pytest.param({"prompt": 0.15, "completion": 0.6, "x": 1}, {"x": 1}, id="no unit, and not for one token"),
        pytest.param({"prompt": "0.15", "completion": "0.6"}, None, id="the same as text"),
        pytest.param(
            {"input": "0.0000025", "output": "0.00001"},
            {"input": "0.0000025", "output": "0.00001", **PER_TOKEN},
            id="text for one token under other names",
        ),
        pytest.param({"prompt": {"usd": 1}, "x": 1}, {"x": 1}, id="an object without a unit"),
        pytest.param({"prompt": "$0.0000025", "completion": "$0.00001"}, PER_TOKEN, id="dollar signs"),
        pytest.param(
            {"prompt": "$2.50 / 1M tokens", "completion": "10 USD per million tokens"}, PER_TOKEN, id="text with units"
        ),
        pytest.param(
            {"per_1m_tokens": {"input": 2.5, "output": 10}},
            {"per_1m_tokens": {"input": 2.5, "output": 10}, **PER_TOKEN},
            id="an object named by the unit",
        ),
        pytest.param({"prompt": 2.5, "completion": 10, "basis": "per_million_tokens"}, PER_TOKEN, id="a basis"),
        pytest.param({"prompt": "$2.50", "completion": "$10"}, None, id="text without a unit"),
        pytest.param(
            {"prompt": {"price": 2.5, "unit": "per_1m_tokens"}, "completion": [{"value": 10, "unit": "perMTokens"}]},
            PER_TOKEN,
            id="objects with units",
        ),
        pytest.param(
            {"prompt": [{"value": 1, "unit": "perMTokens"}, {"value": 2, "unit": "perMTokens"}]}, None, id="tiers"
        ),
        pytest.param({"prompt": {"price": 2.5, "unit": "per_1m_tokens", "currency": "EUR"}}, None, id="euros"),
        pytest.param(
            {"input_per_million": 2.5, "output_per_1m_tokens": "10"},
            {"input_per_million": 2.5, "output_per_1m_tokens": "10", **PER_TOKEN},
            id="a unit in the name",
        ),
        pytest.param(
            {"cents_per_input_token": 0.00025, "cents_per_output_token": 0.001},
            {"cents_per_input_token": 0.00025, "cents_per_output_token": 0.001, **PER_TOKEN},
            id="cents",
        ),
    ],
)
def test_price_is_shown_for_one_token_if_its_unit_is_known(given: Mapping[str, Any], shown: object) -> None:
    assert pricing({"pricing": given}) == shown


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}, id="LiteLLM"),
        pytest.param({"model_info": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}}, id="its info"),
        pytest.param({"cost_per_1m_in": 2.5, "cost_per_1m_out": 10}, id="a million in the name"),
        pytest.param({"price_per_mtok_input": 2.5, "price_per_mtok_output": 10}, id="turned around"),
        pytest.param({"inputPricePer1KTokens": 0.0025, "outputPricePer1KTokens": "0.01"}, id="camel case"),
        pytest.param({"cost": {"input": 2.5, "output": 10}, "limit": {"context": 8}}, id="models.dev"),
        pytest.param({"pricePerToken": {"input": "0.0000025", "output": 0.00001}}, id="an object named by the unit"),
        pytest.param({"pricing": {"prompt": 2.5, "completion": 10}, "price_unit": "per_1m_tokens"}, id="unit outside"),
        pytest.param({"pricings": {"prompt": [{"value": 2.5, "unit": "perMTokens", "currency": "USD"}],
                                   "completion": [{"value": 10, "unit": "perMTokens", "currency": "USD"}]}},
                     id="ZenMux"),
        pytest.param({"pricing": {"prompt": 2.5, "completion": 10}, "currency": "$", "pricing_unit": "1M tokens"},
                     id="unit and currency outside"),
    ],
)  # fmt: skip
def test_price_elsewhere_is_shown_if_its_unit_is_known(payload: Mapping[str, object]) -> None:
    assert pricing(payload) == PER_TOKEN


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"input_token_price_per_m": 40000, "output_token_price_per_m": 160000}, id="a unit of its own"),
        pytest.param({"prompt_text_token_price": 20000}, id="no unit"),
        pytest.param({"input_price": 0.2}, id="a price alone"),
        pytest.param({"cost": {"input": 2.5}}, id="a cost alone"),
        pytest.param({"input_cost_per_token_above_128k_tokens": 1e-06}, id="a price of some requests"),
        pytest.param({"input_cost_per_audio_token": 1e-06}, id="a price of other tokens"),
        pytest.param({"input_cost_per_token": 1e-06, "currency": "EUR"}, id="another currency"),
        pytest.param({"input_cost_per_token": "free"}, id="not a price"),
        pytest.param({"price_per_image": {"input": 0.0001}}, id="an object named by another unit"),
        pytest.param({"price_per_token": {"input": 2.5e-06, "currency": "EUR"}}, id="such an object in euros"),
        pytest.param({"input_cost_per_token": 3}, id="not for one token"),
    ],
)
def test_price_without_a_known_unit_is_not_shown(payload: Mapping[str, object]) -> None:
    assert pricing(payload) is None


def test_price_in_another_currency_beside_it_is_not_shown() -> None:
    assert pricing({"currency": "CNY", "pricing": {**PER_TOKEN, "x": 1}}) == {"x": 1}


def test_price_per_of_the_operator_is_the_unit() -> None:
    given = {"prompt": 3.2664, "completion": "16.332", "request": "0.01"}
    assert pricing({"pricing": given}, 1_000_000) == {
        "prompt": "0.0000032664",
        "completion": "0.000016332",
        "request": "0.01",
    }


@pytest.mark.parametrize(
    ("unit", "tokens"),
    [
        ("per_token", 1), ("token", 1), ("USD per token", 1), ("1 token", 1), ("per_1k_tokens", 1000), ("1K", 1000),
        ("per thousand tokens", 1000), ("USD/1000 tokens", 1000), (1000, 1000), ("per_1m_tokens", 10**6),
        ("per_million_tokens", 10**6), ("1M tokens", 10**6), ("$/MTok", 10**6), ("1,000,000 tokens", 10**6),
        ("usd_per_million", 10**6), (1_000_000, 10**6), ("dollars per 1M tokens", 10**6),
        ("per_1m_input_tokens", 10**6),
    ],
)  # fmt: skip
def test_unit_is_read_exactly(unit: str | int, tokens: int) -> None:
    assert unit_factor(unit) == Decimal(1) / tokens


@pytest.mark.parametrize(
    "unit",
    ["", "m", "credits", "per_request", "per_image", "per_hour", "CNY/1M tokens", "€ per token", "1 billion", "pixels",
     "quota", "USD", "x" * 10_000],
)  # fmt: skip
def test_other_units_are_unknown(unit: str) -> None:
    assert unit_factor(unit) == UNKNOWN_UNIT


def test_cents_are_dollars() -> None:
    assert unit_factor("cents per million tokens") == Decimal("0.00000001")

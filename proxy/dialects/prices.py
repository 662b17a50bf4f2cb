"""Prices of tokens, under the names that clients read: US dollars for one token, as decimal strings.

Providers write prices for one token, a thousand or a million, in dollars, cents or other currencies. A price is
converted if its unit is known. `pricing.prompt` and the other names with a documented unit are not shown otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from proxy.dialects.metadata import DECIMAL, plain_name

Direction = Literal["prompt", "completion"]

_TOKEN_PRICES = frozenset(["prompt", "completion", "input_cache_read", "input_cache_write", "internal_reasoning"])
"""Names whose documented unit is US dollars for one token."""
_DOCUMENTED = _TOKEN_PRICES | {"image", "request", "web_search", "audio", "image_output", "input_audio_cache"}
"""Names whose documented currency is US dollars."""
_NAMES: Mapping[Direction, tuple[str, ...]] = {"prompt": ("prompt", "input"), "completion": ("completion", "output")}
_CONVERTED = _TOKEN_PRICES | {
    "input", "output", "cache_read", "cache_write", "cached_input", "cached", "cache", "input_cached", "reasoning",
}  # fmt: skip

_UNIT_FIELDS = frozenset(
    ["unit", "units", "per", "pertokens", "tokenunit", "priceunit", "pricingunit", "billingunit", "unitname",
     "unittype", "priceper", "perunit", "tokensperunit", "unitsize", "basis", "pricebasis", "pricingbasis",
     "denominator"]
)  # fmt: skip
_OUTER_UNIT_FIELDS = _UNIT_FIELDS - {"unit", "units", "per", "unitname", "unittype", "basis", "denominator"}
"""Fields next to `pricing` that contain its unit."""
_CURRENCY_FIELDS = frozenset(["currency", "currencycode", "pricecurrency", "pricingcurrency", "currencyunit"])
_HOLDERS = ("pricing", "price", "prices", "cost", "costs", "model_info", "metadata", "info")
"""Objects that may contain prices."""

_OTHER_CURRENCY = re.compile(
    r"cny|rmb|yuan|eur|gbp|jpy|inr|krw|rub|brl|[¥￥€£₹₽元]|credit|point|quota|coin|tao|vcu|diem"
)
_CENTS = re.compile(r"\bcents?\b|¢")
_FILLERS = re.compile(r"usdollars?|dollars?|usd|us\$|cents?|prices?|costs?|per|tokens?|input|output|text|each|of")
_AMOUNTS = {
    "": 1, "1": 1, "one": 1, "a": 1,
    "1k": 1000, "k": 1000, "1000": 1000, "thousand": 1000, "1thousand": 1000, "ktok": 1000, "1ktok": 1000, "千": 1000,
    "1m": 10**6, "m": 10**6, "1000000": 10**6, "million": 10**6, "1million": 10**6, "onemillion": 10**6,
    "mtok": 10**6, "1mtok": 10**6, "mm": 10**6, "1mm": 10**6, "百万": 10**6,
}  # fmt: skip
_AMOUNT = (
    r"(?P<amount>token|(?:1|one)?(?:thousand|million|ktok|mtok)|1k|1m|1000|1000000|(?:k|m)(?=tokens?))(?:tokens?)?"
)
_SIDE = r"(?P<side>input|prompt|in|output|completion|out)(?:tokens?)?"
_MONEY = r"(?P<money>cost|price|pricing|rate|usd|dollars|cents)?s?"
_PRICE_NAMES = [
    re.compile(rf"{_MONEY}(?:usd)?{_SIDE}(?:cost|price|usd|dollars)?(?:usd)?per{_AMOUNT}(?:usd)?"),
    re.compile(rf"{_MONEY}(?:usd)?per{_AMOUNT}{_SIDE}(?:usd)?"),
    re.compile(rf"{_MONEY}(?:usd)?per(?P<side>input|output|prompt|completion)(?P<amount>token)s?"),
]
_TEXT_PRICE = re.compile(
    r"(?P<dollars>\$|US\$|USD)?\s*(?P<number>[0-9][0-9.]*)\s*(?P<unit>[^0-9.\s].*)?", re.IGNORECASE
)
_MAY_BE_PRICE_NAME = re.compile("per", re.IGNORECASE)
UNKNOWN_UNIT = Decimal(0)
_MAX_PLAUSIBLE = Decimal("0.001")
"""Dollars for one token. The most expensive models cost less; a larger number has another unit."""


def has_prices(fields: Sequence[str]) -> bool:
    """Whether entries with these fields may contain prices."""
    return not {"pricing", "pricings", "price", "prices", "cost", "costs", "model_info"}.isdisjoint(fields) or any(
        _MAY_BE_PRICE_NAME.search(field)
        and (_priced(plain_name(field), is_inside=False) or unit_factor(field) != UNKNOWN_UNIT)
        for field in fields
    )


def has_outer_unit(fields: Sequence[str]) -> bool:
    """Whether entries with these fields may contain the unit or the currency of `pricing` next to it."""
    return any(plain_name(field) in _OUTER_UNIT_FIELDS | _CURRENCY_FIELDS for field in fields)


def is_plain(payload: Mapping[str, Any]) -> bool:
    """Whether `pricing` needs no change: the common case, prices of one token as strings. Fast."""
    try:
        pricing = payload["pricing"]
        return (
            "-" <= pricing["prompt"] <= "0.001"
            and "-" <= pricing["completion"] <= "0.001"
            and (len(pricing) == 2 or pricing.keys() <= _DOCUMENTED)
        )
    except (KeyError, TypeError):
        return False


def priced(payload: Mapping[str, Any], price_per: int) -> dict[str, Any] | None:
    """The object `pricing` with the prices of one token in US dollars, None if there is nothing to change.

    `price_per`: the number of tokens that prices without a unit refer to; 1 if the operator does not set it.
    """
    own = payload.get("pricing")
    if own is None:
        own = {}
    if not isinstance(own, dict):
        return None
    unit = _unit(own, payload)
    if price_per != 1 and unit != UNKNOWN_UNIT:
        unit = Decimal(1) / price_per
    if unit is None:
        result = {**_plausible(own), **_elsewhere(payload, own), **_of_objects(payload.get("pricings", own))}
    elif unit == UNKNOWN_UNIT or (price_per == 1 and _is_implausible(own, unit)):
        result = {name: value for name, value in own.items() if name not in _DOCUMENTED}
    else:
        result = {**_converted(own, unit, keeps_others=price_per != 1), **_in_unit(own, unit)}
    return None if result == own else result


def _unit(own: Mapping[str, Any], payload: Mapping[str, Any]) -> Decimal | None:
    """The dollars for one token, of a price of 1 in `pricing`; None if no unit is given.

    UNKNOWN_UNIT if the unit is not known, or the currency is not the US dollar.
    """
    currency = _first(own, _CURRENCY_FIELDS) or _first(payload, _CURRENCY_FIELDS)
    if currency is not None and not _is_dollar(currency):
        return UNKNOWN_UNIT
    unit = _first(own, _UNIT_FIELDS) or _first(payload, _OUTER_UNIT_FIELDS)
    return None if unit is None or _is_dollar(unit) else unit_factor(unit)


def _first(values: Mapping[str, Any], names: frozenset[str]) -> str | int | None:
    for name, value in values.items():
        if plain_name(name) in names and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return value
    return None


def _is_dollar(currency: object) -> bool:
    return isinstance(currency, str) and plain_name(currency.replace("$", "usd")) in ("usd", "ususd", "usdollar")


def unit_factor(unit: str | int) -> Decimal:
    """Dollars for one token, of a price of 1 in this unit: `per_1m_tokens`, `USD/1K tokens`, 1000000."""
    return _factor_of(str(unit)[:64])


@lru_cache(256)
def _factor_of(unit: str) -> Decimal:
    text = unit.lower()
    plain = re.sub(r"[\W_]+", "", text)
    amount = _FILLERS.sub("", plain)
    is_vague = amount in ("", "k", "m", "a", "one") and "tok" not in plain
    if _OTHER_CURRENCY.search(text) or amount not in _AMOUNTS or is_vague:
        return UNKNOWN_UNIT
    dollars = Decimal("0.01") if _CENTS.search(text.replace("_", " ")) else Decimal(1)
    return dollars / _AMOUNTS[amount]


def _in_unit(own: Mapping[str, Any], unit: Decimal) -> dict[str, str]:
    """The prices of one token, of prices in this unit."""
    by_side = {
        side: [price for name in names if (price := _times(own.get(name), unit))] for side, names in _NAMES.items()
    }
    return {side: prices[0] for side, prices in by_side.items() if prices}


def _elsewhere(payload: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """The prices of one token that have their unit in their name, or at a gateway that documents it."""
    by_side = {
        side: _named(side, payload) or _of_models_dev(side, payload) or _without_unit(side, own) for side in _NAMES
    }
    return {**_grouped(payload), **_grouped(own), **{side: price for side, price in by_side.items() if price}}


def _grouped(holder: Mapping[str, Any]) -> dict[str, str]:
    """Prices in an object that is named by their unit: `price_per_1m_tokens: {input: 1, output: 2}`."""
    for name, group in holder.items():
        unit = unit_factor(name) if isinstance(group, dict) and _MAY_BE_PRICE_NAME.search(name) else UNKNOWN_UNIT
        if unit != UNKNOWN_UNIT and _unit(group, {}) is None and not _is_implausible(group, unit):
            return _in_unit(group, unit)
    return {}


def _named(side: Direction, payload: Mapping[str, Any]) -> str | None:
    """A price whose name contains its unit: `input_cost_per_token`."""
    holders = [payload, *(payload[name] for name in _HOLDERS if isinstance(payload.get(name), dict))]
    for holder in holders:
        if (currency := _first(holder, _CURRENCY_FIELDS)) and not _is_dollar(currency):
            continue
        for name, value in holder.items():
            match = _priced(plain_name(name), is_inside=holder is not payload)
            price = _times(value, match[1]) if match and match[0] == side else None
            if price and Decimal(price) <= _MAX_PLAUSIBLE:
                return price
    return None


@lru_cache(4096)
def _priced(name: str, is_inside: bool) -> tuple[Direction, Decimal] | None:
    """The side of a plain name such as `inputcostpertoken`, and the dollars for one token of a price of 1."""
    match = next((match for pattern in _PRICE_NAMES if (match := pattern.fullmatch(name))), None)
    if match is None or not (is_inside or re.search("cost|price|pricing|usd|dollar|cents", name)):
        return None
    side: Direction = "prompt" if match["side"] in ("input", "prompt", "in") else "completion"
    factor = Decimal(1) / _AMOUNTS[match["amount"].removeprefix("token")]
    return side, factor / 100 if "cents" in name else factor


def _of_models_dev(side: Direction, payload: Mapping[str, Any]) -> str | None:
    """A price of models.dev, which documents `cost` as dollars for a million tokens, next to `limit.context`."""
    cost, limit = payload.get("cost"), payload.get("limit")
    if not isinstance(cost, dict) or not isinstance(limit, dict) or "context" not in limit:
        return None
    return _times(cost.get(_NAMES[side][1]), Decimal(1) / 10**6)


def _without_unit(side: Direction, own: Mapping[str, Any]) -> str | None:
    """A price of Vercel's gateway: `input` is dollars for one token, which the size of the number confirms."""
    value = own.get(_NAMES[side][1])
    if _NAMES[side][0] in own or not isinstance(value, str):
        return None
    price = _times(value, Decimal(1))
    return price if price and 0 < Decimal(price) <= _MAX_PLAUSIBLE else None


def _of_objects(own: object) -> dict[str, str]:
    """Prices with a unit of their own: `$0.5 / 1M tokens`, `{"value": 0.5, "unit": "perMTokens"}`."""
    if not isinstance(own, dict):
        return {}
    by_side = {
        side: [price for name in names if (price := _with_unit(own.get(name)))] for side, names in _NAMES.items()
    }
    return {side: prices[0] for side, prices in by_side.items() if prices}


def _with_unit(value: object) -> str | None:
    """The price of one token, of a price with its unit. Of several, which depend on conditions, none is right."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        match = _TEXT_PRICE.fullmatch(value.strip()[:64])
        number = match["number"] if match else ""
        unit = (match["unit"] or ("token" if match["dollars"] else None)) if match else None
    elif isinstance(value, dict):
        number = next((value[name] for name in ("value", "price", "amount") if name in value), "")
        unit = _first(value, _UNIT_FIELDS)
        currency = _first(value, _CURRENCY_FIELDS)
        unit = None if currency is not None and not _is_dollar(currency) else unit
    else:
        return None
    factor = unit_factor(unit) if unit is not None else UNKNOWN_UNIT
    price = _times(number, factor) if factor != UNKNOWN_UNIT else None
    return price if price and Decimal(price) <= _MAX_PLAUSIBLE else None


def _times(value: object, factor: Decimal) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return f"{(Decimal(text) * factor).normalize():f}" if DECIMAL.fullmatch(text) else None


def _is_implausible(own: Mapping[str, Any], unit: Decimal) -> bool:
    """Whether the token prices cannot be dollars in this unit."""
    return any(Decimal(price) > _MAX_PLAUSIBLE for price in _in_unit(own, unit).values())


def _plausible(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of `pricing`; without token prices if these cannot be dollars for one token."""
    prompts: Mapping[str, Any] = {name: own[name] for name in _NAMES if name in own}
    if not _is_implausible(prompts, Decimal(1)) and not any(map(_has_unit, prompts.values())):
        return own
    return {name: value for name, value in own.items() if name not in _TOKEN_PRICES}


def _has_unit(value: object) -> bool:
    """Whether a price is a text with more than a number, or an object."""
    if isinstance(value, str):
        return "$" in value or (value[:1].isdecimal() and not DECIMAL.fullmatch(value))
    return isinstance(value, dict | list)


def _converted(own: Mapping[str, Any], unit: Decimal, keeps_others: bool) -> dict[str, Any]:
    """The fields of `pricing` with the prices of tokens for one token. Other numbers lose their unit, so they go."""
    return dict(_converted_fields(own, unit, keeps_others))


def _converted_fields(own: Mapping[str, Any], unit: Decimal, keeps_others: bool) -> Iterator[tuple[str, Any]]:
    for name, value in own.items():
        price = _times(value, unit)
        if name in _CONVERTED and price is not None:
            yield name, price
        elif plain_name(name) not in _UNIT_FIELDS and (price is None or keeps_others):
            yield name, value

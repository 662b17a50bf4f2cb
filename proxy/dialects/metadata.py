"""Standard names for model metadata, and a parser for each value.

A value of an unexpected type is not converted: it stays in its original field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from proxy.dialects.times import unix_seconds

Reader = Callable[[Any, int], Any]
"""A provider's value and the number of tokens per price -> the value shown, None if it is invalid."""


# Longer numbers are not prices: `1e999999` would become a megabyte of digits.
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


def _text(value: object, price_per: int) -> str | None:
    return value if isinstance(value, str) and value else None


def _word(value: object, price_per: int) -> str | None:
    """A single name, not several joined with commas (AiHubMix)."""
    return value if isinstance(value, str) and value and "," not in value else None


def _whole(value: object, price_per: int) -> int | None:
    """A positive integer. Cohere sends 4096.0, others send strings."""
    if type(value) is int:
        return value if 0 < value < 10**15 else None  # the common case
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**15:
        return None
    return int(value) if value == int(value) else None


def _names(value: object, price_per: int) -> list[str] | None:
    """A list of names, or a string of names joined with commas (AiHubMix)."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, list) or not value:
        return None
    for name in value:  # a loop is fastest for one or two names, the common case
        if type(name) is not str:
            return None
    return value


def _flag(value: object, price_per: int) -> bool | None:
    return value if isinstance(value, bool) else None


def _seconds(value: object, price_per: int) -> int | None:
    return unix_seconds(value) or None


def _price(value: object, price_per: int) -> str | None:
    """The price of one token as a decimal string, because a float is not exact."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return f"{(Decimal(text) / price_per).normalize():f}" if _DECIMAL.fullmatch(text) else None


NAMES: Mapping[str, Reader] = {
    "display_name": _text,
    "description": _text,
    "type": _word,
    "context_length": _whole,
    "max_output_tokens": _whole,
    "input_modalities": _names,
    "output_modalities": _names,
    "deprecated": _flag,
    "deprecated_at": _seconds,
    "shutdown_at": _seconds,
    "updated_at": _seconds,
    "released_at": _seconds,
    "pricing.prompt": _price,
    "pricing.completion": _price,
}
"""Metadata name -> parser of a provider's value. A dot creates a nested object: `pricing.prompt`."""

PRICE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pricing.prompt": ("pricing.prompt", "pricing.input"),
    "pricing.completion": ("pricing.completion", "pricing.output"),
}
"""Where prices usually are. They are read only if the number of tokens that they are for is known."""

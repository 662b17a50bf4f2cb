"""`facts`: whether facts that no provider reports come from bundled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.config.fields import off_if_false
from proxy.config.settings import FactsSource
from proxy.config.validation import Validation


def facts_of(validation: Validation, raw: Mapping[str, Any], is_installed: Callable[[str], bool]) -> FactsSource:
    """The setting; "off" if it is missing or has a problem."""
    given = off_if_false(raw.get("facts"))
    if given != "bundled":
        if given not in ("off", None):
            validation.problem(("facts",), "must be 'off' or 'bundled'")
        return "off"
    if not is_installed("genai_prices"):
        text = "requires the library genai-prices, which is not installed"
        validation.unavailable(("facts",), text, "run `pip install 'models-proxy[facts]'`")
    return "bundled"

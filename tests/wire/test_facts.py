"""Texts and dates of listed models."""

from __future__ import annotations

import msgspec
import pytest

from proxy.catalog import Offer
from proxy.catalog.merge import model_of
from proxy.dialects.entry import Entry
from proxy.wire.facts import Fields, fields_of, rfc3339


def test_fields_with_unexpected_values_are_unknown() -> None:
    extra = msgspec.json.encode({"display_name": "M", "description": 5, "deprecated": "yes", "deprecated_at": 7})
    model = model_of((Offer("m", "a", "a", Entry("m", extra=extra)),))

    assert fields_of(model) == Fields(display_name="M", deprecated_at=7)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "1970-01-01T00:00:00Z"), (1750000000, "2025-06-15T15:06:40Z"), (10**15, "1970-01-01T00:00:00Z")],
)
def test_times_are_in_utc_and_impossible_ones_are_unknown(seconds: int, written: str) -> None:
    assert rfc3339(seconds) == written

"""The state of a list depends only on the age of its last successful fetch."""

from __future__ import annotations

import pytest

from proxy.catalog import FetchResult
from proxy.states import ListState
from proxy.store.listing import Listing, list_state
from tests.fakes import answer_of, config_of, entry

PROVIDER, LAB = config_of("""
cache: {ttl: 100s, max_stale: 1000s}
providers:
  - {name: a, base_url: "http://127.0.0.1/v1"}
  - {name: lab, kind: static, models: [{id: own}]}
""").providers


@pytest.mark.parametrize(
    ("age", "state"),
    [(0.0, "ok"), (99.9, "ok"), (100.0, "stale"), (999.9, "stale"), (1000.0, "failing"), (9999.0, "failing")],
)
def test_list_becomes_stale_after_ttl_and_expires_after_max_stale(age: float, state: ListState) -> None:
    listing = Listing.of(answer_of("m"), (), fetched_at=1_800_000_000.0, fetched_monotonic=50.0)

    assert list_state(PROVIDER, listing, 50.0 + age) == state


def test_provider_without_a_list_is_failing_and_static_provider_is_declared() -> None:
    assert (list_state(PROVIDER, None, 0.0), list_state(LAB, None, 0.0)) == ("failing", "declared")


def test_listing_keeps_fetch_statistics_without_a_second_copy_of_entries() -> None:
    result = FetchResult((entry("as fetched"),), pages=3, attempts=2, dropped={"missing `id`": 1})
    listing = Listing.of(result, (entry("as kept"),), fetched_at=1.0, fetched_monotonic=2.0)

    assert listing == Listing((entry("as kept"),), FetchResult((), 3, 2, {"missing `id`": 1}), 1.0, 2.0)

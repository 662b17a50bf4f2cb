"""The state of a list, and what an incomplete response keeps of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy.catalog import FetchResult
from proxy.states import ListState
from proxy.store.listing import Listing, list_state, shortcoming
from proxy.store.shrinkage import Shrinkage
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
    listing = Listing(answer_of("m").entries, answer_of(), fetched_at=1_800_000_000.0, fetched_monotonic=50.0)

    assert list_state(PROVIDER, listing, 50.0 + age) == state


def test_provider_without_a_list_is_failing_and_static_provider_is_declared() -> None:
    assert (list_state(PROVIDER, None, 0.0), list_state(LAB, None, 0.0)) == ("failing", "declared")


def listing_of(*ids: str, unseen: Mapping[str, float] | None = None, at: float = 100.0) -> Listing:
    """A listing whose last response arrived at `at`; `unseen` ids come last."""
    earlier = unseen or {}
    return Listing(tuple(map(entry, (*ids, *earlier))), FetchResult(()), 1.0, at, unseen=earlier)


def test_entries_that_no_response_contained_for_max_stale_are_dropped_one_by_one() -> None:
    listing = listing_of("m", unseen={"old": 20.0, "older": 10.0})

    assert (listing.received, listing.oldest, listing.expires_at(PROVIDER)) == (1, 10.0, 1010.0)
    assert listing.unexpired(PROVIDER, 1009.9) is listing
    assert listing.unexpired(PROVIDER, 1010.0) == listing_of("m", unseen={"old": 20.0})
    assert listing.unexpired(PROVIDER, 1020.0) == listing_of("m")
    assert listing.unexpired(PROVIDER, 1100.0) is None


def test_entries_that_an_incomplete_response_lacks_are_kept_with_the_time_they_were_last_seen() -> None:
    listing = listing_of("m", "n", "m", unseen={"old": 20.0})

    kept, unseen = listing.kept_beside([entry("n"), entry("new")], PROVIDER, 200.0)

    assert (kept, unseen) == ([entry("m"), entry("old")], {"m": 100.0, "old": 20.0})


def test_entries_are_kept_only_up_to_max_models_and_the_most_recent_first() -> None:
    small = PROVIDER.model_copy(update={"max_models": 3})
    listing = listing_of("m", unseen={"old": 20.0, "older": 10.0})

    kept, unseen = listing.kept_beside([entry("new")], small, 200.0)

    assert (kept, unseen) == ([entry("m"), entry("old")], {"m": 100.0, "old": 20.0})


@pytest.mark.parametrize(
    ("received", "partial", "shrinkage", "state", "reason"),
    [
        pytest.param(2, "", None, "ok", None, id="whole"),
        pytest.param(2, "why", None, "incomplete", "list may be incomplete: why", id="partial"),
        pytest.param(0, "why", None, "incomplete", "list may be incomplete: why", id="partial and empty"),
        pytest.param(
            0, "", None, "empty", "returned no models; if that is normal, set `may_be_empty: true`", id="empty"
        ),
        pytest.param(
            0,
            "",
            Shrinkage(4, 0, 1.0),
            "empty",
            "list shrank from 4 to 0 models; keeping the old list until confirmed",
            id="became empty",
        ),
        pytest.param(
            2,
            "",
            Shrinkage(9, 2, 1.0),
            "incomplete",
            "list shrank from 9 to 2 models; keeping the old list until confirmed",
            id="shrunk",
        ),
    ],
)
def test_fresh_list_is_ok_unless_it_may_lack_models(
    received: int, partial: str, shrinkage: Shrinkage | None, state: ListState, reason: str | None
) -> None:
    entries = tuple(entry(f"m{i}") for i in range(received))
    listing = Listing(entries, FetchResult((), partial=partial), 1.0, 50.0, shrinkage=shrinkage)
    error = shortcoming(PROVIDER, listing)

    assert (list_state(PROVIDER, listing, 60.0), error and error.reason) == (state, reason)
    assert list_state(PROVIDER, listing, 150.0) == "stale"


def test_empty_list_is_ok_where_it_may_be_empty() -> None:
    provider = PROVIDER.model_copy(update={"may_be_empty": True})

    assert list_state(provider, Listing((), FetchResult(()), 1.0, 50.0), 60.0) == "ok"

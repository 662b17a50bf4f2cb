"""Replicas that fetch the same provider at different times show the same entries in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.catalog import per_provider
from proxy.cooperative import run_now
from proxy.store.slot import Slot
from tests.fakes import answer_of, config_of, middle

CONFIG = config_of('providers: [{name: a, base_url: "http://127.0.0.1/v1", ttl: 100s}]')
(PROVIDER,) = CONFIG.providers
NOW = 1_800_000_000.0
TIMES: Mapping[str, Callable[[float], int]] = {
    "true": lambda at: 1_700_000_000,
    "of the request": lambda at: int(NOW + at),
    "of its last restart": lambda at: int(NOW + at - at % 1700),
    "in the future": lambda at: 4_081_050_336,
    "unknown": lambda at: 0,
}
END = 10_000.0
GAPS = st.lists(st.floats(1, 900), min_size=1, max_size=20)


def slot() -> Slot:
    return Slot(PROVIDER, per_provider(PROVIDER, CONFIG), middle)


def fetch(replica: Slot, kinds: Mapping[str, str], at: float) -> None:
    """Let a replica fetch the list at this time. `kinds`: id -> which creation time the provider reports."""
    result = answer_of(*({"id": own_id, "created": TIMES[kind](at)} for own_id, kind in kinds.items()))
    replica.accept(run_now(replica.derive(result, fetched_at=NOW + at, now=at)))


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(sorted(TIMES))),
    one=GAPS,
    other=GAPS,
    restarted=st.floats(0, END),
    restarts_last=st.booleans(),
)
def test_replicas_agree_after_ten_minutes_without_a_restart_of_the_provider(
    kinds: Mapping[str, str], one: list[float], other: list[float], restarted: float, restarts_last: bool
) -> None:
    first, second, at = slot(), slot(), 0.0
    for gap in one:
        fetch(first, kinds, at := at + gap)
    at = 0.0
    for gap in other:
        if at < restarted <= at + gap:
            second = slot()
        fetch(second, kinds, at := at + gap)
    settled = max(END, sum(one), sum(other)) // 1700 * 1700 + 1700  # the provider has just restarted
    for seconds in (0.0, 300.0, 600.0):
        fetch(first, kinds, settled + seconds)
    for seconds in (1.0, 450.0, 601.0):
        second = slot() if restarts_last else second
        fetch(second, kinds, settled + seconds)

    assert first.listing is not None
    assert second.listing is not None
    assert first.listing.entries == second.listing.entries

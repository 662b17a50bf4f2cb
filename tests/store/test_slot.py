"""Decisions after each refresh: retries, backoff, the circuit breaker, shrinking lists, unchanged lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.errors import UpstreamError
from proxy.store import Store
from tests.fakes import FakeClock, FakeFetch, answer_of, run_pending_tasks, running
from tests.store.stores import ALL, ONE, listed, report, store_of

pytestmark = pytest.mark.anyio


async def test_failed_refreshes_are_retried_with_exponential_backoff_up_to_ttl(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    pauses = []
    async with running(store_of(ONE, fetch, clock)) as store:
        for _ in range(7):
            pauses.append(report(store, "a").next_attempt_in)
            await clock.advance(pauses[-1] or 0)
        assert fetch.requests["a"] == 8
    # ttl is 100 s; from the fifth failure on the open circuit breaker requires at least 30, 60, 90 s.
    assert pauses == [5, 10, 20, 40, 80, 100, 100]


async def test_breaker_opens_after_five_failures_and_closes_with_the_first_success(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    async with running(store_of(ONE.replace("ttl: 100s", "ttl: 10s"), fetch, clock)) as store:
        assert report(store, "a").breaker == "ok"
        await clock.advance(5 + 10 + 10 + 10)
        assert (report(store, "a").breaker, report(store, "a").failures) == ("open", 5)
        assert report(store, "a").next_attempt_in == 30
        await clock.advance(30)
        assert report(store, "a").next_attempt_in == 60
        assert fetch.retries["a"] == [2, 2, 2, 2, 2, 0], "an open breaker lets one attempt through"
        fetch.lists("a", "m")
        await clock.advance(60)
        assert (report(store, "a").breaker, listed(store)) == ("ok", ["m"])


async def test_breaker_is_half_open_while_its_probe_is_in_progress(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with running(store_of(ONE.replace("ttl: 100s", "ttl: 10s"), fetch, clock)) as store:
        await clock.advance(5 + 10 + 10 + 10)
        fetch.hangs("a")
        await clock.advance(30)
        assert report(store, "a").breaker == "half_open"


async def test_provider_is_not_fetched_before_its_retry_after(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a", UpstreamError("rate_limited", "rate limit exceeded (429)", retryable=True, retry_after=3600))
    async with running(store_of(ONE, fetch, clock)):
        await clock.advance(3599)
        assert fetch.requests["a"] == 1
        await clock.advance(1)
        assert fetch.requests["a"] == 2


@pytest.mark.parametrize(
    ("after", "state"),
    [pytest.param(0, "empty", id="to nothing"), pytest.param(4, "incomplete", id="to less than half")],
)
async def test_models_stay_until_a_shrunk_list_was_repeated_for_confirm_empty(
    after: int, state: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{i}" for i in range(10)))
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", *(f"m{i}" for i in range(after)))
        await clock.advance(90)
        assert (len(listed(store)), report(store, "a").state) == (10, state)
        assert report(store, "a").error is not None
        await clock.advance(599.9)
        assert len(listed(store)) == 10
        await clock.advance(30)
        assert len(listed(store)) == after
        assert report(store, "a").state == ("ok" if after else "empty")


async def test_shrunk_list_is_fetched_again_after_5_10_20_and_then_every_30_seconds(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    pauses = []
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a")
        await clock.advance(90)
        for _ in range(5):
            pauses.append(report(store, "a").next_attempt_in)
            await clock.advance(pauses[-1] or 0)
        assert (report(store, "a").breaker, report(store, "a").failures) == ("ok", 0)
    assert pauses == [5, 10, 20, 30, 30]


async def test_empty_list_at_start_is_shown_at_once_and_fetched_again_soon(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        assert (report(store, "a").state, report(store, "a").next_attempt_in) == ("empty", 5)
        assert (store.warmed_up, store.has_any_list, listed(store)) == (True, True, [])
        await clock.advance(1000)
        assert report(store, "a").next_attempt_in is not None
        fetch.lists("a", "m")
        await clock.advance(30)
        assert (report(store, "a").state, listed(store)) == ("ok", ["m"])


async def test_list_that_may_be_empty_is_ok_and_refreshed_at_the_regular_interval(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE.replace('/a/v1"}', '/a/v1", may_be_empty: true}'), fetch, clock)) as store:
        fetch.lists("a")
        await clock.advance(90)
        assert (report(store, "a").state, listed(store), report(store, "a").next_attempt_in) == ("ok", [], 90)


async def test_confirmation_starts_again_when_the_old_list_returns(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x", "y")
    async with running(store_of(ONE, fetch, clock)) as store:
        for _ in range(3):
            fetch.lists("a")
            await clock.advance(400)
            fetch.lists("a", "x", "y", "z")
            await clock.advance(30)
            assert (report(store, "a").state, listed(store)) == ("ok", ["x", "y", "z"])


async def test_failed_refreshes_do_not_confirm_an_empty_list(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE.replace("1000s", "10000s"), fetch, clock)) as store:
        fetch.lists("a")
        await clock.advance(500)
        fetch.fails("a")
        await clock.advance(30)
        fetch.lists("a")
        await clock.advance(500)
        assert listed(store) == ["m"]


async def test_max_stale_ends_before_confirm_empty(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    text = ONE.replace("initial_wait", "confirm_empty: 1d, initial_wait")
    async with running(store_of(text, fetch, clock)) as store:
        fetch.lists("a")
        await clock.advance(999.9)
        assert listed(store) == ["m"]
        await clock.advance(0.1)
        assert (listed(store), report(store, "a").state) == ([], "empty")


async def test_incomplete_list_is_merged_into_the_last_one(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "x", "tier": "old"}, "y")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.answers("a", replace(answer_of({"id": "x", "tier": "new"}, "z"), partial="`truncated` is true"))
        await clock.advance(90)
        assert listed(store) == ["x", "y", "z"]
        assert store.offers("a")[0].entry.extra == b'{"tier":"new"}'
        assert (report(store, "a").state, report(store, "a").next_attempt_in) == ("incomplete", 5)
        assert (b"x-models-incomplete", b"a") in store.view(ALL).status.headers
        assert store.view(ALL).status.oldest == clock.monotonic() - 90, "the time at which y was last seen"
        await clock.advance(909.9)
        assert listed(store) == ["x", "y", "z"]
        await clock.advance(0.1)
        assert listed(store) == ["x", "z"], "y was not seen for max_stale"


async def test_whole_list_after_an_incomplete_one_replaces_it_at_once(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.answers("a", replace(answer_of("x", "y"), partial="why"))
    async with running(store_of(ONE, fetch, clock)) as store:
        assert (report(store, "a").state, listed(store)) == ("incomplete", ["x", "y"])
        fetch.lists("a", "x")
        await clock.advance(5)
        assert (report(store, "a").state, listed(store)) == ("ok", ["x"])
        assert report(store, "a").error is None


async def test_list_that_stays_incomplete_is_refreshed_at_the_regular_interval_eventually(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.answers("a", replace(answer_of("x"), partial="why"))
    pauses = []
    async with running(store_of(ONE, fetch, clock)) as store:
        for _ in range(7):
            pauses.append(report(store, "a").next_attempt_in)
            await clock.advance(pauses[-1] or 0)
    assert pauses == [5, 10, 20, 40, 80, 90, 90]


async def test_creation_time_that_changes_is_0_until_repeated_for_ten_minutes(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", {"id": "m", "created": 1_700_000_000}, {"id": "n", "created": 1_700_000_000})
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", {"id": "m", "created": 1_700_000_001}, {"id": "n", "created": 1_700_000_000})
        await clock.advance(90)
        assert created(store) == {"m": 0, "n": 1_700_000_000}
        await clock.advance(540)
        assert created(store) == {"m": 0, "n": 1_700_000_000}
        await clock.advance(90)
        assert created(store) == {"m": 1_700_000_001, "n": 1_700_000_000}


async def test_time_of_the_provider_decides_what_is_recent(fetch: FakeFetch, clock: FakeClock) -> None:
    answer = answer_of({"id": "m", "created": 1_700_000_000})
    fetch.answers("a", replace(answer, answered_at=1_700_000_599.0))
    async with running(store_of(ONE, fetch, clock)) as store:
        assert created(store) == {"m": 0}
        fetch.answers("a", replace(answer, answered_at=1_700_000_600.0))
        await clock.advance(90)
        assert created(store) == {"m": 1_700_000_000}


def created(store: Store) -> dict[str, int]:
    return {model.id: model.created for model in store.view(ALL).catalog.models}


async def test_retries_use_a_token_bucket_that_successes_refill(fetch: FakeFetch, clock: FakeClock) -> None:
    error = UpstreamError("status", "status 500", retryable=True)
    error.attempts = 3
    fetch.fails("a", error)
    async with running(store_of(ONE, fetch, clock)):
        await clock.advance(5 + 10 + 20)
        assert fetch.retries["a"] == [2, 2, 2, 2]
        await clock.advance(40)
        fetch.lists("a", "m")
        await clock.advance(80 + 90 * 12)
    # 10 tokens allow five fetches with two retries each; then each success adds a tenth of a token.
    assert fetch.retries["a"][:16] == [2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert fetch.retries["a"][16] == 1


async def test_provider_that_responds_within_its_timeout_is_never_stale(fetch: FakeFetch, clock: FakeClock) -> None:
    slow = ONE.replace("initial_wait: 4s}", "initial_wait: 4s}\ndefaults: {timeout: 30s}")
    fetch.lists("a", "m")
    async with running(store_of(slow, fetch, clock)) as store:
        for _ in range(3):
            answer = fetch.hangs("a")
            await clock.advance(70)
            await clock.advance(29.9)
            assert report(store, "a").state == "ok"
            answer.set_result(answer_of("m"))
            await run_pending_tasks()


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param("exclude: ['n*']", id="some are excluded"),
        pytest.param("aliases: {one: m, two: m}", id="one has two names"),
        pytest.param("extra_fields: [tier]", id="fields are removed"),
        pytest.param("models: [{id: m}]", id="one is declared, too"),
    ],
)
async def test_unchanged_list_does_not_run_the_rules(rules: str, fetch: FakeFetch, clock: FakeClock) -> None:
    answer = ({"id": "m", "tier": "x", "by": "y"}, {"id": "n"}, {"id": "m"})
    fetch.lists("a", *answer)
    async with running(store_of(ONE.replace('/a/v1"}', f'/a/v1", {rules}}}'), fetch, clock)) as store:
        before = store.offers("a")
        fetch.lists("a", *answer)
        await clock.advance(90)
        assert fetch.requests["a"] == 2
        assert store.offers("a") is before


async def test_shrinking_is_measured_before_include_and_exclude(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", *(f"n{i}" for i in range(9)))
    async with running(store_of(ONE.replace('/a/v1"}', '/a/v1", include: [m]}'), fetch, clock)) as store:
        fetch.lists("a", "m")
        await clock.advance(90)
        error = report(store, "a").error
        assert error is not None
        assert error.reason == "list shrank from 10 to 1 models; keeping the old list until confirmed"


async def test_a_model_disappears_at_the_first_refresh_after_its_shutdown(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", {"id": "old", "shutdown_date": clock.time() + 120})
    config = ONE.replace('a/v1"', 'a/v1", hide_retired: true')
    async with running(store_of(config, fetch, clock)) as store:
        await clock.advance(119)
        assert listed(store) == ["m", "old"]
        await clock.advance(90)
        assert (listed(store), report(store, "a").models) == (["m"], 1)

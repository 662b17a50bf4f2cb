"""Decisions after each refresh: retries, backoff, the circuit breaker, shrinking lists, unchanged lists."""

from __future__ import annotations

import pytest

from proxy.errors import UpstreamError
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
        assert fetch.asked["a"] == 8
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
        assert fetch.asked["a"] == 1
        await clock.advance(1)
        assert fetch.asked["a"] == 2


@pytest.mark.parametrize(
    ("before", "after", "believed"),
    [
        pytest.param(2, 0, False, id="to nothing"),
        pytest.param(10, 4, False, id="by more than half"),
        pytest.param(10, 5, True, id="by half"),
        pytest.param(5, 1, True, id="from no more than five"),
        pytest.param(3, 9, True, id="grown"),
    ],
)
async def test_list_that_shrinks_too_much_must_be_confirmed(
    before: int, after: int, believed: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{i}" for i in range(before)))
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", *(f"m{i}" for i in range(after)))
        await clock.advance(90)
        assert len(listed(store)) == (after if believed else before)
        assert (report(store, "a").error is None) is believed
        await clock.advance(5)
        assert len(listed(store)) == after, "the second answer confirms it"
        assert report(store, "a").error is None


async def test_unconfirmed_list_is_discarded_when_the_old_list_returns(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x", "y")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a")
        await clock.advance(90)
        fetch.lists("a", "x", "y", "z")
        await clock.advance(5)
        assert listed(store) == ["x", "y", "z"]
        fetch.lists("a")
        await clock.advance(90)
        assert listed(store) == ["x", "y", "z"], "one doubt does not carry over"


async def test_creation_time_keeps_its_first_value(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists(
        "a", {"id": "now", "created": 1_799_999_000}, {"id": "unknown"}, {"id": "true", "created": 1_700_000_000}
    )
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists(
            "a",
            {"id": "now", "created": 1_799_999_090},
            {"id": "unknown", "created": 1_690_000_000},
            {"id": "true", "created": 1_700_000_000},
        )
        await clock.advance(90)
        created = {model.id: model.created for model in store.view(ALL).catalog.models}
        assert created == {"now": 1_799_999_000, "true": 1_700_000_000, "unknown": 1_690_000_000}


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


async def test_second_list_confirms_only_a_list_of_similar_length(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{i}" for i in range(100)))
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", *(f"m{i}" for i in range(40)))
        await clock.advance(90)
        fetch.lists("a")
        await clock.advance(5)
        assert len(listed(store)) == 100, "40 and then nothing confirm neither"
        await clock.advance(10)
        assert listed(store) == [], "nothing twice is nothing"


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
        assert fetch.asked["a"] == 2
        assert store.offers("a") is before


async def test_shrinking_is_measured_before_include_and_exclude(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", *(f"n{i}" for i in range(9)))
    async with running(store_of(ONE.replace('/a/v1"}', '/a/v1", include: [m]}'), fetch, clock)) as store:
        fetch.lists("a", "m")
        await clock.advance(90)
        error = report(store, "a").error
        assert error is not None
        assert error.reason == "list shrank from 10 to 1 models; keeping the old list until confirmed"

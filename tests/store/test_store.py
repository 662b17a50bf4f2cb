"""Freshness, last good answers, initial wait, single flight, shrink guard, breaker: on a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from proxy.access import Policy
from proxy.errors import UpstreamError
from proxy.store import Report, Store
from tests.fakes import FakeClock, FakeFetch, answer_of, breathe, config_of, middle, running

pytestmark = pytest.mark.anyio

ALL = Policy(["*"])

TWO = """
cache: {ttl: 100s, max_stale: 1000s, initial_wait: 4s}
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1"}
  - {name: b, base_url: "http://127.0.0.1/b/v1"}
"""
ONE = TWO.replace('  - {name: b, base_url: "http://127.0.0.1/b/v1"}\n', "")


def store_of(text: str, fetch: FakeFetch, clock: FakeClock, told: list[Report] | None = None) -> Store:
    return Store(
        config_of(text), fetch, clock, uniform=middle, on_report=told.append if told is not None else lambda _: None
    )


def listed(store: Store, policy: Policy = ALL) -> list[str]:
    return [model.id for model in store.view(policy).catalog.models]


def report(store: Store, name: str) -> Report:
    return next(report for report in store.reports() if report.name == name)


async def test_all_providers_are_asked_at_once_at_start(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert fetch.asked == {"a": 1, "b": 1}
        assert listed(store) == ["m"]


async def test_requests_wait_for_a_provider_never_heard_from_until_initial_wait_is_over(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        waiting = asyncio.create_task(store.wait_until_warmed_up())
        await clock.advance(3.9)
        assert not waiting.done()
        await clock.advance(0.1)
        assert waiting.done()
        assert store.warmed_up


async def test_nobody_waits_any_more_once_all_have_answered_or_failed(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert store.warmed_up


async def test_a_provider_that_answers_after_initial_wait_is_listed_from_then_on(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    late = fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        await clock.advance(60)
        assert listed(store) == ["m"]
        late.set_result(answer_of("late"))
        await breathe()
        assert listed(store) == ["late", "m"]
        assert fetch.asked["a"] == 1


async def test_a_fresh_listing_is_asked_again_shortly_before_it_ends_traffic_or_not(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        await clock.advance(89)
        assert fetch.asked["a"] == 1
        await clock.advance(1)
        assert fetch.asked["a"] == 2
        assert report(store, "a").status == "ok"


async def test_a_failure_keeps_the_models_and_says_so_when_they_are_old(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(95)
        assert (report(store, "a").status, listed(store)) == ("ok", ["m"])
        await clock.advance(5)
        assert (report(store, "a").status, listed(store)) == ("stale", ["m"])
        assert (b"x-models-stale", b"a") in store.view(ALL).headers


async def test_after_max_stale_the_models_go_and_the_provider_is_down(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "n")
    async with running(store_of(TWO, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(999.9)
        assert listed(store) == ["m", "n"]
        await clock.advance(0.1)
        assert listed(store) == ["n"]
        assert report(store, "a").status == "down"
        assert (b"x-models-missing", b"a") in store.view(ALL).headers


async def test_failures_are_tried_again_in_5_10_20_seconds_and_so_on_up_to_ttl(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    pauses = []
    async with running(store_of(ONE, fetch, clock)) as store:
        for _ in range(7):
            pauses.append(report(store, "a").next_try_in)
            await clock.advance(pauses[-1] or 0)
        assert fetch.asked["a"] == 8
    # ttl is 100 s; from the fifth failure on the breaker asks for 30, 60, 90 s at least.
    assert pauses == [5, 10, 20, 40, 80, 100, 100]


async def test_a_breaker_opens_after_five_failures_and_closes_with_the_first_success(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    async with running(store_of(ONE.replace("ttl: 100s", "ttl: 10s"), fetch, clock)) as store:
        assert report(store, "a").breaker == "closed"
        await clock.advance(5 + 10 + 10 + 10)
        assert (report(store, "a").breaker, report(store, "a").failures) == ("open", 5)
        assert report(store, "a").next_try_in == 30
        await clock.advance(30)
        assert report(store, "a").next_try_in == 60
        assert fetch.retries["a"] == [2, 2, 2, 2, 2, 0], "an open breaker lets one attempt through"
        fetch.lists("a", "m")
        await clock.advance(60)
        assert (report(store, "a").breaker, listed(store)) == ("closed", ["m"])


async def test_a_breaker_is_half_open_while_its_probe_is_under_way(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with running(store_of(ONE.replace("ttl: 100s", "ttl: 10s"), fetch, clock)) as store:
        await clock.advance(5 + 10 + 10 + 10)
        fetch.hangs("a")
        await clock.advance(30)
        assert report(store, "a").breaker == "half-open"


async def test_a_provider_that_names_a_time_is_not_asked_before_it(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a", UpstreamError("rate_limited", "status 429", retryable=True, retry_after=3600))
    async with running(store_of(ONE, fetch, clock)):
        await clock.advance(3599)
        assert fetch.asked["a"] == 1
        await clock.advance(1)
        assert fetch.asked["a"] == 2


async def test_one_question_is_under_way_at_a_time_and_no_leaving_ends_it(fetch: FakeFetch, clock: FakeClock) -> None:
    answer = fetch.hangs("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        waiting = [asyncio.create_task(store.wait_until_warmed_up()) for _ in range(1000)]
        await breathe()
        for task in waiting[::2]:
            task.cancel()
        answer.set_result(answer_of("m"))
        await asyncio.gather(*waiting, return_exceptions=True)
        assert fetch.asked["a"] == 1
        assert listed(store) == ["m"]


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
async def test_a_list_that_shrinks_too_much_must_be_confirmed(
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


async def test_an_unconfirmed_list_is_forgotten_when_the_old_one_comes_back(fetch: FakeFetch, clock: FakeClock) -> None:
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


async def test_a_creation_time_that_changes_is_kept_as_it_was_seen_first(fetch: FakeFetch, clock: FakeClock) -> None:
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


async def test_the_version_rises_only_with_a_change_and_equal_answers_keep_the_bytes(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        version, made = store.version, store.view(ALL).made
        await clock.advance(90)
        assert fetch.asked["a"] == 2
        assert (store.version, store.view(ALL).made) == (version, made)
        fetch.lists("a", "m", "n")
        await clock.advance(90)
        assert store.version == version + 1
        assert listed(store) == ["m", "n"]


async def test_a_view_is_made_once_for_each_policy_and_kept(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with running(store_of(ONE, fetch, clock)) as store:
        only_m = Policy(["m"])
        assert store.view(ALL) is store.view(ALL)
        assert listed(store, only_m) == ["m"]
        assert store.view(only_m) is store.view(only_m)


async def test_declared_models_never_expire_and_stand_while_their_provider_is_away(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    text = ONE.replace('/a/v1"}', '/a/v1", models: [{id: kept, context_length: 1}]}')
    fetch.lists("a", "m", {"id": "kept", "context_length": 2})
    async with running(store_of(text, fetch, clock)) as store:
        before = store.view(ALL).catalog.find("kept")
        assert listed(store) == ["kept", "m"]
        fetch.fails("a")
        await clock.advance(1100)
        assert listed(store) == ["kept"]
        assert store.view(ALL).catalog.find("kept") == before, "the same entry, whether the provider is there or not"
        assert store.knows_something


async def test_nothing_is_known_until_the_first_provider_answers(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        assert not store.knows_something
        assert store.seconds_to_next_try() == 5
        fetch.lists("a")
        await clock.advance(5)
        assert store.knows_something, "an empty list is an answer"


async def test_a_bug_in_a_reader_is_that_providers_failure_and_is_logged_without_its_text(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fetch.fails("a", RuntimeError("sk-canary-in-a-bug"))
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert listed(store) == ["m"]
        error = report(store, "a").error
        assert error is not None
        assert (error.kind, error.reason) == ("bug", "its answer met a bug of ours (RuntimeError)")
    assert "fakes.py" in caplog.text
    assert "canary" not in caplog.text


async def test_retries_are_spent_from_a_bucket_and_earned_by_successes(fetch: FakeFetch, clock: FakeClock) -> None:
    error = UpstreamError("status", "status 500", retryable=True)
    error.attempts = 3
    fetch.fails("a", error)
    async with running(store_of(ONE, fetch, clock)):
        await clock.advance(5 + 10 + 20)
        assert fetch.retries["a"] == [2, 2, 2, 2]
        await clock.advance(40)
        fetch.lists("a", "m")
        await clock.advance(80 + 90 * 12)
    # 10 tokens pay for five questions of two retries; then each success earns a tenth of one.
    assert fetch.retries["a"][:16] == [2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert fetch.retries["a"][16] == 1


async def test_whoever_listens_is_told_of_every_answer_and_failure(fetch: FakeFetch, clock: FakeClock) -> None:
    told: list[Report] = []
    fetch.lists("a", "m", "n")
    fetch.fails("b")
    async with running(store_of(TWO, fetch, clock, told)):
        assert {(r.name, r.models, r.error and r.error.kind) for r in told} == {("a", 2, None), ("b", 0, "refused")}


async def test_a_provider_that_expired_and_comes_back_with_the_same_list_is_listed_again(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(1001)
        assert listed(store) == []
        fetch.lists("a", "m")
        await clock.advance(300)
        assert listed(store) == ["m"]


async def test_models_go_after_max_stale_even_if_nobody_looked_for_a_long_time(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(1200)
        assert listed(store) == []
        assert not store.knows_something


async def test_a_listener_that_fails_does_not_end_the_asking(fetch: FakeFetch, clock: FakeClock) -> None:
    def fail(report: Report) -> None:
        raise OSError("the terminal is gone")

    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    fetch.lists("a", "m")
    async with running(Store(config_of(ONE), fetch, clock, uniform=middle, on_report=fail)) as store:
        await clock.advance(90)
        assert fetch.asked["a"] == 2
        assert listed(store) == ["m"]
    assert [str(problem["exception"]) for problem in problems] == ["the terminal is gone"] * 2


async def test_a_second_answer_confirms_only_what_it_says_itself(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{i}" for i in range(100)))
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", *(f"m{i}" for i in range(40)))
        await clock.advance(90)
        fetch.lists("a")
        await clock.advance(5)
        assert len(listed(store)) == 100, "40 and then nothing confirm neither"
        await clock.advance(10)
        assert listed(store) == [], "nothing twice is nothing"


async def test_a_provider_that_answers_within_its_timeout_is_never_stale(fetch: FakeFetch, clock: FakeClock) -> None:
    slow = ONE.replace("initial_wait: 4s}", "initial_wait: 4s}\ndefaults: {timeout: 30s}")
    fetch.lists("a", "m")
    async with running(store_of(slow, fetch, clock)) as store:
        for _ in range(3):
            answer = fetch.hangs("a")
            await clock.advance(70)
            await clock.advance(29.9)
            assert report(store, "a").status == "ok"
            answer.set_result(answer_of("m"))
            await breathe()


async def test_a_view_is_prepared_once_for_all_who_wait_and_nobody_s_leaving_ends_it(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{n:03}" for n in range(200)))
    async with running(store_of(ONE, fetch, clock)) as store:
        assert store.cached_view(ALL) is None
        leaving, staying = asyncio.create_task(store.prepare(ALL)), asyncio.create_task(store.prepare(ALL))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

        assert leaving.cancelled()
        assert listed(store) == [f"m{n:03}" for n in range(200)]
        assert store.cached_view(ALL) is store.view(ALL)


async def test_a_view_that_was_overtaken_by_a_change_is_prepared_again(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{n:04}" for n in range(4000)))
    async with running(store_of(ONE, fetch, clock)) as store:
        await store.prepare(ALL)
        before = store.version
        fetch.lists("a", *(f"n{n:04}" for n in range(4000)))
        await clock.advance(100)
        preparing = asyncio.create_task(store.prepare(ALL))
        fetch.lists("a", *(f"o{n:04}" for n in range(4000)))
        await clock.advance(100)
        await preparing

        assert store.version == before + 2
        assert listed(store) == [f"o{n:04}" for n in range(4000)]


async def test_views_are_kept_within_a_bound(fetch: FakeFetch, clock: FakeClock) -> None:
    text = "x" * 400_000
    fetch.lists("a", *({"id": f"m{i}", "text": text} for i in range(100)))
    async with running(store_of(ONE, fetch, clock)) as store:
        policies = [Policy(["*", f"!n{i}"]) for i in range(12)]  # 50 MB for each list
        first = store.view(policies[0])
        for policy in policies:
            store.view(policy)
        kept = [policy for policy in policies if store.cached_view(policy) is not None]
        assert kept == policies[-5:]
        assert store.view(policies[0]) is not first
        assert store.view(policies[0]).made.etags == first.made.etags


@pytest.mark.parametrize("year", [pytest.param(0.0, id="back"), pytest.param(4_000_000_000.0, id="forward")])
async def test_a_wall_clock_that_is_set_changes_no_age(year: float, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        clock.set_time(year)
        await clock.advance(99.5)
        assert (report(store, "a").status, report(store, "a").age) == ("ok", 99.5)
        assert report(store, "a").fetched_at == 1_800_000_000.0
        await clock.advance(0.5)
        assert (report(store, "a").status, listed(store)) == ("stale", ["m"])
        await clock.advance(900)
        assert (report(store, "a").status, listed(store)) == ("down", [])


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param("exclude: ['n*']", id="some are excluded"),
        pytest.param("aliases: {one: m, two: m}", id="one has two names"),
        pytest.param("extra_fields: [tier]", id="fields are left out"),
        pytest.param("models: [{id: m}]", id="one is declared, too"),
    ],
)
async def test_an_unchanged_answer_is_not_run_through_the_rules(rules: str, fetch: FakeFetch, clock: FakeClock) -> None:
    answer = ({"id": "m", "tier": "x", "by": "y"}, {"id": "n"}, {"id": "m"})
    fetch.lists("a", *answer)
    async with running(store_of(ONE.replace('/a/v1"}', f'/a/v1", {rules}}}'), fetch, clock)) as store:
        before = store.offers("a")
        fetch.lists("a", *answer)
        await clock.advance(90)
        assert fetch.asked["a"] == 2
        assert store.offers("a") is before


async def test_a_list_shrinks_by_what_the_provider_lists_not_by_what_is_shown(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m", *(f"n{i}" for i in range(9)))
    async with running(store_of(ONE.replace('/a/v1"}', '/a/v1", include: [m]}'), fetch, clock)) as store:
        fetch.lists("a", "m")
        await clock.advance(90)
        error = report(store, "a").error
        assert error is not None
        assert error.reason == "listed 1 models instead of 10; asked again before that is believed"

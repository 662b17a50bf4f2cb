"""The refresh loops: when providers are fetched, how long requests wait, and what is reported."""

from __future__ import annotations

import asyncio

import pytest

from proxy.store import Report, Store
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, middle, run_pending_tasks, running
from tests.store.stores import ONE, TWO, listed, report, store_of

pytestmark = pytest.mark.anyio


async def test_all_providers_are_fetched_concurrently_at_start(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert fetch.requests == {"a": 1, "b": 1}
        assert listed(store) == ["m"]


async def test_requests_wait_for_the_first_list_until_initial_wait_is_over(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        waiting = asyncio.create_task(store.wait_until_warmed_up())
        await clock.advance(3.9)
        assert not waiting.done()
        await clock.advance(0.1)
        assert waiting.done()
        assert store.warmed_up


async def test_requests_do_not_wait_once_all_providers_responded_or_failed(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert store.warmed_up


async def test_provider_that_responds_after_initial_wait_is_listed_from_then_on(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    late = fetch.hangs("a")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        await clock.advance(60)
        assert listed(store) == ["m"]
        late.set_result(answer_of("late"))
        await run_pending_tasks()
        assert listed(store) == ["late", "m"]
        assert fetch.requests["a"] == 1


async def test_listing_is_refreshed_shortly_before_its_ttl_expires_without_requests(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        await clock.advance(89)
        assert fetch.requests["a"] == 1
        await clock.advance(1)
        assert fetch.requests["a"] == 2
        assert report(store, "a").state == "ok"


async def test_only_one_refresh_runs_and_a_cancelled_waiter_does_not_cancel_it(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    answer = fetch.hangs("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        waiting = [asyncio.create_task(store.wait_until_warmed_up()) for _ in range(1000)]
        await run_pending_tasks()
        for task in waiting[::2]:
            task.cancel()
        answer.set_result(answer_of("m"))
        await asyncio.gather(*waiting, return_exceptions=True)
        assert fetch.requests["a"] == 1
        assert listed(store) == ["m"]


async def test_bug_in_a_parser_fails_only_that_provider_and_is_logged_without_its_text(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fetch.fails("a", RuntimeError("sk-canary-in-a-bug"))
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)) as store:
        assert listed(store) == ["m"]
        error = report(store, "a").error
        assert error is not None
        assert (error.kind, error.reason) == (
            "internal_error",
            "internal error while processing its response (RuntimeError)",
        )
    assert "fakes.py" in caplog.text
    assert "canary" not in caplog.text


async def test_every_refresh_is_reported(fetch: FakeFetch, clock: FakeClock) -> None:
    reports: list[Report] = []
    fetch.lists("a", "m", "n")
    fetch.fails("b")
    async with running(store_of(TWO, fetch, clock, reports)):
        outcomes = {(r.name, r.models, r.error and r.error.kind) for r in reports}
        assert outcomes == {("a", 2, None), ("b", 0, "connection_refused")}


async def test_report_callback_that_raises_does_not_stop_refreshes(fetch: FakeFetch, clock: FakeClock) -> None:
    def fail(report: Report) -> None:
        raise OSError("the terminal is gone")

    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    fetch.lists("a", "m")
    async with running(Store(config_of(ONE), fetch, clock, uniform=middle, on_report=fail)) as store:
        await clock.advance(90)
        assert fetch.requests["a"] == 2
        assert listed(store) == ["m"]
    assert [str(problem["exception"]) for problem in problems] == ["the terminal is gone"] * 2

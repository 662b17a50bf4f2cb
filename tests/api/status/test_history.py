"""`/status/changes`: what has changed, by day."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.api.status.html import Element, parsed
from tests.api.status.scenes import CONFIG, page_of
from tests.fakes import FakeClock, FakeFetch, config_of, run_pending_tasks, started

pytestmark = pytest.mark.anyio

MIDNIGHT = datetime(2027, 1, 16, tzinfo=UTC).timestamp()


async def changes_after_a_day(fetch: FakeFetch, query: str, text: str = CONFIG) -> Element:
    """`new` was added an hour before midnight and `newest` an hour after it."""
    clock = FakeClock(time=MIDNIGHT - 2 * 3600)
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with started(config_of(text), fetch, clock) as app:
        clock.set_time(clock.time() + 3600)
        fetch.lists("b", "m", "new")
        await app.refresh(["b"], 5, accept=False)
        await run_pending_tasks()
        clock.set_time(clock.time() + 7200)
        fetch.lists("b", "m", "new", {"id": "newest", "description": "<b>"})
        await app.refresh(["b"], 5, accept=False)
        fetch.lists("a", "m", "other")
        await app.refresh(["a"], 5, accept=False)
        await run_pending_tasks()
        return parsed((await page_of(app, f"/status/changes{query}")).body)


def models_in(page: Element) -> list[str]:
    return [row[3] for row in page.one("table").rows()] if page.all("table") else []


@pytest.mark.parametrize(
    ("query", "models"),
    [
        ("", ["other", "newest", "new"]),
        ("?day=today", ["other", "newest"]),
        ("?day=yesterday", ["new"]),
        ("?day=2027-01-15", ["new"]),
        ("?day=2027-01-14", []),
        ("?day=nonsense", ["other", "newest", "new"]),
        ("?day=today&provider=a", ["other"]),
        ("?type=model_removed", []),
        ("?day=&type=model_added&provider=b", ["newest", "new"]),
    ],
)
async def test_changes_are_filtered_by_day_type_and_provider(query: str, models: list[str], fetch: FakeFetch) -> None:
    page = await changes_after_a_day(fetch, query)

    assert models_in(page) == models
    days = page.one("select", id="day").all("option")
    assert [option.text for option in days] == ["all days", "Today (2)", "Yesterday (1)"]


async def test_days_begin_at_midnight_in_the_time_zone_of_the_server(fetch: FakeFetch) -> None:
    berlin = f"server: {{timezone: Europe/Berlin}}\n{CONFIG}"
    page = await changes_after_a_day(fetch, "?day=today", berlin)

    assert models_in(page) == ["other", "newest", "new"]  # an hour before midnight in UTC is 00:00 there
    assert page.one("table").rows()[2][0] == "2027-01-16 00:00:00"


async def test_a_day_before_the_feed_began_is_not_said_to_be_quiet(fetch: FakeFetch) -> None:
    yesterday = await changes_after_a_day(fetch, "?day=yesterday")
    today = await changes_after_a_day(fetch, "?day=today")

    assert "Recorded since 2027-01-15 22:00:00 only." in yesterday.text
    assert "Recorded since" not in today.text

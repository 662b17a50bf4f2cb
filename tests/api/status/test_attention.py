"""What needs attention, at the top of `/status`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from proxy.api.status.attention import Impact, attention
from proxy.cooperative import run_now
from proxy.states import Calls, OpenCircuit
from proxy.telemetry.changes import Change, Feed
from proxy.telemetry.usage_query import Answer, Query, TooManyTotals
from tests.api.status.html import Element, faults
from tests.api.status.scenes import CONFIG, call, failing, overview_of
from tests.fakes import FakeClock, FakeFetch, config_of, started

pytestmark = pytest.mark.anyio


def facts_of(issue: Element) -> dict[str, str]:
    return {row.one("dt").text: row.one("dd").text for row in issue.one("dl").all("div")}


async def test_what_needs_attention_is_first(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        page = await overview_of(app)

    assert page.all("section")[0].attributes["id"] == "attention"
    (issue,) = page.one("section", id="attention").all("article")
    assert issue.one("h3").text == "b list stale"
    facts = facts_of(issue)
    assert re.fullmatch(
        r"2027-01-15 08:0\d:\d\d \(\d+ s ago\); list last fetched 2027-01-15 08:00:00", facts.pop("Since")
    )
    assert facts == {
        "Reason": "503 Service Unavailable",
        "Affected": "2 models, 1 of them from no other provider: n, m",
        "Used by": "plain (3 calls)",
    }
    assert [link.attributes["href"] for link in issue.all("a")] == [
        "/status/models?provider=b",
        "/status/models/n",
        "/status/models/m",
        "/status/models?as_key=plain",
    ]


@pytest.mark.parametrize(
    ("calls", "heading", "affected"),
    [
        (
            Calls("open"),
            "a calls rejected (circuit breaker open)",
            "2 models, 1 of them from no other provider: secret-1, m",
        ),
        (
            Calls("degraded", open_circuits=[OpenCircuit("m", "plain", "open")]),
            "a calls of some models rejected (circuit breaker open)",
            "1 model; all of them also from other providers: m",
        ),
        (
            Calls("ok", account_rejected=True),
            "a calls rejected (credential or credit)",
            "2 models, 1 of them from no other provider: secret-1, m",
        ),
    ],
)
async def test_calls_that_fail_need_attention(
    calls: Calls, heading: str, affected: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with failing(fetch, clock) as app:
        app.deployment.health._calls = lambda provider: calls if provider == "a" else Calls("ok")
        page = await overview_of(app)

    issue = page.one("section", id="attention").all("article")[0]
    assert (issue.one("h3").text, facts_of(issue)["Affected"]) == (heading, affected)


async def test_failures_below_all_thresholds_are_pointed_out(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        for _ in range(5):
            call(app, outcome="timeout", first_byte=None)
        page = await overview_of(app)

    (others,) = page.one("section", id="attention").all("ul", class_="plain")
    assert [each.text for each in others.all("li")] == [
        "a errors 5 errors, 7 calls in the last 10 minutes",
        "away skipped ABSENT_KEY not set or empty",
    ]


async def test_all_problems_of_a_provider_are_in_one_block(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        for _ in range(5):
            call(app, provider="b", outcome="timeout", first_byte=None)
        app.deployment.health._calls = lambda provider: Calls("open" if provider == "b" else "ok")
        page = await overview_of(app)

    attention = page.one("section", id="attention")
    (issue,) = attention.all("article")
    assert issue.one("h3").text == "b calls rejected (circuit breaker open) list stale"
    facts = facts_of(issue)
    assert re.fullmatch(
        r"2027-01-15 08:0\d:\d\d \(\d+ s ago\); list last fetched 2027-01-15 08:00:00", facts.pop("Since")
    )
    assert facts == {
        "Reason": "calls: circuit breaker open after repeated failures list: 503 Service Unavailable",
        "Affected": "2 models, 1 of them from no other provider: n, m",
        "Used by": "plain (8 calls)",
    }
    assert [each.text for each in attention.one("ul", class_="plain").all("li")] == [
        "away skipped ABSENT_KEY not set or empty"
    ]


async def test_the_worst_problem_is_first_and_providers_are_in_the_same_order(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with failing(fetch, clock) as app:
        states = {"a": Calls("degraded", open_circuits=[OpenCircuit("m", None, "open")]), "b": Calls("open")}
        app.deployment.health._calls = states.__getitem__
        page = await overview_of(app)

    issues = page.one("section", id="attention").all("article")
    assert [issue.one("h3").one("a").text for issue in issues] == ["b", "a"]
    providers = page.one("section", id="providers")
    assert [row[0] for row in providers.one("table").rows()] == ["b openai", "a openai"]
    assert [button.attributes["id"] for button in providers.all("button")] == ["fetch-1", "fetch-0"]


@pytest.mark.parametrize(
    ("states", "title"),
    [
        pytest.param({"b": Calls("open")}, "degraded: 1 model cannot be called", id="m is also at a"),
        pytest.param(
            {"a": Calls("degraded", open_circuits=[OpenCircuit("m", None, "open")]), "b": Calls("open")},
            "degraded: 2 models cannot be called",
            id="nor at a",
        ),
        pytest.param(
            {"a": Calls("degraded", open_circuits=[OpenCircuit("m", "plain", "open")]), "b": Calls("open")},
            "degraded: 1 model cannot be called",
            id="at a by all but one key",
        ),
        pytest.param({"a": Calls("not_callable"), "b": Calls("ok")}, "degraded", id="a supports listing only"),
        pytest.param(
            {"a": Calls("not_callable"), "b": Calls("ok", account_rejected=True)},
            "degraded: 2 models cannot be called",
            id="the account is rejected",
        ),
    ],
)
async def test_models_that_cannot_be_called_are_in_the_title(
    states: Mapping[str, Calls], title: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with failing(fetch, clock) as app:
        app.deployment.health._calls = lambda provider: states.get(provider, Calls("ok"))
        page = await overview_of(app)

    badge = page.one("h1").one("span", class_="badge")
    look = "bad" if "called" in title else "warn"
    assert (badge.text, badge.attributes["class"]) == (title, f"badge {look}")
    assert page.one("head").one("title").text == f"Status: {title.replace(':', ',')} – models-proxy"


async def test_models_of_an_expired_list_cannot_be_called(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        await clock.advance(1100)
        page = await overview_of(app)

    assert page.one("h1").text == "Status degraded: 1 model cannot be called"


async def test_failed_fetches_are_pointed_out_while_the_list_is_current(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(CONFIG), fetch, clock) as app:
        fetch.fails("a")
        await app.refresh(["a"], 5, accept=False)
        page = await overview_of(app)

    (others,) = page.one("section", id="attention").all("ul", class_="plain")
    assert others.all("li")[0].text == "a fetch failed last 1 fetch failed: connection refused"


async def test_many_models_and_callers_are_behind_a_summary(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", *(f"m-{number:03}" for number in range(120)))
    async with started(config_of(CONFIG), fetch, clock) as app:
        fetch.fails("b")
        await clock.advance(130)
        for number in range(25):
            call(app, key=f"key-{number}", model="m-007", provider="b")
        page = await overview_of(app)

    first, second = page.one("section", id="attention").all("details")
    assert (first.one("summary").text, len(first.all("li"))) == ("The first 100", 100)
    assert (second.one("summary").text, len(second.all("li"))) == ("All 25", 25)
    assert page.one("section", id="callers").all("p")[0].text == "and 5 further keys, in status.json"
    assert faults(page) == []


async def test_callers_that_are_too_many_to_add_up_are_not_said_to_be_none(fetch: FakeFetch, clock: FakeClock) -> None:
    async def answer(query: Query) -> Answer:
        raise TooManyTotals

    async with failing(fetch, clock) as app:
        app.usage.answer = answer  # type: ignore[method-assign]
        page = await overview_of(app)

    (issue,) = page.one("section", id="attention").all("article")
    assert facts_of(issue)["Used by"] == "not known: too many callers and models"


async def test_an_issue_has_the_earliest_time_and_all_models_of_its_problems(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    declared = CONFIG.replace('b/v1", max_in_flight: 4', 'b/v1", max_in_flight: 4, models: [{id: declared}]')
    fetch.lists("a", "m")
    fetch.lists("b", "m", "n")
    async with started(config_of(declared), fetch, clock) as app:
        fetch.fails("b")
        await clock.advance(1300)
        store = app.deployment.store
        names = [report.name for report in store.reports()]
        calls = {name: Calls("open" if name == "b" else "ok") for name in names}
        offers = {name: store.offers(name) for name in names}
        expired = {name: store.expired_ids(name) for name in names}
        changes = (
            Change(at=200.0, type="provider_failing", provider="b", part="calls", before="ok", after="open"),
            Change(at=300.0, type="provider_failing", provider="b", part="list", before="ok", after="failing"),
        )
        found = run_now(attention(store.reports(), calls, offers, expired, Feed(changes), None))

    (issue,) = found.issues
    assert [(each.part, each.since, [*each.impact.model_ids]) for each in issue.problems] == [
        ("list", 300.0, ["n", "m"]),
        ("calls", 200.0, ["declared"]),
    ]
    assert (issue.since, issue.impact) == (200.0, Impact(3, 2, ["declared", "n", "m"], None))
    assert found.unavailable == 2

"""`GET /v1/usage` and `GET /admin/usage`: whose usage they show, their parameters and their formats."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.server.app import Proxy
from proxy.telemetry.days import DAY
from proxy.telemetry.events import grouped
from proxy.telemetry.usage_query import Answer, Query
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, digest, reply_to, started
from tests.telemetry.calls import record

pytestmark = pytest.mark.anyio

ADMIN, ALICE = "sk-fake-of-operator", "sk-fake-of-alice"
CONFIG = f"""
server: {{timezone: Asia/Tokyo}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
groups: {{default: {{models: [m], call: true}}}}
keys:
  - {{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}
  - {{name: alice, hash: '{digest(ALICE)}', models: ['*']}}
"""
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time=NOON)


@pytest.fixture
async def app(clock: FakeClock, fetch: FakeFetch) -> AsyncIterator[Proxy]:
    fetch.lists("a", "m")
    async with started(config_of(CONFIG), fetch, clock) as app:
        use(app, key="alice", model="m", provider="a", input_tokens=10, output_tokens=20)
        use(app, key="", model="m", provider="a", input_tokens=1, output_tokens=2)
        use(app, key="jwt:https://login.example.com|7", model="=cmd()", provider="a", input_tokens=3, output_tokens=4)
        use(app, key="alice", model="unknown", is_known=False, provider="", outcome="rejected")
        yield app


def use(app: Proxy, **fields: Any) -> None:
    app.usage.usage.calls_ended(grouped([record(**{"input_tokens": 0, "output_tokens": 0, **fields})]))


async def get(app: Proxy, path: str, key: str | None = ADMIN, **headers: str) -> Reply:
    return await reply_to(app, path, {**({"x-api-key": key} if key else {}), **headers})


def row(requests: int, failed: int, input_tokens: int, output_tokens: int, **labels: str | None) -> Mapping[str, Any]:
    counts = {"requests": requests, "failed": failed, "input_tokens": input_tokens, "output_tokens": output_tokens}
    return {**labels, **counts}


async def test_a_key_gets_its_own_usage_by_day_and_model(app: Proxy) -> None:
    await get(app, "/v1/models", ALICE)
    reply = await get(app, "/v1/usage", ALICE)

    assert reply.json == {
        "object": "usage",
        "timezone": "Asia/Tokyo",
        "from": "2026-10-31",
        "to": "2026-11-29",
        "complete": True,
        "key": "alice",
        "last_used": "2026-11-29T12:00:00Z",
        "limits": [],
        "data": [row(1, 1, 0, 0, day="2026-11-29", model=""), row(1, 0, 10, 20, day="2026-11-29", model="m")],
        "total": row(2, 1, 10, 20),
    }
    assert reply.header("cache-control") == "no-store"


async def test_requests_without_a_key_get_the_usage_of_all_without_one(app: Proxy) -> None:
    reply = await get(app, "/v1/usage", None)

    assert (reply.json["key"], reply.json["last_used"]) == (None, None)
    assert reply.json["data"] == [row(1, 0, 1, 2, day="2026-11-29", model="m")]


async def test_days_are_those_of_the_time_zone(app: Proxy, clock: FakeClock) -> None:
    await clock.advance(4 * 3600)  # past midnight in Tokyo
    use(app, key="alice", model="m", provider="a")

    days = [each["day"] for each in (await get(app, "/v1/usage", ALICE)).json["data"]]
    assert days == ["2026-11-29", "2026-11-29", "2026-11-30"]
    assert (await get(app, "/v1/usage?from=2026-11-30", ALICE)).json["total"] == row(1, 0, 0, 0)
    assert (await get(app, "/v1/usage?to=2026-11-29", ALICE)).json["total"] == row(2, 1, 10, 20)


async def test_a_changed_time_zone_counts_from_then_on(app: Proxy, clock: FakeClock) -> None:
    await app.replace(config_of(CONFIG.replace("Asia/Tokyo", "UTC")))
    await clock.advance(4 * 3600)
    use(app, key="alice", model="m", provider="a")

    assert {each["day"] for each in (await get(app, "/v1/usage", ALICE)).json["data"]} == {"2026-11-29"}


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_a_response_without_the_usage_of_other_replicas_says_so(
    app: Proxy, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    path = f"/admin/usage?format={form}"
    assert (b"x-usage-incomplete", b"true") not in (await get(app, path)).headers
    answer = app.usage.answer

    async def incomplete(query: Query) -> Answer:
        answered = await answer(query)
        answered.is_complete = False
        return answered

    monkeypatch.setattr(app.usage, "answer", incomplete)
    reply = await get(app, path)
    assert (b"x-usage-incomplete", b"true") in reply.headers
    assert form == "csv" or reply.json["complete"] is False


async def test_admin_keys_get_the_usage_of_all(app: Proxy) -> None:
    reply = await get(app, "/admin/usage?by=provider,key")

    assert (reply.json["by"], reply.json["total"]) == (["provider", "key"], row(4, 1, 14, 26))
    assert reply.json["data"] == [
        {**row(1, 1, 0, 0, provider="", key="alice"), "last_used": None},
        {**row(1, 0, 1, 2, provider="a", key=""), "last_used": None},
        {**row(1, 0, 10, 20, provider="a", key="alice"), "last_used": None},
        {**row(1, 0, 3, 4, provider="a", key="jwt:https://login.example.com|7"), "last_used": None},
    ]
    assert {tuple(each) for each in (await get(app, "/admin/usage")).json["data"]} == {
        ("key", "model", "requests", "failed", "input_tokens", "output_tokens", "last_used")
    }


async def test_by_key_alone_there_are_also_keys_that_made_no_calls(app: Proxy, clock: FakeClock) -> None:
    await get(app, "/v1/models")
    await clock.advance(60)
    rows = (await get(app, "/admin/usage?by=key")).json["data"]

    assert rows[-1] == {**row(0, 0, 0, 0, key="ops"), "last_used": "2026-11-29T12:00:01Z"}
    assert [each["key"] for each in rows[:-1]] == ["", "alice", "jwt:https://login.example.com|7"]


async def test_csv_contains_no_cell_that_a_spreadsheet_computes(app: Proxy) -> None:
    reply = await get(app, "/admin/usage?by=hour,model&format=csv")

    assert reply.header("content-type") == "text/csv; charset=utf-8; header=present"
    assert [*csv.reader(reply.body.decode().splitlines())] == [
        ["hour", "model", "requests", "failed", "input_tokens", "output_tokens"],
        ["2026-11-29T12:00:00Z", "", "1", "1", "0", "0"],
        ["2026-11-29T12:00:00Z", "'=cmd()", "1", "0", "3", "4"],
        ["2026-11-29T12:00:00Z", "m", "2", "0", "11", "22"],
    ]


@pytest.mark.parametrize("model", ["+1", "-1", "@SUM(1)", "\t=1", " =1", "\n=1", "\u00a0=1", "\uff1d1", "\uff20SUM(1)"])
async def test_a_model_whose_id_is_a_formula_after_blanks_or_in_another_form_is_text(app: Proxy, model: str) -> None:
    use(app, key="mallory", model=model, provider="a")

    reply = await get(app, "/admin/usage?by=model&format=csv")

    assert f"'{model}" in [cells[0] for cells in csv.reader(io.StringIO(reply.body.decode(), newline=""))]


@pytest.mark.parametrize(
    ("accept", "query", "is_csv"),
    [
        ("text/csv", "", True),
        ("text/csv", "?format=json", False),
        ("application/json, text/csv", "", False),
        ("*/*", "", False),
        ("*/*", "?format=CSV", True),
    ],
)
async def test_the_format_is_that_of_the_query_or_the_accept_header(
    accept: str, query: str, is_csv: bool, app: Proxy
) -> None:
    for path in ("/v1/usage", "/admin/usage"):
        reply = await get(app, path + query, accept=accept)
        assert (reply.header("content-type") or "").startswith("text/csv") == is_csv


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/usage?by=key", "Unknown query parameter 'by'; valid parameters: from, to, format."),
        ("/v1/usage?from=yesterday", "`from` must be a date, like 2026-01-31."),
        ("/v1/usage?to=20261129", "`to` must be a date, like 2026-01-31."),
        ("/v1/usage?from=2026-W01-1", "`from` must be a date, like 2026-01-31."),
        ("/v1/usage?to=9999-12-31", "`to` must be a date, like 2026-01-31."),
        ("/v1/usage?from=2026-11-30", "`from` is after `to`."),
        ("/v1/usage?format=xml", "`format` must be json or csv."),
        ("/admin/usage?by=owner", "`by` contains 'owner'; valid values: hour, day, key, model, provider."),
        ("/admin/usage?by=", "`by` contains ''; valid values: hour, day, key, model, provider."),
        ("/admin/usage?by=key,key", "`by` contains a duplicate value."),
    ],
)
async def test_wrong_parameters_are_refused(path: str, message: str, app: Proxy) -> None:
    reply = await get(app, path)

    assert (reply.status, reply.json["error"]["message"]) == (400, message)


async def test_an_answer_that_is_too_long_is_refused(app: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.usage_query.MAX_TOTALS", 1)
    reply = await get(app, "/admin/usage")

    expected = "The response has too many rows: shorten the period from `from` to `to`, or remove fields from `by`."
    assert (reply.status, reply.json["error"]["message"]) == (400, expected)


async def test_usage_is_in_memory_for_today_and_yesterday(app: Proxy, clock: FakeClock) -> None:
    await clock.advance(1)
    assert app.usage.usage.rows == 4
    clock.set_time(NOON + DAY)
    use(app, key="alice", model="m", provider="a")
    await clock.advance(1)
    assert app.usage.usage.rows == 5
    clock.set_time(NOON + 2 * DAY)
    await clock.advance(1)
    assert app.usage.usage.rows == 1

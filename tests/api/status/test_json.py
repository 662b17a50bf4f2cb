"""`/status.json`: its content, as whole values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy import __version__
from tests.api.status.scenes import ADMINS, PLAIN, failing
from tests.fakes import FakeClock, FakeFetch, reply_to

pytestmark = pytest.mark.anyio

NONE = [None] * 60
ZEROS = [0] * 60


def now_only(value: Any, of: list[Any]) -> list[Any]:
    return [*of[:-1], value]


def since_of(status: Any) -> str:
    """When `b` began to fail, as the change feed has it: delays of retries are random."""
    (change,) = status["changes"]
    return datetime.fromtimestamp(change["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def status_of(fetch: FakeFetch, clock: FakeClock) -> Any:
    async with failing(fetch, clock) as app:
        reply = await reply_to(app, "/status.json", ADMINS)
    assert (reply.status, reply.header("cache-control")) == (200, "no-store")
    assert b"canary" not in reply.body
    return reply.json


async def test_the_state_of_the_proxy(fetch: FakeFetch, clock: FakeClock) -> None:
    status = await status_of(fetch, clock)

    configuration = status.pop("configuration")
    assert configuration == {
        "generation": configuration["generation"],
        "loaded_at": "2027-01-15T08:00:00Z",
        "last_failure": None,
        "problems": [],
        "restart_needed": [],
    }
    assert {name: value for name, value in status.items() if not isinstance(value, list)} == {
        "object": "status",
        "version": __version__,
        "time": "2027-01-15T08:02:10Z",
        "status": "degraded",
        "lists": "degraded",
        "calls": "ok",
        "catalog": {"models": 3, "version": status["catalog"]["version"], "models_unavailable": 0},
        "first_minute": "2027-01-15T07:03:00Z",
        "running": {"total": 0, "calls": []},
    }
    assert status["workers"] == []
    assert status["skipped"] == [{"name": "away", "state": "skipped", "reason": status["skipped"][0]["reason"]}]


async def test_the_state_of_a_provider_is_that_at_health_with_its_last_hour(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        health = (await reply_to(app, "/health", ADMINS)).json
        status = (await reply_to(app, "/status.json", ADMINS)).json

    a, b = status["providers"]
    assert (a["name"], b["name"], b["state"], b["last_error"]["reason"]) == (
        "a",
        "b",
        "stale",
        "503 Service Unavailable",
    )
    assert b == {
        **health["providers"][1],
        "state_since": since_of(status),
        "calls_since": None,
        "max_in_flight": 4,
        "last_hour": {
            "calls": 1,
            "errors": 1,
            "first_byte_p50_seconds": None,
            "first_byte_p95_seconds": None,
            "by_minute": {
                "calls": now_only(1, ZEROS),
                "errors": now_only(1, ZEROS),
                "first_byte_p50_seconds": NONE,
                "first_byte_p95_seconds": NONE,
            },
        },
    }
    p50, p95 = a["last_hour"]["first_byte_p50_seconds"], a["last_hour"]["first_byte_p95_seconds"]
    assert (p50, p95) == (pytest.approx(0.4, rel=0.25), pytest.approx(0.4, rel=0.25))
    assert (a["last_hour"]["calls"], a["last_hour"]["errors"]) == (2, 0)  # a rejected request is no error of a provider
    assert a["last_hour"]["by_minute"]["first_byte_p95_seconds"] == now_only(p95, NONE)


async def test_what_needs_attention_names_models_and_who_uses_them(fetch: FakeFetch, clock: FakeClock) -> None:
    status = await status_of(fetch, clock)

    assert status["attention"] == [
        {
            "provider": "b",
            "part": "list",
            "state": "stale",
            "since": since_of(status),
            "reason": "503 Service Unavailable",
            "models": 2,
            "models_without_alternative": 1,
            "model_ids": ["n", "m"],
            "used_by": [{"name": "plain", "calls": 3}],
        }
    ]


async def test_keys_show_calls_and_tokens_of_the_last_hour(fetch: FakeFetch, clock: FakeClock) -> None:
    status = await status_of(fetch, clock)

    assert status["keys"] == [
        {
            "name": "plain",
            "last_hour": {
                "calls": 3,
                "errors": 2,
                "input_tokens": 12,
                "output_tokens": 30,
                "first_byte_mean_seconds": 0.4,
                "by_minute": {
                    "calls": now_only(3, ZEROS),
                    "errors": now_only(2, ZEROS),
                    "input_tokens": now_only(12, ZEROS),
                    "output_tokens": now_only(30, ZEROS),
                    "first_byte_mean_seconds": now_only(0.4, NONE),
                },
            },
        }
    ]


async def test_changes_begin_with_the_latest(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        fetch.lists("b", "m", "n", "new")
        await clock.advance(100)
        status = (await reply_to(app, "/status.json", ADMINS)).json
        feed = (await reply_to(app, "/admin/changes", ADMINS)).json

    assert status["changes"] == feed["changes"][::-1]
    assert {change["type"] for change in status["changes"]} == {
        "model_added",
        "provider_recovered",
        "provider_failing",
    }
    assert status["attention"] == []


async def test_only_administrators_see_it(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        plain = await reply_to(app, "/status.json", {"authorization": f"Bearer {PLAIN}"})
        without = await reply_to(app, "/status.json")
        misspelled = await reply_to(app, "/status.json?since=1", ADMINS)

    assert (plain.status, without.status, misspelled.status) == (403, 401, 400)

"""`GET /admin/changes`: what administrators see of the change feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy.config import Config
from tests.fakes import FakeClock, FakeFetch, config_of, digest, served
from tests.listening import serving

pytestmark = pytest.mark.anyio

ADMIN, PLAIN = "sk-fake-of-operator", "sk-fake-of-a-client"
CONFIG = f"""
cache: {{ttl: 100s}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
keys:
  - {{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}
  - {{name: plain, hash: '{digest(PLAIN)}', models: ['*']}}
"""


@asynccontextmanager
async def client_after_changes(config: Config, fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """Since its start, one model was added, and then another one changed."""
    fetch.lists("a", "m")
    async with served(config, fetch, clock) as client:
        client.headers["authorization"] = f"Bearer {ADMIN}"
        fetch.lists("a", "m", "n")
        await clock.advance(100)
        fetch.lists("a", "m", {"id": "n", "owned_by": "a", "context_length": 8192})
        await clock.advance(100)
        yield client


async def test_changes_are_listed_from_the_oldest_to_the_newest(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client_after_changes(config_of(CONFIG), fetch, clock) as client:
        response = await client.get("/admin/changes")

    added, changed = response.json()["changes"]
    names = {name: added[name] for name in ("id", "at", "webhook_id")}
    assert added == {**names, "type": "model_added", "provider": "a", "model": "n"}
    assert changed == {
        "id": changed["id"],
        "at": changed["at"],
        "type": "model_changed",
        "provider": "a",
        "model": "n",
        "fields": [{"field": "context_length", "before": None, "after": 8192}],
        "webhook_id": changed["webhook_id"],
    }
    assert added["webhook_id"] != changed["webhook_id"]
    assert added["id"] < changed["id"] == response.json()["last_id"]
    assert response.headers["cache-control"] == "no-store"


async def test_changes_after_the_last_id_are_those_that_a_client_has_not_seen(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with client_after_changes(config_of(CONFIG), fetch, clock) as client:
        everything = (await client.get("/admin/changes")).json()
        first, last = everything["changes"]
        rest = (await client.get(f"/admin/changes?since={first['id']}")).json()
        none = (await client.get(f"/admin/changes?since={last['id']}")).json()

    assert everything["complete"] is False  # what was before the start is unknown
    assert rest == {"changes": [last], "last_id": last["id"], "complete": True}
    assert none == {"changes": [], "last_id": last["id"], "complete": True}


@pytest.mark.parametrize(
    ("since", "number"),
    [
        ("2027-01-14", 2),
        ("2027-01-15T08:01:00Z", 2),
        ("2027-01-15T08:02:00%2B00:00", 1),
        ("2027-01-15T09:02:00+01:00", 1),  # a space, after decoding
        ("2027-01-15T09:02+01:00", 1),
        ("2027-01-16", 0),
    ],
)
async def test_changes_are_selected_by_date(since: str, number: int, fetch: FakeFetch, clock: FakeClock) -> None:
    async with client_after_changes(config_of(CONFIG), fetch, clock) as client:
        response = await client.get(f"/admin/changes?since={since}")

    assert len(response.json()["changes"]) == number


@pytest.mark.parametrize(
    "query", ["since=", "since=yesterday", "since=-1", f"since={'9' * 5000}", "from=1", "since=1&since=2", "%ff=1"]
)
async def test_other_parameters_are_errors(query: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with client_after_changes(config_of(CONFIG), fetch, clock) as client:
        response = await client.get(f"/admin/changes?{query}")

    assert response.status_code == 400
    assert response.json()["error"]["message"] == (
        "`since` must be the id of a change, or a date or time like 2026-01-31 or 2026-01-31T12:00:00Z; "
        "there are no other parameters."
    )


async def test_only_admin_keys_see_changes(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client_after_changes(config_of(CONFIG), fetch, clock) as client:
        plain = await client.get("/admin/changes", headers={"authorization": f"Bearer {PLAIN}"})
        del client.headers["authorization"]
        without = await client.get("/admin/changes")

    assert (plain.status_code, without.status_code) == (403, 401)


async def test_changes_are_served_on_a_socket(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(CONFIG), fetch, clock) as proxy:
        fetch.lists("a", "m", "n")
        await clock.advance(100)
        response = await proxy.client.get("/admin/changes", headers={"authorization": f"Bearer {ADMIN}"})

    assert [change["model"] for change in response.json()["changes"]] == ["n"]

"""The application with `store.directory`: what requests get before any provider responds."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Config
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, run_pending_tasks, started
from tests.listening import until

pytestmark = pytest.mark.anyio

OPS = {"x-api-key": "sk-fake-of-operator"}


def config_with(directory: Path, more: str = "") -> Config:
    return config_of(
        f"store: {{directory: '{directory}'}}\ncache: {{ttl: 100s, max_stale: 1000s, initial_wait: 60s}}\n"
        f"keys: [{{name: ops, hash: '{digest(OPS['x-api-key'])}', models: ['*'], admin: true}}]\n"
        f"providers:\n  - {{name: a, base_url: 'http://127.0.0.1:9/a/v1'{more}}}\n"
        f"  - {{name: b, base_url: 'http://127.0.0.1:9/b/v1'}}\n"
    )


async def filled(config: Config, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", {"id": "n", "created": 1_700_000_000})
    fetch.lists("b", "m")
    async with started(config, fetch, clock) as app:
        assert app.directory
        await until(lambda: app.directory is not None and app.directory.status.writes == 2)


async def test_requests_do_not_wait_for_providers_that_do_not_respond(
    tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    await filled(config_with(tmp_path), fetch, clock)
    later = FakeClock(monotonic=5.0, time=clock.time() + 300)
    fetch.hangs("a")
    fetch.hangs("b")
    async with started(config_with(tmp_path), fetch, later) as app:
        listed = await reply_to(app, "/v1/models", OPS)
        ready = await reply_to(app, "/readyz", OPS)
        health = await reply_to(app, "/health", OPS)
        explained = await reply_to(app, "/admin/explain?model=m&key_name=ops", OPS)

    assert [(model["id"], model["created"]) for model in listed.json["data"]] == [("m", 0), ("n", 1_700_000_000)]
    assert (listed.header("x-models-stale"), listed.header("x-models-missing")) == ("a, b", None)
    assert (ready.status, health.json["store"]["directory"]["problem"]) == (200, "")
    assert [(each["state"], each["origin"], each["age_seconds"]) for each in health.json["providers"]] == [
        ("stale", "restored", 300.0),
        ("stale", "restored", 300.0),
    ]
    assert {each["error"] for each in explained.json["providers"]} == {"an earlier process fetched the list"}


async def test_first_list_that_was_restored_counts_for_failover(
    tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    await filled(config_with(tmp_path), fetch, clock)
    fetch.lists("b", "m", "n")
    later = FakeClock(monotonic=5.0, time=clock.time() + 300)
    async with started(config_with(tmp_path), fetch, later) as app:
        await run_pending_tasks()
        assert {name: [*names] for name, names in app.deployment.store.new_offers.items()} == {"b": ["n"]}


async def test_list_of_changed_settings_is_written_again_after_a_reload(
    tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = config_with(tmp_path)
    await filled(config, fetch, clock)
    changed = config_with(tmp_path, ", where: [{field: id, is: m}]")
    async with started(config, fetch, clock) as app:
        await app.replace(changed)
        await clock.advance(2)
        await until(lambda: len([*tmp_path.glob("*.list")]) == 3)
    fetch.fails("a")
    async with started(changed, fetch, clock) as app:
        assert [model["id"] for model in (await reply_to(app, "/v1/models", OPS)).json["data"]] == ["m"]


async def test_key_that_a_reload_adds_before_the_first_call_gets_its_ids_recorded(
    tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = config_with(tmp_path)
    added = config_of(
        f"store: {{directory: '{tmp_path}'}}\n"
        f"keys: [{{name: new, hash: '{digest('sk-fake-new')}', models: ['*'], admin: true}}]\n"
        "providers: [{name: a, base_url: 'http://127.0.0.1:9/a/v1'}]\n"
    )
    async with started(config, fetch, clock) as app:
        await app.replace(added)
        assert app.stored_ledger
        ledger = app.stored_ledger.ledger
        ledger.add("new", "resp_1", ledger.origin("a", "m"))
        ledger.add("ops", "resp_2", ledger.origin("a", "m"))
        assert (ledger.provider_of("new", "resp_1"), ledger.provider_of("ops", "resp_2")) == ("a", "")

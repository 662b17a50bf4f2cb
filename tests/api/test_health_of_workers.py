"""`/readyz`, `/health` and `/admin/explain` of one of several processes that serve a port: they answer for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.api.workers import Condition, OfWorkers, Subject, packed_calls
from proxy.config.store import StoreSettings
from proxy.states import Calls, OpenCircuit
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

ADMIN = "sk-canary-admin"
ADMINS = {"Authorization": f"Bearer {ADMIN}"}
CONFIG = config_of(f"""
providers:
  - {{name: a, base_url: "http://127.0.0.1:9/v1", max_in_flight: 4}}
keys:
  - {{name: admin, hash: "{digest(ADMIN)}", models: ["*"], admin: true}}
""")
OPEN = Calls("degraded", 0, 0, [OpenCircuit("m", None, "open")], max_in_flight=4)


class Others:
    """The other processes."""

    def __init__(self, is_ready: bool = False, **calls: Calls) -> None:
        self.others: Sequence[Condition] = [Condition(is_ready, calls)]
        self._parts = [packed_calls(calls)]

    async def usage(self, query: bytes) -> Sequence[bytes]:
        raise AssertionError("not for health")

    async def values(self, subject: Subject, own: bytes) -> OfWorkers:
        assert subject == "calls", "what health asks for"
        return OfWorkers([own, *self._parts], {1: "one", 2: "other"})


class OthersWithUsage(Others):
    """Usage, which is kept with a directory, is not known."""

    async def usage(self, query: bytes) -> Sequence[bytes]:
        return ()


async def test_one_process_with_lists_is_enough(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with started(CONFIG, fetch, clock, Others(is_ready=True)) as app:
        ready = await reply_to(app, "/readyz")
    async with started(CONFIG, fetch, clock, Others(is_ready=False)) as app:
        waiting = await reply_to(app, "/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ready"})
    assert (waiting.status, waiting.json) == (503, {"status": "waiting"})


async def test_a_process_that_is_replaced_is_ready_while_another_one_is(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    others = Others(is_ready=True)
    async with started(CONFIG, fetch, clock, others) as app:
        app.deployment.health.draining = True
        replaced = await reply_to(app, "/readyz")
        others.others = ()  # the whole server stops
        stopped = await reply_to(app, "/readyz")
    assert (replaced.status, replaced.json) == (200, {"status": "ready"})
    assert (stopped.status, stopped.json) == (503, {"status": "draining"})


async def test_the_status_of_health_is_that_of_all_processes(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(CONFIG, fetch, clock, Others(a=OPEN)) as app:
        anonymous, admin = await reply_to(app, "/health"), await reply_to(app, "/health", ADMINS)
    async with started(CONFIG, fetch, clock, Others(a=Calls("ok"), b=OPEN)) as app:
        well = await reply_to(app, "/health")
    assert (anonymous.status, anonymous.json) == (200, {"status": "degraded"})
    assert (admin.json["status"], admin.json["providers"][0]["calls"]) == ("degraded", "degraded")
    assert (well.status, well.json) == (200, {"status": "ok"})


async def test_the_state_of_the_directory_is_that_of_all_processes(
    fetch: FakeFetch, clock: FakeClock, tmp_path: Path
) -> None:
    fetch.lists("a", "m")
    writer: dict[str, str | int] = {"problem": "No space left on device", "writes": 7, "failed_writes": 2}
    others = OthersWithUsage()
    config = replace(CONFIG, store=StoreSettings(directory=str(tmp_path)))
    async with started(config, fetch, clock, others) as app:
        alone = app.deployment.health.condition.directory
        others.others = [Condition(True, {}, {**writer, "ignored_files": 1}), Condition(True, {})]
        shown = (await reply_to(app, "/health", ADMINS)).json["store"]["directory"]

    assert alone is not None
    assert alone["path"] == str(tmp_path)
    assert shown["path"] == str(tmp_path)
    assert shown["problem"] == "No space left on device"
    assert (shown["failed_writes"], shown["ignored_files"]) == (2, 1)
    assert shown["writes"] >= 7


async def test_a_condition_has_the_states_of_calls_without_their_number(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(CONFIG, fetch, clock) as app:
        await app.deployment.inference()
        ready = app.deployment.health.condition
        app.deployment.health.draining = True
        assert app.deployment.health.condition == Condition(False, ready.calls)
    assert ready == Condition(True, {"a": Calls("ok", 0, 0, [], max_in_flight=4)})


@pytest.mark.parametrize(
    ("calls", "skipped", "reasons"),
    [
        (Calls("ok", 3, 1, max_in_flight=4), False, []),
        (
            Calls("ok", 8, 0, max_in_flight=4),  # of 4 here, and 4 there
            False,
            ["at its concurrency limit (max_in_flight): calls wait in its queue"],
        ),
        (
            OPEN,
            True,
            [
                "skipped at the moment: The provider of this model is unavailable in another worker "
                "(circuit breaker open)."
            ],
        ),
        (Calls("degraded", 0, 0, [OpenCircuit("m", "another key", "open")], max_in_flight=4), False, []),
        (Calls("degraded", 0, 0, [OpenCircuit("m", "admin", "half_open")], max_in_flight=4), False, []),
        (Calls("degraded", 0, 0, [OpenCircuit("another", None, "open")], max_in_flight=4), False, []),
    ],
)
async def test_explanations_are_those_of_all_processes(
    calls: Calls, skipped: bool, reasons: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(CONFIG, fetch, clock, Others(a=calls)) as app:
        await app.deployment.inference()
        reply = await reply_to(app, "/admin/explain?model=m&key_name=admin", ADMINS)
    (candidate,) = reply.json["calls"]["candidates"]
    assert (candidate["is_skipped"], [each["text"] for each in candidate["reasons"]]) == (skipped, reasons)

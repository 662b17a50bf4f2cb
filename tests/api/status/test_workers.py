"""`/status.json` of one of several processes that serve a port: each answers for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from proxy.api.workers import Condition, OfWorkers, Subject
from proxy.server.app import Proxy
from tests.api.status.scenes import ADMINS, call, failing
from tests.fakes import FakeClock, FakeFetch, reply_to

pytestmark = pytest.mark.anyio


class Others:
    """The other processes: one whose status is that of another application."""

    others: Sequence[Condition] = ()

    def __init__(self) -> None:
        self.app: Proxy | None = None

    async def usage(self, query: bytes) -> Sequence[bytes]:
        return ()

    async def values(self, subject: Subject, own: bytes) -> OfWorkers:
        assert subject == "status", "all values are in one answer"
        parts = [await self.app.deployment.status.packed()] if self.app else []
        return OfWorkers([own, *parts], {1: "one", 2: "other"})


async def status_of(app: Proxy) -> Any:
    return (await reply_to(app, "/status.json", ADMINS)).json


def sums_of(status: Any) -> Any:
    return [each["last_hour"] for each in (*status["providers"], *status["keys"])]


async def test_each_process_answers_with_the_sums_of_all(fetch: FakeFetch, clock: FakeClock) -> None:
    of_first, of_second = Others(), Others()
    async with failing(fetch, clock, of_first) as first, failing(fetch, clock, of_second) as second:
        alone = await status_of(first)
        of_first.app, of_second.app = second, first
        clock.set_time(clock.time() + 60)  # calls of several minutes are added
        call(second, first_byte=2.0)
        one, other = await status_of(first), await status_of(second)

    assert sums_of(one) == sums_of(other)
    assert [hour["calls"] for hour in sums_of(alone)] == [2, 1, 3]
    assert [hour["calls"] for hour in sums_of(one)] == [5, 2, 7]
    assert one["workers"] == [{"worker": 1, "generation": "one"}, {"worker": 2, "generation": "other"}]
    assert [provider["max_in_flight"] for provider in one["providers"]] == [8, 8]

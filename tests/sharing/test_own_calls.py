"""Calls in progress that replicas count together in a real Valkey server."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from msgspec import structs

from proxy.limits.claims import Claim
from proxy.sharing.own_calls import OwnCalls, Snapshot
from tests.sharing.test_limits import Script, granted, replica
from tests.valkey_servers import ValkeyServer

pytestmark = pytest.mark.anyio

CALL = Claim("group:staff", "concurrent", "", 1, 1)


# -- the store of a replica --------------------------------------------------------------------------------------------


async def test_requests_above_the_limit_of_their_caller_use_no_calls_of_their_group(server: ValkeyServer) -> None:
    calls = structs.replace(CALL, limit=10)
    few, many = (Claim(f"key:{name}", "requests", "d", limit, 1) for name, limit in (("x", 1), ("y", 1000)))
    async with replica(server.url) as one:
        assert await granted(one, few)
        outcomes = await asyncio.gather(
            *(granted(one, few, calls) for _ in range(20)), *(granted(one, many, calls) for _ in range(12))
        )
    assert outcomes == [False] * 20 + [True] * 10 + [False] * 2


async def test_a_group_has_room_as_soon_as_a_call_has_ended_also_while_others_are_rejected(
    server: ValkeyServer,
) -> None:
    few = Claim("key:x", "requests", "d", 1, 1)
    async with replica(server.url) as one:
        assert await granted(one, few)
        outcomes = []
        for _ in range(20):
            rejected = [asyncio.create_task(granted(one, few, CALL)) for _ in range(3)]
            await asyncio.sleep(0)
            outcomes.append(await granted(one, CALL))
            one.limits.report([CALL.with_amount(-1)])
            outcomes.append(any(await asyncio.gather(*rejected)))
        await one.limits.flush()
    assert outcomes == [True, False] * 20


async def test_a_request_that_is_canceled_while_its_claim_is_pending_uses_no_call(server: ValkeyServer) -> None:
    async with replica(server.url) as one:
        assert await granted(one, structs.replace(CALL, scope="group:other"))
        claim = asyncio.create_task(one.limits.claim([CALL]))
        await asyncio.sleep(0)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
        assert claim.cancelled()
        assert await granted(one, CALL)


async def test_a_server_that_lost_its_data_has_the_calls_of_a_replica_with_its_next_claim(server: ValkeyServer) -> None:
    two = structs.replace(CALL, limit=2)
    async with replica(server.url) as one:
        before = [await granted(one, two) for _ in range(2)]
        server.client.flushall()
        after = await asyncio.gather(*(granted(one, two) for _ in range(2)))
    assert (before, after) == ([True, True], [False, False])


# -- the script and messages of a process ------------------------------------------------------------------------------


def used(script: Script) -> float:
    """The calls in progress of all processes."""
    return script.decide((), [CALL.with_amount(0)], process="another")[1][0][0]


def test_a_claim_that_overtakes_another_is_decided_as_if_it_had_not(server: ValkeyServer) -> None:
    script = Script(server)
    second = script.decide((), [CALL], known=Snapshot(2, 1, 0, 0))
    first = script.decide((), [CALL], known=Snapshot(1, 1, 0, 0))
    assert (second, first) == ((True, [[1, 0, 0]]), (False, [[1, 1, 0]]))


def test_a_report_that_arrives_late_or_twice_changes_nothing(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide((), [CALL], known=Snapshot(1, 1, 0, 0))
    numbers = []
    for known in (Snapshot(3, 3, 0, 0), Snapshot(3, 3, 0, 0), Snapshot(2, 2, 1, 0), Snapshot(4, 4, 0, 0)):
        script.decide([CALL], (), known=known)
        numbers.append(used(script))
    assert numbers == [0, 0, 0, 0]


def test_a_grant_whose_reply_was_lost_is_over_with_the_next_message(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide((), [CALL], known=Snapshot(1, 1, 0, 0))
    script.decide([CALL], (), known=Snapshot(2, 2, 0, 0))
    assert used(script) == 0


def test_a_claim_that_arrives_when_its_process_has_given_up_is_not_granted(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide([CALL], (), known=Snapshot(2, 2, 0, 0))
    assert script.decide((), [CALL], known=Snapshot(1, 1, 0, 0)) == (False, [[0, 1, 0]])


def test_calls_in_progress_are_reported_again_before_they_are_stale(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide((), [CALL], known=Snapshot(1, 1, 0, 0))
    numbers = []
    for message in range(2, 5):
        script.now += 14
        script.decide([CALL], (), known=Snapshot(message, 1, 1, 1))
        numbers.append(used(script))
    assert numbers == [1, 1, 1]


class Process:
    """A process whose messages and replies can be late, lost and in another order."""

    def __init__(self, name: str, script: Script, random: Random) -> None:
        self._name, self._script, self._random = name, script, random
        self.calls = OwnCalls()
        self.number = 0
        """The calls in progress."""
        self._messages: list[tuple[Snapshot, Claim | None, bool]] = []
        """Messages in transit, each with its claim, and whether the process waits for the reply."""
        self._replies: list[tuple[Claim, bool]] = []

    def step(self, claim: Claim) -> None:
        action = self._random.random()
        if action < 0.35:
            self.send(claim)
        elif action < 0.65:
            self._deliver()
        elif action < 0.85:
            self._receive()
        elif self.number:
            self.number -= 1
            self.calls.add(claim.scope, -1)
            self.send(None)

    def send(self, claim: Claim | None) -> None:
        self.calls.begin_message()
        known = self.calls.snapshot(CALL.scope)
        waits = claim is not None and self._random.random() < 0.9
        if claim and waits:
            self.calls.begin_claims([claim])
        self._messages.append((known, claim, waits))

    def settle(self) -> None:
        """Deliver everything, and report the calls in progress."""
        while self._messages:
            self._deliver()
        while self._replies:
            self._receive()
        self.send(None)
        self._deliver()

    def _deliver(self) -> None:
        if not self._messages:
            return
        known, claim, waits = self._messages.pop(self._random.randrange(len(self._messages)))
        changes, claims = ((), [claim]) if claim else ([CALL], ())
        is_granted, _ = self._script.decide(changes, claims, process=self._name, known=known)
        if claim and waits:
            self._replies.append((claim, is_granted))

    def _receive(self) -> None:
        if self._replies:
            claim, is_granted = self._replies.pop(self._random.randrange(len(self._replies)))
            is_granted = is_granted and self._random.random() < 0.9
            self.calls.end_claims([claim], is_granted=is_granted)
            self.number += is_granted


@pytest.mark.parametrize("seed", range(6))
def test_calls_in_progress_stay_below_their_limit_and_none_is_left_whatever_is_late_or_lost(
    seed: int, server: ValkeyServer
) -> None:
    random = Random(seed)
    script = Script(server)
    call = structs.replace(CALL, limit=5)
    processes = [Process(name, script, random) for name in ("a", "b")]
    reached = set()
    for _ in range(20):
        for _ in range(40):
            script.now += 0.01
            random.choice(processes).step(call)
            reached.add(sum(each.number for each in processes))
        for each in processes:
            each.settle()
        assert used(script) == sum(each.number for each in processes)
    assert reached == set(range(6))

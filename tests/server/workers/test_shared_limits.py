"""Limits of callers that the supervisor counts for all workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import count

import msgspec
import pytest

from proxy.limits.admission import Rejection
from proxy.limits.claims import Claim, Usage
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota, Rule
from proxy.server.workers.channel import Channel
from proxy.server.workers.limits import WorkerLimits
from proxy.server.workers.messages import Claimed, Claims, FromWorker, Message, Report, ToWorker
from proxy.server.workers.processes import Place, Worker
from proxy.server.workers.shared_limits import CountedLimits
from proxy.server.workers.shared_state import SharedState
from proxy.server.workers.sharing import WorkerSharing
from tests.fakes import FakeClock, config_of

pytestmark = pytest.mark.anyio

CONFIG = config_of("server: {workers: 2}\nproviders: [{name: a, base_url: 'http://127.0.0.1/v1'}]")
REQUESTS, CALLS = Rule("", "requests", "m", 100), Rule("", "concurrent", "", 2)


class Workers:
    """Two workers and the state of their supervisor. `delay`: of its answers, in iterations of the event loop."""

    def __init__(self, clock: FakeClock) -> None:
        end, other = socket.socketpair()
        other.close()
        channel: Channel[FromWorker] = Channel(end, FromWorker)
        channel.close()
        self.workers = [Worker(number, Place(number, ()), channel, 0.0) for number in range(2)]
        self.sides = [WorkerSharing() for _ in self.workers]
        self.held: list[Callable[[], None]] | None = None
        self.state = SharedState(self._send, clock.monotonic, clock.time)
        for worker, side in zip(self.workers, self.sides, strict=True):
            side.connect(self._sender(worker))
        self.limiters = [Limiter(CONFIG, clock.monotonic, clock.time, side.limits) for side in self.sides]

    def _send(self, worker: Worker, message: Message) -> None:
        def deliver() -> None:
            self.sides[worker.pid].handle(message)  # type: ignore[arg-type]

        if self.held is None:
            asyncio.get_running_loop().call_soon(deliver)
        else:
            self.held.append(deliver)

    def _sender(self, worker: Worker) -> Callable[[Message], None]:
        others = [each for each in self.workers if each is not worker]
        return lambda message: self.state.handle(worker, message, others)  # type: ignore[arg-type]

    async def admitted(self, number: int, rule: Rule) -> bool:
        return (await self.limiters[number].admit([rule], "alice")).is_granted


async def test_two_workers_together_let_exactly_the_limit_through(clock: FakeClock) -> None:
    workers = Workers(clock)
    granted = await asyncio.gather(*(workers.admitted(number % 2, REQUESTS) for number in range(160)))
    assert sum(granted) == 100
    await clock.advance(60)
    granted = await asyncio.gather(*(workers.admitted(number % 2, REQUESTS) for number in range(160)))
    assert sum(granted) == 100


async def test_calls_in_progress_are_counted_together_until_they_end_or_their_worker_does(clock: FakeClock) -> None:
    workers = Workers(clock)
    first = await workers.limiters[0].admit([CALLS], "alice")
    assert [await workers.admitted(1, CALLS) for _ in range(2)] == [True, False]
    workers.limiters[0].end(first, 0)
    assert [await workers.admitted(1, CALLS) for _ in range(2)] == [True, False]
    workers.state.remove(workers.workers[1])
    assert [await workers.admitted(0, CALLS) for _ in range(3)] == [True, True, False]


async def test_tokens_are_settled_for_all(clock: FakeClock) -> None:
    workers = Workers(clock)
    tokens = Rule("staff", "tokens", "m", 100)
    admission = await workers.limiters[0].admit([tokens], "alice", 10)
    workers.limiters[0].end(admission, 150)
    refused = await workers.limiters[1].admit([tokens], "bob", 10)
    assert refused.rejection == Rejection(tokens, 60.0)
    assert refused.tokens_left == (100, 0, 120.0)


async def test_the_surplus_of_an_estimate_is_returned_for_all_where_it_was_counted(clock: FakeClock) -> None:
    workers = Workers(clock)
    tokens = [Rule("staff", "tokens", "m", 1000)]
    for name in ("alice", "bob"):
        admission = await workers.limiters[0].admit(tokens, name, 400)
        await clock.advance(20)
        workers.limiters[0].end(admission, 100)
    await clock.advance(20)  # one minute after the call of alice, and 40 s after that of bob
    (shown,) = await workers.limiters[1].statuses(Quota(tuple(tokens), ()), "carol")
    assert (shown.remaining, shown.reset) == (900, 20.0)


async def test_what_has_expired_before_its_return_arrives_is_not_returned(clock: FakeClock) -> None:
    counted, worker = CountedLimits(clock.monotonic, clock.time), Workers(clock).workers[0]
    estimate = Claim("group:staff", "tokens", "m", 1000, 400)
    first = counted.decide(worker, Claims(1, "UTC", [estimate]), 1)
    await clock.advance(60)
    counted.decide(worker, Claims(2, "UTC", [estimate]), 1)
    counted.add(worker, Report([estimate.with_amount(-300).with_since(first.at)]))
    assert counted.decide(worker, Claims(3, "UTC", [estimate.with_amount(0)]), 1).usage[0].used == 400


async def test_a_worker_without_an_answer_admits_its_part_and_takes_back_what_was_granted_late(
    clock: FakeClock,
) -> None:
    workers = Workers(clock)
    workers.held = []
    limiter = workers.limiters[0]
    granted = await asyncio.gather(*(workers.admitted(0, REQUESTS) for _ in range(60)))
    calls = await limiter.admit([CALLS], "alice")
    assert sum(granted) == 50
    assert limiter.local_since == clock.time()
    held, workers.held = workers.held, None
    for deliver in held:
        deliver()
    decision = await workers.sides[1].limits.claim([Claim("key:alice", "requests", "m", 100, 0)])
    assert decision is not None
    assert decision.usage[0].used == 50
    limiter.end(calls, 0)
    assert [await workers.admitted(1, CALLS) for _ in range(3)] == [True, True, False]
    assert await workers.admitted(0, REQUESTS)
    assert limiter.local_since is None


async def test_days_are_those_of_the_time_zone_of_the_workers(clock: FakeClock) -> None:
    counted = CountedLimits(clock.monotonic, clock.time)
    worker = Workers(clock).workers[0]
    clock.set_time(1_800_000_000.0)  # 08:00 UTC
    answers = [
        counted.decide(worker, Claims(1, zone, [Claim("key:a", "requests", "d", 5, 1)]), 1)
        for zone in ("UTC", "Asia/Tokyo")
    ]
    assert [answer.usage[0].reset for answer in answers] == [16 * 3600.0, 7 * 3600.0]


async def test_what_was_late_is_bounded_and_what_is_lost_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(message: Claims) -> None:
        return None

    told: list[Message] = []
    limits = WorkerLimits(count(1), silent, told.append)
    limits.expect(9)
    for _ in range(1100):
        await limits.claim([Claim("key:a", "requests", "m", 5, 1)])
    limits.receive_late(Claimed(1, True, [Usage(1, 0.0, 60.0)], 2, 7.0))
    limits.receive_late(Claimed(1100, False, [Usage(1, 0.0, 60.0)], 2, 7.0))
    limits.receive_late(Claimed(1099, True, [Usage(1, 0.0, 60.0)], 2, 7.0))
    assert (limits.processes, limits.dropped) == (1, {"late": 100})
    assert caplog.text.count("claims have no reply from the supervisor") == 1
    assert told == [Report([Claim("key:a", "requests", "m", 5, -1, 7.0)])]


def test_messages_have_a_form_as_bytes() -> None:
    claims = Claims(1, "UTC", [Claim("key:a", "concurrent", "", 5, 1), Claim("key:a", "tokens", "month", 5, 1)])
    claimed = Claimed(1, True, [Usage(1, 0.0, 60.5)], 2, 7.0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(claims), type=FromWorker) == claims
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(claimed), type=ToWorker) == claimed

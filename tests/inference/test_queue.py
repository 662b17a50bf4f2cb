"""The queue of calls that wait for a slot: its order, its bound, and that no slot is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from proxy.inference.circuit import Circuit
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineTimer
from proxy.inference.queue import FairQueue, Waiter
from proxy.upstream.key_pool import KeyPool
from tests.fakes import FakeClock, config_of, middle, run_pending_tasks

pytestmark = pytest.mark.anyio


class Queue:
    """A queue, and the calls that joined it, in order."""

    def __init__(self, size: int = 100, key_limit: int = 1000) -> None:
        self.held: dict[str, int] = {}
        self.queue = FairQueue(size, lambda: asyncio.get_running_loop().create_future(), self.held, key_limit)
        self._waiters: dict[str, Waiter] = {}

    def join(self, *names: str) -> list[bool]:
        """Add calls, such as `a1` of the key `a`. Returns which were accepted."""
        accepted = []
        for name in names:
            waiter = self.queue.join(name[0])
            if waiter:
                self._waiters[name] = waiter
            accepted.append(waiter is not None)
        return accepted

    def admitted(self, times: int = 1000) -> list[str]:
        """Give slots to at most this many calls. Returns the calls in that order."""
        before = self.having(True)
        order: list[str] = []
        for _ in range(times):
            self.queue.admit()
            order += [name for name in self.having(True) if name not in [*before, *order]]
        return order

    def having(self, result: bool) -> list[str]:
        """The calls with this result."""
        done = [name for name, waiter in self._waiters.items() if waiter.done() and not waiter.cancelled()]
        return [name for name in done if self._waiters[name].result() is result]

    def cancel(self, name: str) -> None:
        self._waiters[name].cancel()

    def leave(self, name: str) -> bool:
        return self.queue.leave(name[0], self._waiters[name])


async def test_calls_of_one_key_are_admitted_in_order_of_arrival() -> None:
    queue = Queue()
    queue.join("a1", "a2", "a3")

    assert (len(queue.queue), queue.admitted(), len(queue.queue)) == (3, ["a1", "a2", "a3"], 0)


async def test_keys_are_admitted_in_turn() -> None:
    queue = Queue()
    queue.join("a1", "a2", "a3", "b1", "b2", "c1")

    assert queue.admitted() == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_key_that_was_not_admitted_before_is_next() -> None:
    queue = Queue()
    queue.join("a1", "a2", "a3")
    assert queue.admitted(1) == ["a1"]
    queue.join("b1")

    assert queue.admitted() == ["b1", "a2", "a3"]


async def test_a_key_that_returns_at_once_does_not_pass_the_others_again() -> None:
    queue = Queue()
    queue.join("a1", "a2", "b1")
    assert queue.admitted(2) == ["a1", "b1"]
    queue.join("b2", "c1", "b3")

    assert queue.admitted() == ["c1", "a2", "b2", "b3"]


async def test_the_key_with_the_fewest_calls_in_progress_is_next() -> None:
    queue = Queue()
    queue.held.update(a=3, b=1)
    queue.join("a1", "b1", "b2", "b3", "c1")

    assert queue.admitted() == ["c1", "b1", "b2", "a1", "b3"]
    assert queue.held == {"a": 4, "b": 4, "c": 1}


async def test_admissions_are_forgotten_when_the_queue_is_empty() -> None:
    queue = Queue()
    queue.join("a1")
    queue.admitted()
    queue.held.clear()
    queue.join("a2", "b1")

    assert queue.admitted() == ["a2", "b1"]


async def test_an_empty_queue_admits_nothing() -> None:
    assert Queue().queue.admit() is False


async def test_a_full_queue_rejects_further_calls_of_the_same_key() -> None:
    queue = Queue(size=2)

    assert (queue.join("a1", "a2", "a3"), queue.admitted()) == ([True, True, False], ["a1", "a2"])


async def test_a_queue_of_size_0_accepts_nothing() -> None:
    assert Queue(size=0).join("a1") == [False]


async def test_a_full_queue_rejects_the_newest_call_of_the_longest_key_for_another_key() -> None:
    queue = Queue(size=3)
    accepted = queue.join("a1", "a2", "a3", "b1", "c1", "d1")

    assert (accepted, queue.having(False)) == ([True, True, True, True, True, False], ["a2", "a3"])
    assert (len(queue.queue), queue.admitted()) == (3, ["a1", "b1", "c1"])


async def test_a_call_that_leaves_is_not_admitted_and_has_no_slot() -> None:
    queue = Queue()
    queue.join("a1", "a2")

    assert (queue.leave("a1"), len(queue.queue), queue.admitted()) == (False, 1, ["a2"])


async def test_a_call_whose_task_was_canceled_is_not_admitted() -> None:
    queue = Queue()
    queue.join("a1", "a2")
    queue.cancel("a1")

    assert (queue.admitted(), queue.leave("a1"), len(queue.queue)) == (["a2"], False, 0)


async def test_a_call_that_leaves_after_its_admission_returns_its_slot() -> None:
    queue = Queue()
    queue.join("a1")
    queue.admitted()

    assert queue.leave("a1") is True


@pytest.mark.parametrize("seed", range(20))
async def test_a_key_with_one_call_waits_for_at_most_one_call_of_each_other_key(seed: int) -> None:
    chance = random.Random(seed)
    queue = Queue(size=1000)
    numbers: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    overtaken: dict[str, Counter[str]] = {}
    """Calls that were the only one of their key -> calls that were admitted before them, by key."""
    for _ in range(300):
        if chance.random() < 0.5:
            key = chance.choice("aaaaaabbbcd")
            numbers[key] += 1
            name = f"{key}{numbers[key]}"
            if not waiting[key]:
                overtaken[name] = Counter()
            waiting[key] += 1
            queue.join(name)
        for admitted in queue.admitted(chance.choice([0, 1, 1, 2])):
            overtaken.pop(admitted, None)
            waiting[admitted[0]] -= 1
            queue.held.clear()  # it has ended
            for others in overtaken.values():
                others[admitted[0]] += 1
        assert all(count <= 1 for others in overtaken.values() for count in others.values())


# -- with the circuit of a provider ------------------------------------------------------------------------------------


QUEUE = "{size: 4, timeout: 60s}"


class Callers:
    """Calls of a provider with some slots and 4 in the queue, each in a task of its own."""

    def __init__(self, slots: int) -> None:
        text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', max_in_flight: {slots}, queue: {QUEUE}}}]"
        provider, clock = config_of(text).providers[0], FakeClock()
        self.circuit = Circuit(provider, clock, KeyPool(provider, clock), uniform=middle, is_shared=True)
        self.running: dict[asyncio.Task[None], asyncio.Event] = {}
        self.waiting: dict[asyncio.Task[None], Callable[[], None]] = {}
        """Each with a function that disconnects its client."""
        self._timer = DeadlineTimer()

    def start(self, key: str) -> None:
        asyncio.get_running_loop().create_task(self._call(key))

    async def _call(self, key: str) -> None:
        task = asyncio.current_task()
        assert task is not None

        def watch(on_disconnect: Callable[[], None]) -> Callable[[], None]:
            self.waiting[task] = on_disconnect
            return lambda: None

        try:
            with CallScope(self._timer, watch, 60) as scope:
                if self.circuit.has_slot(key):
                    error = self.circuit.acquire(key, "m")
                else:
                    error = await self.circuit.wait(key, "m", scope, 60)
        except ClientDisconnected:
            return
        finally:
            self.waiting.pop(task)
        if error is None:
            self.running[task] = asyncio.Event()
            try:
                await self.running[task].wait()
            finally:
                self.running.pop(task)
                self.circuit.release(key)


def one_event(callers: Callers, chance: random.Random) -> None:
    """A call starts, ends or is canceled, or a client disconnects."""
    events: list[Callable[[], object]] = [partial(callers.start, key) for key in "aaab"]
    events += [done.set for done in callers.running.values()]
    events += [task.cancel for task in [*callers.running, *callers.waiting]]
    events += callers.waiting.values()
    chance.choice(events)()


@pytest.mark.parametrize("slots", [2, 8])
@pytest.mark.parametrize("seed", range(20))
async def test_no_slot_is_lost_or_given_twice_whenever_calls_end_or_are_canceled(seed: int, slots: int) -> None:
    chance = random.Random(seed)
    callers = Callers(slots)
    for _ in range(400):
        one_event(callers, chance)
        if chance.random() < 0.7:
            await asyncio.sleep(0)
        assert callers.circuit.in_flight <= slots
        assert len(callers.running) <= slots
        assert callers.circuit.queued <= 4
    for _ in range(10):
        for done in list(callers.running.values()):
            done.set()
        await run_pending_tasks()

    assert (callers.circuit.in_flight, callers.circuit.queued, callers.waiting, callers.running) == (0, 0, {}, {})

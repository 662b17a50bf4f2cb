"""The usage of one of several processes: what it keeps, passes on and answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from proxy.api.workers import Condition, OfWorkers, Subject
from proxy.server.stored_usage import add_rest
from proxy.server.usage import UsageKeeper
from proxy.store.disk import Disk
from proxy.store.usage_files import LOCK, UsageFiles
from proxy.telemetry import Telemetry
from proxy.telemetry.events import grouped
from proxy.telemetry.usage_query import Answer, Query, TooManyTotals, packed, together
from proxy.telemetry.usage_records import decoded, encoded
from proxy.telemetry.usage_rows import Counts, Names
from tests.fakes import FakeClock, config_of
from tests.telemetry.calls import record

pytestmark = pytest.mark.anyio

ALL = Query(0, 2**40, ("key",))
CONFIG = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]"
ROW = Names("alice", "m", "a")


class Others:
    """Other processes, with these answers."""

    others: Sequence[Condition] = ()

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    async def usage(self, query: bytes) -> Sequence[bytes]:
        return self.parts

    async def values(self, subject: Subject, own: bytes) -> OfWorkers:
        raise AssertionError("not for usage")


def keeper(clock: FakeClock, workers: Others | None) -> UsageKeeper:
    return UsageKeeper(config_of(CONFIG), clock, Telemetry(clock.monotonic), lambda model: True, None, workers)


def use(keeper: UsageKeeper, key: str = "alice") -> None:
    keeper.usage.calls_ended(grouped([record(key=key, model="m", provider="a", input_tokens=1, output_tokens=2)]))


def requests(part: bytes) -> dict[str, int]:
    return {labels[0]: counts[0] for labels, counts in together([part]).totals}


async def test_rows_are_passed_on_to_the_leader_every_second(clock: FakeClock) -> None:
    passed: list[bytes] = []
    one, leader = keeper(clock, Others()), keeper(clock, Others())
    leader.lead(True)
    async with one.running():
        use(one)
        await clock.advance(1)
        assert one.usage.rows == 1  # not connected yet
        one.pass_on = passed.append
        one.usage.add({}, {"alice": 7.0})
        await clock.advance(2)
        use(one, "bob")
        one.hand_over()
    for rows in passed:
        leader.receive(rows)

    assert (one.usage.rows, len(passed)) == (0, 2)
    assert requests(await leader.part(packed(ALL))) == {"alice": 1, "bob": 1}


async def test_the_leader_keeps_its_rows(clock: FakeClock) -> None:
    passed: list[bytes] = []
    leader = keeper(clock, Others())
    leader.pass_on = passed.append
    leader.lead(True)
    use(leader)
    assert (requests(await leader.part(packed(ALL))), passed) == ({"alice": 1}, [])
    leader.lead(False)
    assert requests(await leader.part(packed(ALL))) == {}
    assert [decoded(rows).hours[1_800_000_000][ROW] for rows in passed] == [Counts(1, 0, 1, 2)]


async def test_an_answer_is_the_sum_of_all_processes(clock: FakeClock) -> None:
    parts = []
    for key in ("alice", "alice", "bob"):
        other = keeper(clock, None)
        use(other, key)
        parts.append(await other.part(packed(ALL)))

    answer = await keeper(clock, Others(*parts)).answer(ALL)
    assert {labels[0]: counts[0] for labels, counts in answer.totals} == {"alice": 2, "bob": 1}


async def test_without_answers_of_others_a_process_answers_for_itself(clock: FakeClock) -> None:
    alone = keeper(clock, Others())
    use(alone)

    assert len((await alone.answer(ALL)).totals) == 1


async def test_a_part_that_is_too_long_makes_the_answer_too_long(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.telemetry.usage_query.MAX_TOTALS", 0)
    other = keeper(clock, None)
    use(other)
    part = await other.part(packed(ALL))

    with pytest.raises(TooManyTotals):
        await keeper(clock, Others(part)).answer(ALL)


async def test_a_bug_while_rows_are_passed_on_does_not_stop_counting(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(rows: bytes) -> None:
        raise RuntimeError(rows)

    one = keeper(clock, Others())
    failing: Callable[[bytes], None] = fails
    one.pass_on = failing
    async with one.running():
        use(one)
        await clock.advance(1)
        one.pass_on = None
        use(one)
        await clock.advance(1)
    assert one.usage.rows == 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("internal error while counting usage: RuntimeError")


def test_what_no_process_has_written_is_added_to_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = str(tmp_path / "store")
    rest = [*encoded([(3600, {ROW: Counts(1, 0, 2, 3)}.items())], {"alice": 5.0})]
    for _ in range(2):
        add_rest(directory, "UTC", [*rest, *rest])
    files = UsageFiles(Disk(directory, LOCK))
    restored = files.read("UTC")

    assert [*restored.hours[3600].items()] == [(ROW, Counts(4, 0, 8, 12))]
    assert restored.used == {"alice": 5.0}
    files.lock()
    add_rest(directory, "UTC", rest)
    assert caplog.messages == [
        f"store.directory: {directory}: the last usage is lost: another process uses the directory"
    ]


async def test_long_answers_of_other_processes_are_added_up_in_a_thread(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop: list[bool] = []

    def add_up(parts: Iterable[bytes]) -> Answer:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return together(parts)

    monkeypatch.setattr("proxy.server.usage.together", add_up)
    other = keeper(clock, None)
    use(other)
    short = await other.part(packed(ALL))
    for number in range(1000):
        use(other, f"key-{number}")
    long = await other.part(packed(ALL))
    answers = [await keeper(clock, Others(part, part)).answer(ALL) for part in (short, long)]

    assert [len(answer.totals) for answer in answers] == [1, 1001]
    assert on_loop == [True, False]

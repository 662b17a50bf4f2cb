"""Faults of the directory, as workers report them."""

from __future__ import annotations

import pytest

from proxy.store.directory_faults import DirectoryFaults
from proxy.store.disk import DirectoryLocked
from tests.fakes import FakeClock

LOCKED = "another process uses the directory"


def locked(*, is_sibling: bool) -> DirectoryLocked:
    error = DirectoryLocked()
    error.is_sibling = is_sibling
    return error


def test_another_worker_is_no_problem_but_another_server_is_until_a_worker_writes(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    faults = DirectoryFaults("/d", clock, is_shared=True)
    problems = []
    for is_sibling in (True, False, False, False, True):
        faults.add(locked(is_sibling=is_sibling))
        problems.append(faults.problem)

    assert problems == ["", "", LOCKED, LOCKED, ""]
    assert caplog.messages == [f"store.directory: /d: {LOCKED}; this one does not write to it until that one has ended"]


def test_a_single_process_reports_every_other_one_at_once(clock: FakeClock) -> None:
    faults = DirectoryFaults("/d", clock, is_shared=False)
    faults.add(locked(is_sibling=True))

    assert faults.problem == LOCKED

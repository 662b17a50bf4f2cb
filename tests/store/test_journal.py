"""Changes in files: what is read again, and which files are removed."""

from __future__ import annotations

import pytest

from proxy.store import journal as module
from proxy.store.envelope import seal
from proxy.store.journal import MAX_FILES, Journal
from tests.fakes import FakeClock
from tests.store.files import FakeFiles

DAY = 86_400.0

pytestmark = pytest.mark.anyio


@pytest.fixture
def files(clock: FakeClock) -> FakeFiles:
    return FakeFiles(clock)


def opened(files: FakeFiles, clock: FakeClock) -> Journal:
    return Journal(files, b"ledger", 1, DAY, clock.time)


def read(files: FakeFiles, clock: FakeClock) -> list[bytes]:
    return [bytes(change) for change in opened(files, clock).read()]


def test_changes_are_read_in_their_order(files: FakeFiles, clock: FakeClock) -> None:
    for process in range(3):
        journal = opened(files, clock)
        journal.append(b"%d one" % process)
        journal.append(b"%d two" % process)

    assert read(files, clock) == [b"0 one", b"0 two", b"1 one", b"1 two", b"2 one", b"2 two"]
    assert sorted(files.content) == [f"ledger-{number:010}" for number in (1, 2, 3)]


def test_replaced_changes_are_all_that_is_left(files: FakeFiles, clock: FakeClock) -> None:
    opened(files, clock).append(b"old")
    journal = opened(files, clock)
    journal.replace([b"one", b"two"])
    journal.append(b"three")

    assert (read(files, clock), len(files.content)) == ([b"one", b"two", b"three"], 1)
    opened(files, clock).replace([])
    assert files.content == {}


@pytest.mark.parametrize("cut", [1, 40, 70])
def test_what_was_written_before_a_torn_change_is_read(cut: int, files: FakeFiles, clock: FakeClock) -> None:
    journal = opened(files, clock)
    journal.append(b"whole")
    journal.append(b"torn" * 10)
    files.content["ledger-0000000001"] = files.content["ledger-0000000001"][:-cut]
    opened(files, clock).append(b"later")

    assert read(files, clock) == [b"whole", b"later"]


def test_unusable_files_are_reported_and_left_out(
    files: FakeFiles, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    opened(files, clock).append(b"good")
    altered = files.content["ledger-0000000001"]
    files.content["ledger-0000000002"] = b"foreign"
    files.content["ledger-0000000003"] = altered[:-1] + b"?"
    files.content["ledger-0000000004"] = seal(b"ledger", 2, b"", b"x")
    files.content["ledger-0000000005"] = b""
    files.content["ledger-other"] = b"not ours"

    assert read(files, clock) == [b"good"]
    assert [message.partition("ignored: ")[2] for message in caplog.messages] == [
        "truncated, or not written by models-proxy",
        "wrong checksum, or written with other credentials",
        "written by a newer version",
    ]


async def test_files_that_are_too_old_or_too_many_are_removed(
    files: FakeFiles, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 100)
    journal = opened(files, clock)
    for number in range(MAX_FILES + 4):
        journal.append(b"%d" % number)
    assert len(files.content) == MAX_FILES
    await clock.advance(DAY + 1)
    journal.append(b"today")
    assert read(files, clock) == [b"today"]


def test_limit_of_a_file_is_kept(files: FakeFiles, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 250)
    journal = opened(files, clock)
    for _ in range(10):
        journal.append(b"x" * 50)

    assert [len(content) <= 250 for content in files.content.values()] == [True] * 5

"""The files of a directory: what is written is whole, only ours is read, and only one process uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.store.disk import LOCK, DirectoryLocked, Disk
from proxy.store.envelope import RecordError

LIMIT = 1000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(str(tmp_path / "lists"))
    disk.lock()
    yield disk
    disk.unlock()


def names(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "lists"))


def test_file_is_replaced_and_only_its_owner_can_read_it(disk: Disk, tmp_path: Path) -> None:
    disk.write("a.list", b"old")
    disk.write("a.list", b"new")

    assert disk.read("a.list", LIMIT) == b"new"
    assert names(tmp_path) == ["a.list", LOCK]
    assert [(tmp_path / "lists" / name).stat().st_mode & 0o777 for name in names(tmp_path)] == [0o600, 0o600]
    assert (tmp_path / "lists").stat().st_mode & 0o777 == 0o700


def test_directory_can_be_a_symbolic_link_as_with_dynamic_users_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "link").symlink_to("private")
    disk = Disk(str(tmp_path / "link"))
    disk.lock()
    disk.write("a.list", b"new")
    disk.append("b", b"more")

    assert [disk.read(name, LIMIT) for name in ("a.list", "b")] == [b"new", b"more"]
    assert {file.name for file in disk.list()} == {"a.list", "b", LOCK}
    disk.unlock()


def test_leftover_of_an_interrupted_write_is_replaced(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "lists" / "a.list.tmp").write_bytes(b"half")
    disk.write("a.list", b"whole")

    assert names(tmp_path) == ["a.list", LOCK]


def test_failed_write_keeps_the_old_file_and_leaves_no_other(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "lists" / "a.list").mkdir()

    with pytest.raises(IsADirectoryError):
        disk.write("a.list", b"new")
    assert names(tmp_path) == ["a.list", LOCK]


def test_links_pipes_directories_and_large_files_are_not_read(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "lists" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "lists" / "pipe")
    (tmp_path / "lists" / "directory").mkdir()
    disk.write("large", b"x" * (LIMIT + 1))

    with pytest.raises(OSError, match="symbolic links"):
        disk.read("link", LIMIT)
    for name, reason in (("pipe", "regular file"), ("directory", "regular file"), ("large", "larger than 1,000 bytes")):
        with pytest.raises(RecordError, match=reason):
            disk.read(name, LIMIT)
    with pytest.raises(FileNotFoundError):
        disk.read("missing", LIMIT)


def test_file_of_another_user_is_not_read(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.write("a", b"x")
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)

    with pytest.raises(RecordError, match="owned by another user"):
        disk.read("a", LIMIT)


def test_link_is_not_followed_when_a_file_is_written(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "lists" / "a.tmp").symlink_to(tmp_path / "other")
    disk.write("a", b"new")

    assert (tmp_path / "other").read_bytes() == b"other"
    assert disk.read("a", LIMIT) == b"new"


def test_only_one_process_locks_the_directory(disk: Disk, tmp_path: Path) -> None:
    other = Disk(str(tmp_path / "lists"))

    with pytest.raises(DirectoryLocked):
        other.lock()
    disk.unlock()
    other.lock()
    with pytest.raises(DirectoryLocked):
        disk.lock()
    other.unlock()


def test_lock_of_another_worker_is_told_apart_from_that_of_another_server(disk: Disk, tmp_path: Path) -> None:
    other = Disk(str(tmp_path / "lists"))

    with pytest.raises(DirectoryLocked) as of_worker:
        other.lock()
    (tmp_path / "lists" / LOCK).write_bytes(b"another server..")
    with pytest.raises(DirectoryLocked) as of_server:
        other.lock()
    assert (of_worker.value.is_sibling, of_server.value.is_sibling) == (True, False)


def test_directory_that_was_removed_is_created_and_locked_again(disk: Disk, tmp_path: Path) -> None:
    disk.lock()
    os.unlink(tmp_path / "lists" / LOCK)
    os.rmdir(tmp_path / "lists")
    disk.lock()
    disk.write("a", b"x")

    with pytest.raises(DirectoryLocked):
        Disk(str(tmp_path / "lists")).lock()
    assert [(file.name, file.size) for file in disk.list() if file.name != LOCK] == [("a", 1)]
    disk.remove("a")
    disk.remove("a")
    assert names(tmp_path) == [LOCK]

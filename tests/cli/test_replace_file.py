"""A file is replaced as a whole, keeps its attributes, and loses no change of others."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from proxy.cli.replace_file import LOCK_SECONDS, locked, read_file
from proxy.cli.terminal import Failure

MAX = 1000
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"old")
    return path


def replace(path: Path, content: bytes = b"new") -> None:
    with locked(path, MAX) as file:
        file.replace(content)


def failure(path: Path) -> str:
    with pytest.raises(Failure) as failed:
        replace(path)
    return failed.value.message


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, which are above those of files."""
    user = os.geteuid()
    os.seteuid(user or NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_the_content_is_replaced_and_no_other_file_remains(path: Path) -> None:
    with locked(path, MAX) as file:
        assert file.content == b"old"
        file.replace(b"new")
    assert (path.read_bytes(), os.listdir(path.parent)) == (b"new", ["config.yaml"])


def test_readers_keep_the_old_file_until_they_open_the_new_one(path: Path) -> None:
    with path.open("rb") as reader:
        replace(path)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_is_kept(mode: int, path: Path) -> None:
    path.chmod(mode)
    replace(path)
    assert (path.stat().st_mode & 0o777, path.read_bytes()) == (mode, b"new")


def test_the_owner_is_kept(path: Path) -> None:
    owner = os.getuid() or NOBODY
    os.chown(path, owner, owner if owner == NOBODY else -1)
    before = path.stat()
    replace(path)
    after = path.stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_uid == owner


def test_extended_attributes_are_kept(path: Path) -> None:
    with suppress(OSError):  # not every file system has them
        os.setxattr(path, "user.note", b"1")
    before = os.listxattr(path)
    replace(path)
    assert os.listxattr(path) == before


def test_the_real_file_behind_symbolic_links_is_replaced(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "second").symlink_to(path)
    (folder / "first").symlink_to("second")
    replace(folder / "first")
    assert path.read_bytes() == b"new"
    assert (folder / "first").readlink() == Path("second")
    assert sorted(os.listdir(folder)) == ["first", "second"]


@pytest.mark.parametrize("content", [b"other", b"old"], ids=["another content", "the same content"])
def test_a_change_of_another_program_meanwhile_is_not_overwritten(content: bytes, path: Path) -> None:
    with locked(path, MAX) as file:
        other = path.with_name("other")
        other.write_bytes(content)
        other.rename(path)
        with pytest.raises(Failure) as failed:
            file.replace(b"new")
    expected = f"{path} was changed by another program meanwhile; run the command again"
    assert (failed.value.message, path.read_bytes()) == (expected, content)
    assert os.listdir(path.parent) == ["config.yaml"]


def test_edits_at_the_same_time_wait_for_each_other(path: Path) -> None:
    path.write_bytes(b"")
    together = threading.Barrier(8)

    def append(number: int) -> None:
        together.wait()
        with locked(path, MAX) as file:
            file.replace(file.content + b"%d," % number)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes().split(b",")) == [b"", *(b"%d" % number for number in range(8))]


def test_an_edit_does_not_wait_forever(path: Path) -> None:
    waited: list[float] = []
    with locked(path, MAX), pytest.raises(Failure) as failed, locked(path, MAX, waited.append):
        pass
    assert sum(waited) == pytest.approx(LOCK_SECONDS)
    assert failed.value.message == f"another command is editing files in {path.parent}; run the command again"


def test_a_folder_without_write_permission_is_an_error_with_a_hint() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_bytes(b"old")
        Path(folder).chmod(0o555)
        with unprivileged():
            message = failure(path)
        hint = "run this command as the owner of the file and its folder"
        assert message == f"{path} cannot be replaced: Permission denied; {hint}"
        Path(folder).chmod(0o755)
        assert (path.read_bytes(), os.listdir(folder)) == (b"old", ["config.yaml"])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda path: None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is not a regular file", id="a folder"),
        pytest.param(os.mkfifo, "is not a regular file", id="a pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "is not a regular file", id="a device"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "cannot be read: No such file or directory", id="a link"),
        pytest.param(
            lambda path: path.symlink_to(path.name), "cannot be read: symbolic links in a circle", id="a link to itself"
        ),
        pytest.param(
            lambda path: path.write_bytes(b"x" * (MAX + 1)),
            "is larger than 1,000 bytes; check that it is a configuration file",
            id="too large",
        ),
    ],
)
def test_what_is_no_file_is_an_error(make: Callable[[Path], object], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    make(path)
    assert failure(path) == f"{path} {problem}"


def test_a_file_is_read_without_a_lock(path: Path) -> None:
    with locked(path, MAX):
        assert read_file(path, MAX) == b"old"

"""The files of a configuration: which changes are noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config import ConfigError, read
from proxy.config.sources import Sources, matches, stamp

TEXT = """\
providers:
  - {name: a, base_url: "http://h", api_key_file: KEY_FILE, ca_file: CORP_PEM}
"""


@pytest.fixture
def main(tmp_path: Path, corp_pem: str) -> Path:
    (tmp_path / "key").write_text("sk-canary-1")
    file = tmp_path / "config.yaml"
    file.write_text(TEXT.replace("KEY_FILE", f"{tmp_path}/key").replace("CORP_PEM", corp_pem))
    return file


def test_sources_are_the_file_and_those_with_secrets_and_certificates(main: Path, corp_pem: str) -> None:
    assert [*read(main, {}).sources.files] == [str(main), f"{main.parent}/key", corp_pem]


def test_unchanged_files_are_equal_sources(main: Path) -> None:
    sources = read(main, {}).sources

    assert sources.look() == sources


def in_place(path: Path) -> None:
    path.write_text(path.read_text().replace("canary-1", "canary-2"))


def renamed(path: Path) -> None:
    """Replace a file by another one with the same content, size and time."""
    time = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_text(path.read_text())
    os.utime(other, ns=(time, time))
    other.replace(path)


def same_size_and_time(path: Path) -> None:
    time = path.stat().st_mtime_ns
    in_place(path)
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("change", [in_place, renamed, same_size_and_time, Path.unlink, lambda path: path.chmod(0)])
@pytest.mark.parametrize("name", ["config.yaml", "key"])
def test_changed_file_is_a_difference(main: Path, name: str, change: Callable[[Path], None]) -> None:
    sources = read(main, {}).sources
    change(main.parent / name)

    assert sources.look() != sources


def test_replaced_folder_behind_a_symbolic_link_is_a_difference(main: Path, tmp_path: Path) -> None:
    """As Kubernetes updates the files of a ConfigMap: `config.yaml -> ..data/config.yaml`, `..data -> ..2027`."""
    volume = tmp_path / "volume"
    for version in ("..2027", "..2028"):
        (volume / version).mkdir(parents=True)
        (volume / version / "config.yaml").write_text(main.read_text())
    (volume / "..data").symlink_to("..2027")
    (volume / "config.yaml").symlink_to("..data/config.yaml")
    sources = read(volume / "config.yaml", {}).sources
    (volume / "..new").symlink_to("..2028")
    (volume / "..new").replace(volume / "..data")

    assert sources.look() != sources


def test_error_has_the_files_whose_change_may_fix_it(main: Path) -> None:
    (main.parent / "key").unlink()
    with pytest.raises(ConfigError) as raised:
        read(main, {})
    (main.parent / "key").write_text("sk-canary-1")

    assert [*raised.value.sources.files][:2] == [str(main), f"{main.parent}/key"]
    assert raised.value.sources.look() != raised.value.sources


def test_missing_file_is_a_source_of_its_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path / "config.yaml", {})

    assert raised.value.sources == Sources({f"{tmp_path}/config.yaml": None})


def test_new_file_that_matches_a_pattern_is_a_difference(tmp_path: Path) -> None:
    pattern = f"{tmp_path}/*.yaml"
    sources = Sources({}, {pattern: matches(pattern)})
    (tmp_path / "new.yaml").write_text("")

    assert sources.look() == Sources({}, {pattern: (f"{tmp_path}/new.yaml",)}) != sources


def test_only_stars_and_question_marks_are_wildcards(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "ab.yaml", "[ab].yaml", ".a.yaml"):
        (tmp_path / name).write_text("")

    def found(pattern: str) -> list[str]:
        return [Path(path).name for path in matches(f"{tmp_path}/{pattern}")]

    assert found("*.yaml") == ["[ab].yaml", "a.yaml", "ab.yaml", "b.yaml"]
    assert found("?.yaml") == ["a.yaml", "b.yaml"]
    assert found("[ab].yaml") == ["[ab].yaml"]
    assert found("no-*.yaml") == []


@pytest.mark.parametrize("path", ["", "/no/such/file", "with a \0 byte", "n" * 10_000])
def test_file_that_cannot_be_reached_has_no_stamp(path: str) -> None:
    assert stamp(path) is None

"""Where settings are written: file, line, and the setting as the file names it."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from proxy.config import parse, read
from proxy.config.document import read as read_document
from proxy.config.places import Place, Places
from tests.fakes import digest

MAIN = f"""\
include: [more.yaml]
merge: {{fill: true}}
owners: [{{match: ["a*"], owner: a}}]
providers:
  - name: first
    base_url: http://127.0.0.1/v1
    exclude:
      - "x"
      - "y"
groups:
  staff:
    models: ["*", "!b"]
keys:
  - {{name: alice, hash: "{digest("alice")}", group: staff}}
"""
MORE = f"""\
owners:
  - {{match: ["b*", "c*"], owner: b}}
providers:
  - name: second
    base_url: http://127.0.0.1/v1
    aliases: {{public: own}}
keys:
  - name: bob
    hash: "{digest("bob")}"
    models: ["m",
      "!n"]
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "main.yaml").write_text(MAIN, encoding="utf-8")
    (tmp_path / "more.yaml").write_text(MORE, encoding="utf-8")
    return read(tmp_path / "main.yaml", {}).places


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("providers", "first"), ("main.yaml", 5, "providers[0]")),
        (("providers", "first", "exclude", 1), ("main.yaml", 9, "providers[0].exclude[1]")),
        (("providers", "second", "aliases", "public"), ("more.yaml", 6, "providers[0].aliases.public")),
        (("owners", 0, "match", 0), ("main.yaml", 3, "owners[0].match[0]")),
        (("owners", 1, "match", 1), ("more.yaml", 2, "owners[0].match[1]")),
        (("groups", "staff", "models", 1), ("main.yaml", 12, "groups.staff.models[1]")),
        (("keys", "alice"), ("main.yaml", 14, "keys[0]")),
        (("keys", "bob", "models", 1), ("more.yaml", 11, "keys[0].models[1]")),
        (("merge", "fill"), ("main.yaml", 2, "merge.fill")),
        (("keys",), ("main.yaml", 13, "keys")),
    ],
)
def test_a_setting_is_found_in_its_file(path: tuple[str | int, ...], expected: Place, places: Places) -> None:
    found = places.find(*path)

    assert found is not None
    assert (Path(found.file).name, found.line, found.setting) == expected


@pytest.mark.parametrize(
    "path",
    [
        ("providers", "first", "include", 0),
        ("providers", "third"),
        ("keys", "alice", "models", 0),
        ("keys", "alice", "hash"),
        ("owners", 2),
        ("server", "port"),
    ],
)
def test_a_setting_that_no_file_contains_has_no_place(path: tuple[str | int, ...], places: Places) -> None:
    assert places.find(*path) is None


def test_a_configuration_without_files_has_no_places() -> None:
    assert Places().find("providers", "first") is None
    assert Places().find("merge", "fill") is None


def test_the_last_of_many_keys_is_found() -> None:
    keys = "".join(f'  - {{name: k{n}, hash: "sha256:{n:064x}", models: ["m"]}}\n' for n in range(3000))
    config = parse(f"providers: [{{name: a, kind: static, models: [m]}}]\nkeys:\n{keys}", "config.yaml")

    assert config.places.find("keys", "k2999", "models", 0) == ("config.yaml", 3002, "keys[2999].models[0]")


def test_places_take_little_memory() -> None:
    number = 5000
    keys = "".join(f'  - {{name: k{n}, hash: "sha256:{n:064x}", models: ["m", "!n"]}}\n' for n in range(number))
    document = read_document(f"keys:\n{keys}", "config.yaml", {})
    tracemalloc.start()
    try:
        places = Places.of([document])
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert places.find("keys", "k0") is not None
    assert size / number < 60

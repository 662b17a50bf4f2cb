"""The tests that docs/reliability.md names exist."""

from __future__ import annotations

import re

import pytest

from tests.paths import ROOT

TESTS = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))


def test_the_page_names_tests() -> None:
    assert len(TESTS) > 30


@pytest.mark.parametrize(("path", "name"), TESTS, ids=["::".join(each) for each in TESTS])
def test_a_named_test_exists(path: str, name: str) -> None:
    assert (
        f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8")
        if name
        else (ROOT / "tests" / path).is_file()
    )

"""Every message in troubleshooting.md is one that the code can print."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import DOCS, rows, section
from tests.paths import ROOT

PAGE = DOCS / "troubleshooting.md"
MESSAGES = [
    fragment.strip()
    for heading in ("Start", "Model lists", "Calls")
    for row in rows(section(PAGE, heading))
    for quoted in re.findall(r"`([^`]+)`", row[0])
    for fragment in quoted.replace("'", "`").split("...")
    if fragment.strip()
]


def literals() -> str:
    """All strings of the program, one per line; `{}` is no part of any."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "proxy").rglob("*.py"))]
    return "\n".join(
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


LITERALS = literals()


def quoted_as_in_code(fragment: str) -> bool:
    """Whether the program contains the fragment; an apostrophe of the code is a backtick here, as in a message."""
    return fragment in LITERALS.replace("'", "`")


@pytest.mark.parametrize("fragment", MESSAGES)
def test_the_program_contains_the_message(fragment: str) -> None:
    assert quoted_as_in_code(fragment)


def test_there_are_messages_to_test() -> None:
    assert len(MESSAGES) >= 45

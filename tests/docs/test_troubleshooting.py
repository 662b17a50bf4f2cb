"""Every message in troubleshooting.md is one that the code can print."""

from __future__ import annotations

import ast

import pytest

from tests.docs.pages import DOCS, code, rows, section
from tests.paths import ROOT

PAGE = DOCS / "troubleshooting.md"
MESSAGES = [
    fragment.strip()
    for heading in ("Start", "Model lists", "Calls")
    for row in rows(section(PAGE, heading))
    for quoted in code(row[0])
    for fragment in quoted.split("...")
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


@pytest.mark.parametrize("fragment", MESSAGES)
def test_the_program_contains_the_message(fragment: str) -> None:
    assert fragment in LITERALS


def test_there_are_messages_to_test() -> None:
    assert len(MESSAGES) >= 45

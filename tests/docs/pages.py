"""Reads the Markdown pages of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.paths import ROOT

DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Sequence[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def section(page: Path, heading: str) -> str:
    """The text below a heading of the second level."""
    _, match, rest = text_of(page).partition(f"\n## {heading}\n")
    assert match, f"{name_of(page)} has no section {heading}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> Sequence[Sequence[str]]:
    """The cells of the first table in a text, without its head."""
    table = re.search(r"(?m)(?:^\|.*\n)+", text)
    assert table, "there is no table"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def code(text: str) -> Sequence[str]:
    """What is in single or double backticks in a text."""
    return [double or single for double, single in re.findall(r"``(.+?)``|`([^`]+)`", text)]


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> Iterator[str]:
    """The anchors of a page, as GitHub and MkDocs make them."""
    for title in re.findall(r"(?m)^#+ (.+)$", without_code(page)):
        yield re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")

"""Reads the Markdown pages of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.paths import ROOT

DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Sequence[str]:
    """The code blocks of a page in one language."""
    return blocks_in(text_of(page), language)


def blocks_in(text: str, language: str) -> Sequence[str]:
    """The code blocks of a text in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


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


class Lines(NamedTuple):
    """What the README shows for a client to paste."""

    language: str
    text: str


def lines_to_paste() -> Mapping[str, Lines]:
    """The README's lines for each client, by its name."""
    client = re.compile(
        r"<details><summary><b>(.+?)</b>[^\n]*</summary>\n\n```(\w+)\n(.*?)```\n\n</details>\n", re.DOTALL
    )
    _, *parts = section(ROOT / "README.md", "Use it with").partition("<details>")
    text = "".join(parts).rstrip() + "\n"
    found = {match[1]: Lines(match[2], match[3]) for match in client.finditer(text)}
    assert client.sub("", text) == "", "each client has one summary and one code block"
    return found

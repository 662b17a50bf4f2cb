"""providers.md: every known provider has a snippet that can be pasted."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from proxy.config import parse
from tests.docs.pages import DOCS, rows, section, text_of
from tests.paths import ROOT

PAGE = DOCS / "providers.md"
KNOWN = [[cell.strip("`") for cell in row] for row in rows(section(PAGE, "Known providers"))]
SNIPPETS = text_of(PAGE).partition("<!-- snippets -->\n```yaml\n")[2].partition("\n```")[0].splitlines()


def variables_of(text: str) -> dict[str, str]:
    names = re.findall(r"\$\{([A-Z_]+)\}", text)
    return {name: "https://login.example.com/token" if name.endswith("_URL") else "sk-fake-for-tests" for name in names}


def test_the_table_is_long_and_names_each_provider_once() -> None:
    assert len({row[1] for row in KNOWN}) >= 15
    assert len({row[0] for row in KNOWN}) == len(KNOWN) >= 40


@pytest.mark.parametrize(("row", "snippet"), list(zip(KNOWN, SNIPPETS, strict=True)), ids=lambda value: str(value)[:40])
def test_each_snippet_can_be_pasted(row: Sequence[str], snippet: str) -> None:
    variables = variables_of(snippet)
    (provider,) = parse(f"providers:\n  {snippet}\n", environ=variables).providers
    assert (provider.kind, provider.base_url) == (row[1], row[2])
    if variables:
        assert parse(f"providers:\n  {snippet}\n", environ={}).skipped, "without its variables it is skipped"


def test_the_snippets_can_be_pasted_all_together() -> None:
    text = "providers:\n" + "\n".join(f"  {snippet}" for snippet in SNIPPETS)
    variables = dict.fromkeys(variables_of(text), "https://fake.example.com")
    assert len(parse(text, environ=variables).providers) == len(KNOWN)


@pytest.mark.parametrize(("row", "snippet"), list(zip(KNOWN, SNIPPETS, strict=True)), ids=lambda value: str(value)[:40])
def test_a_provider_whose_models_cannot_be_called_is_marked(row: Sequence[str], snippet: str) -> None:
    (provider,) = parse(f"providers:\n  {snippet}\n", environ=variables_of(snippet)).providers
    assert ("list only" in row[4]) == (provider.target is None)


def test_a_provider_has_the_same_variable_here_and_in_the_shipped_file() -> None:
    here, shipped = variables_by_provider(text_of(PAGE)), variables_by_provider(text_of(ROOT / "config.yaml"))
    both = here.keys() & shipped
    assert {name: shipped[name] for name in both} == {name: here[name] for name in both}
    assert len(both) >= 8


def variables_by_provider(text: str) -> dict[str, str]:
    """Name of a provider -> the variable of its `api_key`."""
    entries = re.split(r"(?m)^ *- (?=name:|\{name:)", text)[1:]
    pairs = [(re.search(r"name: ([\w-]+)", entry), re.search(r"\bapi_key: \"?\$\{(\w+)", entry)) for entry in entries]
    return {name[1]: variable[1] for name, variable in pairs if name and variable}

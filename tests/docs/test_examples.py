"""Examples in the documentation work: configurations load, commands and their options exist, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from proxy.cli.main import main
from proxy.cli.startup import Screen, StartupReport
from proxy.config import parse, read
from proxy.config.documents import SECTIONS
from proxy.store import Store
from tests.certificates import with_certificates
from tests.docs.pages import (
    DOCS,
    PAGES,
    blocks,
    blocks_in,
    headings,
    lines_to_paste,
    name_of,
    section,
    text_of,
    without_code,
)
from tests.fakes import FakeClock, FakeFetch
from tests.paths import ROOT

YAML = [(name_of(page), block) for page in PAGES for block in blocks(page, "yaml")]
CONFIGURATIONS = [(page, block) for page, block in YAML if isinstance(yaml.safe_load(block), dict)
                  and set(yaml.safe_load(block)) <= set(SECTIONS) - {"include"}]  # fmt: skip
"""Without those that include files, which are loaded with these files in `test_operations.py`."""
COMMANDS = [
    (name_of(page), line)
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.replace("\\\n", " ").splitlines()
    if re.search(r"\bmodels-proxy [a-z]", line) and not line.lstrip().startswith(("docker", "#"))
]
EXAMPLE_PROVIDER = "providers: [{name: example, kind: static, models: [{id: m}]}]\n"


@pytest.mark.parametrize(("page", "block"), YAML)
def test_yaml_is_valid(page: str, block: str) -> None:
    assert yaml.safe_load(block)


@pytest.mark.parametrize(("page", "block"), CONFIGURATIONS)
def test_a_configuration_loads(page: str, block: str, tmp_path: Path) -> None:
    text = with_certificates(block, tmp_path)
    if "providers" not in yaml.safe_load(block):
        text += EXAMPLE_PROVIDER
    variables = {name: f"sk-fake-{name}" for name in re.findall(r"\$\{(\w+)\}", text)}
    assert parse(text, environ=variables, read_secret=lambda path: f"sk-fake-{path}").providers


def test_there_are_configurations_to_test() -> None:
    assert len(CONFIGURATIONS) >= 5


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_and_its_options_exist(page: str, line: str) -> None:
    call = line[line.index("models-proxy ") :].partition("|")[0].partition(")")[0].partition(">")[0]
    _, name, *arguments = shlex.split(call, comments=True)
    context = click.Context(main, **main.context_settings)
    command = main.get_command(context, name)
    assert command is not None, name
    command.make_context(name, arguments, parent=context)  # with a parent: click caches help options per command


def test_there_are_commands_to_test() -> None:
    assert {shlex.split(line.partition("models-proxy ")[2])[0] for _, line in COMMANDS} >= {"serve", "check", "keygen"}


def test_code_blocks_in_every_language_are_tested() -> None:
    """Where: commands, YAML, JSON and sample outputs in tests/docs, first calls, deployments and
    clients in tests/deploy and tests/clients too."""
    fences = [re.findall(r"(?ms)^ *```(\w*)\n.*?^ *```$", text_of(page)) for page in PAGES]
    assert set(chain(*fences)) == {"sh", "yaml", "json", "", "python", "js", "nginx", "text", "toml"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        file, _, anchor = link.partition("#")
        if file.startswith("https://"):
            continue
        target = (page.parent / file) if file else page
        assert target.is_file(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=name_of)
def test_every_page_is_linked_by_the_readme_and_the_site(page: Path) -> None:
    assert page.name == "index.md" or f"(docs/{page.name})" in text_of(ROOT / "README.md")
    assert f": {page.name}\n" in text_of(DOCS / "mkdocs.yml")


def test_the_readme_is_short() -> None:
    """Without the lines for each client, which are collapsed."""
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) - len(section(ROOT / "README.md", "Use it with").splitlines()) <= 215


def test_the_table_of_contents_of_the_readme_is_complete() -> None:
    contents, _, sections = text_of(ROOT / "README.md").partition("\n## ")
    assert re.findall(r"\[([^]]+)\]\(#", contents) == re.findall(r"(?m)^## (.+)$", f"## {sections}")


def test_each_client_has_at_most_three_lines_to_paste() -> None:
    """`tests/clients` runs them."""
    clients = lines_to_paste()
    assert list(clients) == [
        *("OpenAI", "Anthropic", "Gemini", "Ollama", "Codex", "Claude Code", "Cursor", "Open WebUI"),
        *("LangChain", "LiteLLM", "Vercel AI SDK"),
    ]
    assert {client: lines.text for client, lines in clients.items() if len(re.findall(r".+", lines.text)) > 3} == {}


def first_call() -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body of the first call with curl in the README."""
    (block,) = [block for block in blocks(ROOT / "README.md", "sh") if block.startswith("curl")]
    _, url, *options = shlex.split(block.replace("\\\n", " "))
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    (body,) = [value for option, value in pairs if option == "-d"]
    return url, headers, json.loads(body)


def test_the_first_call_is_the_same_with_curl_python_and_node() -> None:
    url, headers, body = first_call()
    readme = ROOT / "README.md"
    (python,), (node,) = (blocks_in(section(readme, "First call"), language) for language in ("python", "js"))
    assert url == "http://127.0.0.1:8000/v1/chat/completions"
    assert headers == {"Authorization": "Bearer mp-...", "Content-Type": "application/json"}
    for block in (python, node):
        assert "http://127.0.0.1:8000/v1" in block
        assert {"mp-...", body["model"], body["messages"][0]["content"]} <= set(re.findall(r'"([^"]*)"', block))


def test_the_sample_output_of_the_readme_is_what_serve_prints(fetch: FakeFetch, clock: FakeClock) -> None:
    config = read(ROOT / "config.yaml", environ={})
    printed: list[str] = []
    screen = Screen(printed.append, printed.append)
    StartupReport(config, "config.yaml", screen).on_start(Store(config, fetch, clock).reports())
    (sample,) = re.findall(r"(?m)^```\n(  skipped(?:.*\n)+?)```", text_of(ROOT / "README.md"))
    skipped, declared, fetched, last, _ = sample.split("\n")
    assert {skipped, declared} <= set(printed)
    assert (
        fetched
        == declared.replace("declared", "ok      ").replace("example   ", "openrouter").replace("1 m", "338 m") + "s"
    )
    assert last == "Listening on http://127.0.0.1:8000"

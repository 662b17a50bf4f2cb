"""The SDKs of each API list, retrieve, call and stream models through one base URL with one key."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.clients.apis import CLAUDE, GEMINI, GPT, LISTED, QWEN
from tests.clients.running import KEY, Setup
from tests.docs.pages import DOCS, blocks, lines_to_paste

PAGE = DOCS / "clients.md"
SDKS = {
    "openai": (GPT, LISTED),
    "anthropic": (CLAUDE, LISTED),
    "gemini": (GEMINI, [GEMINI]),
    "ollama": (QWEN, [QWEN]),
    "mistral": (GPT, LISTED),
}
FRAMEWORKS = {"langchain": (GPT, None), "litellm": (GPT, LISTED)}
"""They call models by their ids, and do not retrieve them. LangChain does not list them either."""
FURTHER: dict[str, dict[str, Any]] = {
    "gemini": {"counted": 3, "embedded": [0.5]},
    "langchain": {"embedded": [0.5]},
    "litellm": {"embedded": [0.5]},
    "ollama": {"generated": ["hel", "lo"], "embedded": [0.5]},
}


@pytest.mark.parametrize("sdk", [*SDKS, *FRAMEWORKS])
def test_a_python_sdk_lists_retrieves_calls_and_streams(sdk: str, python: Path, proxy: Setup) -> None:
    model, _ = {**SDKS, **FRAMEWORKS}[sdk]
    script = str(Path(__file__).parent / "sdks.py")
    # LiteLLM would fetch its table of prices.
    variables = {"BASE_URL": proxy.url, "KEY": KEY, "MODEL": model, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    check(sdk, json.loads(proxy.output(str(python), script, sdk, **variables).splitlines()[-1]))


def check(sdk: str, printed: dict[str, Any]) -> None:
    model, listed = {**SDKS, **FRAMEWORKS}[sdk]
    status, message = printed.pop("error")
    assert printed == {
        **({"listed": listed} if listed else {}),
        **({"retrieved": model} if sdk in SDKS else {}),
        "called": [model, "hello", 8],
        "streamed": [*printed["streamed"][:2], *([""] * (len(printed["streamed"]) - 2))],
        **FURTHER.get(sdk, {}),
    }
    assert "".join(printed["streamed"]) == "hello"
    assert status == 404
    assert "The model 'unknown' does not exist" in message


@pytest.mark.parametrize("sdk", [sdk for sdk in SDKS if sdk != "mistral"])
def test_a_node_sdk_lists_retrieves_calls_and_streams(sdk: str, packages: Path, proxy: Setup) -> None:
    model, _ = SDKS[sdk]
    script = str(packages / "sdks.mjs")
    check(sdk, json.loads(proxy.output(str(npm.NODE), script, sdk, BASE_URL=proxy.url, KEY=KEY, MODEL=model)))


PYTHON = {block.splitlines()[0]: block for block in blocks(PAGE, "python")}
README = lines_to_paste()
README_PYTHON = {lines.text.splitlines()[0]: lines.text for lines in README.values() if lines.language == "python"}


@pytest.mark.parametrize("first_line", PYTHON)
def test_the_documented_lines_of_a_python_client_print_an_answer(first_line: str, python: Path, proxy: Setup) -> None:
    """Those of the page, then those of the README, in one process: the import is most of the time."""
    documented = [PYTHON[first_line], *([README_PYTHON[first_line]] if first_line in README_PYTHON else [])]
    script = "".join(adapted(lines, proxy) for lines in documented)
    # LiteLLM would fetch its table of prices.
    output = proxy.output(str(python), "-c", script, LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert output.split() == ["hello"] * len(documented)


def test_all_python_lines_of_the_readme_are_run() -> None:
    assert len(README_PYTHON) == 6
    assert set(README_PYTHON) <= set(PYTHON)


def test_the_documented_lines_of_the_vercel_ai_sdk_print_an_answer(packages: Path, proxy: Setup) -> None:
    (lines,) = blocks(PAGE, "js")
    # It finds packages in the directory of the file.
    script = packages / "node_modules" / ".documented.mjs"
    for documented in (lines, README["Vercel AI SDK"].text):
        script.write_text(adapted(documented, proxy), encoding="utf-8")
        assert proxy.output(str(npm.NODE), str(script)).strip() == "hello"


def test_gemini_cli_with_the_documented_settings_answers_a_prompt(packages: Path, proxy: Setup) -> None:
    (settings,) = blocks(PAGE, "json")
    (lines,) = [block for block in blocks(PAGE, "sh") if "GEMINI_API_KEY" in block]
    variables = dict(re.findall(r"(?m)^export (\w+)=(\S+)", adapted(lines, proxy)))
    directory = proxy.home / ".gemini"
    directory.mkdir()
    (directory / "settings.json").write_text(settings, encoding="utf-8")
    program = packages / "node_modules" / "@google" / "gemini-cli" / "bundle" / "gemini.js"
    command = shlex.split(lines.splitlines()[-1])
    output = proxy.output(str(npm.NODE), str(program), "--skip-trust", *command[1:], **variables)
    assert command[0] == "gemini"
    assert output.strip().endswith("hello")


def adapted(lines: str, proxy: Setup) -> str:
    """Documented lines with the URL and the key of this proxy."""
    assert "http://127.0.0.1:8000" in lines
    assert "mp-..." in lines
    return lines.replace("http://127.0.0.1:8000", proxy.url).replace("mp-...", KEY)

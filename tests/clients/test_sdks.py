"""The SDKs of each API list, retrieve, call and stream models through one base URL with one key."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.clients.apis import CLAUDE, GEMINI, GPT, LISTED, QWEN, every_api
from tests.clients.running import KEY, Setup
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "clients.md"
SDKS = {
    "openai": (GPT, LISTED),
    "anthropic": (CLAUDE, LISTED),
    "gemini": (GEMINI, [GEMINI]),
    "ollama": (QWEN, [QWEN]),
    "mistral": (GPT, LISTED),
}
FURTHER: dict[str, dict[str, Any]] = {
    "gemini": {"counted": 3, "embedded": [0.5]},
    "ollama": {"generated": ["hel", "lo"], "embedded": [0.5]},
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with every_api(tmp_path_factory.mktemp("home")) as proxy:
        yield proxy


@pytest.mark.parametrize("sdk", SDKS)
def test_a_python_sdk_lists_retrieves_calls_and_streams(sdk: str, python: Path, proxy: Setup) -> None:
    model, _ = SDKS[sdk]
    script = str(Path(__file__).parent / "sdks.py")
    check(sdk, json.loads(proxy.output(str(python), script, sdk, BASE_URL=proxy.url, KEY=KEY, MODEL=model)))


def check(sdk: str, printed: dict[str, Any]) -> None:
    model, listed = SDKS[sdk]
    status, message = printed.pop("error")
    assert printed == {
        "listed": listed,
        "retrieved": model,
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


@pytest.mark.parametrize("first_line", PYTHON)
def test_the_documented_lines_of_a_python_client_print_an_answer(first_line: str, python: Path, proxy: Setup) -> None:
    assert adapted(PYTHON[first_line], proxy) != PYTHON[first_line]
    # LiteLLM would fetch its table of prices.
    output = proxy.output(str(python), "-c", adapted(PYTHON[first_line], proxy), LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert output.strip() == "hello"


def test_the_documented_lines_of_the_vercel_ai_sdk_print_an_answer(packages: Path, proxy: Setup) -> None:
    (lines,) = blocks(PAGE, "js")
    # It finds packages in the directory of the file.
    script = packages / "node_modules" / ".documented.mjs"
    script.write_text(adapted(lines, proxy), encoding="utf-8")
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
    return lines.replace("http://127.0.0.1:8000", proxy.url).replace("mp-...", KEY)

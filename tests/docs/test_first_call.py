"""The README's commands for a running server work as printed, with the real clients.

`tests/deploy/test_curl.py` makes the first call with curl.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests import npm
from tests.docs.first_call import MODEL, WORDS, first_call, output_of
from tests.docs.pages import blocks, blocks_in, section
from tests.fakes import FakeClock, FakeFetch
from tests.paths import ROOT

pytestmark = pytest.mark.anyio

README = ROOT / "README.md"


@pytest.fixture(scope="session")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the locked version of the package `openai`, from the npm registry."""
    project = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests" / "node" / name, project)
    npm.install(project)
    return project


async def test_the_first_call_with_python_prints_the_streamed_response(fetch: FakeFetch, clock: FakeClock) -> None:
    (snippet,) = blocks_in(section(README, "First call"), "python")
    async with first_call(fetch, clock) as call:
        assert await output_of(sys.executable, "-c", call.adapted(snippet)) == "".join(WORDS)


async def test_the_first_call_with_node_prints_the_response(
    node_project: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    (snippet,) = blocks_in(section(README, "First call"), "js")
    async with first_call(fetch, clock) as call:
        (node_project / "call.js").write_text(call.adapted(snippet), encoding="utf-8")
        printed = await output_of(str(npm.NODE), "call.js", cwd=node_project)

    assert printed == "".join(WORDS) + "\n"


async def test_the_command_that_lists_models_prints_the_matching_ones(fetch: FakeFetch, clock: FakeClock) -> None:
    (command,) = [block for block in blocks(README, "sh") if block.startswith("models-proxy models ")]
    _, *arguments = shlex.split(command)
    async with first_call(fetch, clock) as call:
        server = ("--url", call.url, "--key", call.key)
        printed = await output_of(sys.executable, "-m", "proxy", *arguments, *server)

    assert MODEL in printed

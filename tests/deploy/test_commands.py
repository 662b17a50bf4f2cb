"""Command lines of the README and docs/operations.md work as printed: in a shell, with jq, and with pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from proxy import __version__
from tests.docs.pages import DOCS, blocks
from tests.fakes import digest
from tests.paths import ROOT

CONFIG = f"""
providers: [{{name: a, kind: static, models: [{{id: m}}]}}]
groups: {{default: {{models: [m, "unknown-*"]}}}}
keys: [{{name: alice, hash: "{digest("sk-fake-for-tests")}", models: [m]}}]
"""


OFFLINE = """\
config.yaml is valid; no provider was contacted

1 finding
- group default: rule 'unknown-*' matches no model
"""


def run(commands: str, directory: Path) -> str:
    """Run the lines of a code block, with the commands of this environment. All must succeed. Returns stdout."""
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell = ["bash", "-euo", "pipefail", "-c", commands]
    return subprocess.run(shell, cwd=directory, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603  # our own documentation


def block_with(text: str, page: Path = DOCS / "operations.md") -> str:
    (block,) = [block for block in blocks(page, "sh") if text in block]
    return block


def test_check_validates_a_file_with_and_without_its_providers(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (command,) = re.findall("`(models-proxy check [^`]*)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    printed = run(f"{command}\n{command} --offline", tmp_path)
    assert printed.startswith("1 provider\n")
    assert printed.endswith(OFFLINE)


def test_check_prints_the_list_of_a_key_and_its_findings_as_json_for_jq(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    printed = run(block_with("jq -r"), tmp_path)
    assert "1 model for key alice" in printed
    assert printed.endswith(f"{OFFLINE}group default: rule 'unknown-*' matches no model\n")


def test_an_air_gapped_host_installs_without_an_index(tmp_path: Path) -> None:
    repository, target = tmp_path / "repository", tmp_path / "target"
    repository.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy(ROOT / name, repository)
    shutil.copytree(ROOT / "proxy", repository / "proxy", ignore=shutil.ignore_patterns("__pycache__"))

    run(block_with("pip download"), repository)
    run(block_with("--no-index").replace("/opt/models-proxy", str(target)), repository)

    assert run(f"{target}/bin/models-proxy --version", tmp_path) == f"models-proxy, version {__version__}\n"

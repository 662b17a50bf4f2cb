"""Metadata of the project: version, changelog, type information, and the files that code hosts read."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from proxy import __version__
from tests.paths import ROOT

GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_changelog_begins_with_the_current_version() -> None:
    assert re.findall(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text())[0] == __version__


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "proxy" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_classifiers_include_the_required_python() -> None:
    least = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {least}" in PROJECT["classifiers"]


def test_urls_are_complete() -> None:
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert {"Repository", "Changelog", "Documentation"} <= set(PROJECT["urls"])


@pytest.mark.parametrize("name", ["workflows/ci.yml", "ISSUE_TEMPLATE/bug.yml", "ISSUE_TEMPLATE/feature.yml",
                                  "ISSUE_TEMPLATE/config.yml"])  # fmt: skip
def test_files_of_the_code_host_are_valid_yaml(name: str) -> None:
    assert yaml.safe_load((GITHUB / name).read_text())


def test_the_workflow_runs_the_gate() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["checks"]["steps"]]


def test_the_gate_builds_the_site_with_exact_versions() -> None:
    assert 'mkdocs" build --strict --config-file' in (ROOT / ".ci" / "run").read_text()
    lines = re.findall(r"(?m)^[^#\n].*$", (ROOT / "docs" / "requirements.txt").read_text())
    assert len(lines) > 20
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+", line) for line in lines)
    site = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text())
    assert (site["theme"]["name"], site["theme"]["font"]) == ("material", False)

"""The report of pip-audit: vulnerabilities fail, data that cannot be reached is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.report_audit import findings, main

SOUND = {"name": "click", "version": "8.5.1", "vulns": []}
SKIPPED = {"name": "yarl", "skip_reason": "Dependency not found on PyPI"}
VULNERABLE = {
    "name": "httpx",
    "version": "0.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.2"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


def test_packages_without_vulnerabilities_pass() -> None:
    assert findings([SOUND]) == (["known vulnerabilities: 0 in 1 of 1 packages"], 0)


def test_a_vulnerability_fails_and_names_the_fixed_versions() -> None:
    assert findings([SOUND, VULNERABLE]) == (
        [
            "httpx 0.1: PYSEC-1, fixed in 0.2",
            "httpx 0.1: PYSEC-2, fixed in no version",
            "known vulnerabilities: 2 in 2 of 2 packages",
        ],
        1,
    )


def test_packages_without_data_are_named_as_skipped() -> None:
    lines, code = findings([SOUND, SKIPPED])
    assert (lines[-1], code) == (
        "SKIPPED: 1 packages, because their data is not available: Dependency not found on PyPI",
        0,
    )


def test_no_report_is_skipped_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text("WARNING: slow\nERROR: connection refused\n")
    assert main(tmp_path / "report.json", log) == 0
    assert capsys.readouterr().out == "SKIPPED: known vulnerabilities: ERROR: connection refused\n"


def test_a_report_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"dependencies": [VULNERABLE]}))
    assert main(report, tmp_path / "log") == 1
    assert "PYSEC-1" in capsys.readouterr().out

"""The systemd unit of docs/operations.md is valid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks


def verified(unit: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Verify a unit, with the commands of this environment. systemd reports unknown settings on stderr only."""
    file = directory / "models-proxy.service"
    file.write_text(unit.replace("/opt/models-proxy/bin", str(Path(sys.executable).parent)), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command


@pytest.fixture
def unit() -> str:
    (text,) = blocks(DOCS / "operations.md", "ini")
    assert "/opt/models-proxy/bin/models-proxy serve" in text
    return text


def test_the_unit_is_valid(unit: str, tmp_path: Path) -> None:
    result = verified(unit, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unknown_setting_would_be_reported(unit: str, tmp_path: Path) -> None:
    result = verified(unit.replace("PrivateTmp=", "PrivateTemp="), tmp_path)
    assert "Unknown key 'PrivateTemp' in section [Service]" in result.stderr

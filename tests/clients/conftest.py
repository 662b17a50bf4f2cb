"""The installed client programs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import npm

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def packages() -> Path:
    """This directory, with the locked packages in `node_modules`. They are kept for the next run: they are large."""
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        npm.install(HERE)
        shutil.copy(lock, installed)
    return HERE


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment with the locked SDKs. It is kept for the next run."""
    lock, environment = HERE / "requirements.lock", HERE / ".venv"
    installed, python = environment / ".installed.lock", environment / "bin" / "python"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes")
        for command in (
            (sys.executable, "-m", "venv", "--clear", environment),
            (python, "-m", "pip", "install", *options, "-r", lock),
        ):
            subprocess.run(command, check=True)  # noqa: S603  # our own command
        shutil.copy(lock, installed)
    return python

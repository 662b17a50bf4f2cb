"""The installed client programs."""

from __future__ import annotations

import shutil
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

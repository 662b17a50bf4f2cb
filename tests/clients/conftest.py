"""The installed client programs, and a proxy for those that need no other."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import npm
from tests.clients.apis import every_api
from tests.clients.running import Setup

HERE = Path(__file__).parent


@contextmanager
def alone() -> Iterator[None]:
    """Only one test process at a time installs."""
    with open(__file__, "rb") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def packages() -> Path:
    """This directory, with the locked packages in `node_modules`. They are kept for the next run: they are large."""
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".installed.json"
    with alone():
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            npm.install(HERE)
            shutil.copy(lock, installed)
    return HERE


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment with the locked SDKs. It is kept for the next run."""
    lock, environment = HERE / "requirements.lock", HERE / ".venv"
    installed, python = environment / ".installed.lock", environment / "bin" / "python"
    with alone():
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes")
            for command in (
                (sys.executable, "-m", "venv", "--clear", environment),
                (python, "-m", "pip", "install", *options, "-r", lock),
            ):
                subprocess.run(command, check=True)  # noqa: S603  # our own command
            shutil.copy(lock, installed)
    return python


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A proxy in front of one provider of each API."""
    with every_api(tmp_path_factory.mktemp("home")) as proxy:
        yield proxy

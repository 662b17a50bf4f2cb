"""Read a configuration: a large one in a process of its own.

A thread shares the interpreter lock with the event loop: parsing 10,000 keys there delays requests by up to 200 ms. And
a process that has parsed them keeps 26 MiB that are of no use later.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess  # nosec B404  # for one constant command
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from proxy.config import Config, ConfigError, read
from proxy.config.contents import is_pipe
from proxy.config.document import LargeConfiguration, Size
from proxy.config.handover import pack, packed, unpacked
from proxy.config.loader import read_again
from proxy.config.problems import Problem
from proxy.config.sources import Sources
from proxy.server.core_dumps import forbid_core_dumps

LARGE = Size(bytes=100 * 1024, values=10_000)
"""What is read here: about 1,000 keys. A small file can have many values through aliases."""
TIMEOUT = 60
"""Seconds for reading a large configuration."""
_CHILD = (
    "import os, sys\n"
    "path, *sys.path[:] = map(os.fsdecode, sys.stdin.buffer.read().split(b'\\0'))\n"
    "from proxy.server.config_process import main\n"
    "main(path)\n"
)
"""The program of the process, constant. It imports from where this process does, whatever the working directory."""
COMMAND = (sys.executable, "-P", "-c", _CHILD)


class Contents(NamedTuple):
    """What files contain."""

    config: Config
    packed: Callable[[], bytes]
    """Returns the configuration for `handover.unpacked` in another process."""


class ProcessFailed(ConfigError):
    """The process did not validate the configuration."""


def load_first(path: Path, command: Sequence[str] = COMMAND, timeout: float = TIMEOUT) -> Config:
    """Return the configuration at the start of the server, which may come from a pipe. Raises ConfigError.

    If the process with a large configuration fails, it is read here.
    """
    try:
        return read(path) if is_pipe(str(path)) else load(path, Sources(), command, timeout)
    except ProcessFailed:
        return read(path)


def load(path: Path, before: Sources, command: Sequence[str] = COMMAND, timeout: float = TIMEOUT) -> Config:
    """Return the configuration alone; see `contents`."""
    return contents(path, before, command, timeout).config


def contents(path: Path, before: Sources, command: Sequence[str] = COMMAND, timeout: float = TIMEOUT) -> Contents:
    """Return the configuration in a file and those that it includes, which may have changed.

    Blocks, so call it in a thread. `before`: the files of the configuration in use, to be watched after a failure.

    Raises ConfigError with all problems, ProcessFailed if there is no result.
    """
    try:
        documents, config = read_again(str(path), LARGE)
        return Contents(config, partial(pack, documents, config))
    except LargeConfiguration:
        now = before.look()
    try:
        # Secrets are in the environment, which the process inherits, and in the pipe; never in the command.
        ended = subprocess.run(  # noqa: S603  # nosec B603  # a constant command
            command, input=_input(path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout, check=False
        )
        if ended.returncode == 0:
            return Contents(unpacked(ended.stdout, str(path)), lambda: ended.stdout)
        text = _ended(ended.returncode)
    except subprocess.TimeoutExpired:
        text = f"took longer than {timeout:g} s, so it was stopped"
    except OSError as error:
        text = f"could not be started: {error.strerror}"
    except ValueError:
        text = "returned something else"
    raise _unread(path, text, now)


def _input(path: Path) -> bytes:
    return b"\0".join(map(os.fsencode, [str(path), *sys.path]))


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    hint = "; check the memory limit" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def _unread(path: Path, text: str, now: Sources) -> ProcessFailed:
    problem = Problem(0, "", f"could not be read: the process that validates large configurations {text}", str(path))
    error = ProcessFailed(str(path), [problem])
    error.sources = now
    return error


def main(path: str) -> None:
    """Write the configuration, or its problems, to stdout. Runs in the process that `load` starts."""
    forbid_core_dumps()
    os.nice(10)  # requests come first
    signal.alarm(2 * TIMEOUT)  # the end, even if the server is gone
    gc.disable()  # nothing of it is garbage, and the process ends soon
    sys.stdout.buffer.write(packed(path))

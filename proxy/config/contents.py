"""The bytes of a file. Reading never waits forever, and never fills the memory."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

PIPE_SECONDS = 10

Content = Callable[[str, int], bytes]
"""Path, maximum size -> the bytes of a file, one more than the maximum if it is larger. Raises OSError."""


def content(path: str, most: int) -> bytes:
    """Return the bytes of a regular file. Raises OSError for anything else: a device or a named pipe may never end."""
    with open(path, "rb", opener=_without_waiting) as file:
        check_regular(file.fileno())
        return file.read(most + 1)


def check_regular(file: str | int) -> None:
    """Raises OSError for what is no regular file, by its path or descriptor."""
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError(0, "Not a regular file")


def content_of_pipe(path: str, most: int) -> bytes:
    """Like `content`, but also for a pipe, as in `--config <(sops decrypt config.yaml)`. It can be read only once."""
    if not is_pipe(path):
        return content(path, most)
    with open(path, "rb", opener=_without_waiting, buffering=0) as file:
        poll = select.poll()
        poll.register(file, select.POLLIN)
        raw = b""
        while len(raw) <= most:
            if not poll.poll(PIPE_SECONDS * 1000):
                raise OSError(0, f"No data for {PIPE_SECONDS} s")
            if not (part := file.read(65_536)):
                break
            raw += part
    return raw


def is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe waits for its other end.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

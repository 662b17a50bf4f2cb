"""No core dumps: they contain the secrets of the process."""

from __future__ import annotations

import ctypes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PR_SET_DUMPABLE = 4  # sys/prctl.h


def forbid_core_dumps() -> None:
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if prctl := getattr(ctypes.CDLL(None), "prctl", None):
        # The limit does not apply if the system passes dumps to a program (`kernel.core_pattern` with a pipe).
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

"""Settings of the process: signals, standard descriptors, memory, and no secrets in tracebacks and core dumps."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading

from proxy.errors import describe_bug
from proxy.server.core_dumps import forbid_core_dumps

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE = 128 * 1024  # bytes; glibc's initial threshold
_COLLECTIONS = (600, 1, 230)
"""New objects until the youngest are collected; such collections until one of older ones; those until a full one."""
_STANDARD = (0, 1, 2)
HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows

_log = logging.getLogger("models_proxy")


def protect_process() -> None:
    """Ignore SIGHUP, reserve the standard descriptors, and write no secrets to core dumps and tracebacks."""
    ignore_hangup()
    _reserve_standard_descriptors()
    sys.unraisablehook = lambda unraisable: _log_bug(unraisable.exc_value)
    threading.excepthook = lambda failed: _log_bug(failed.exc_value)
    forbid_core_dumps()


def ignore_hangup() -> None:
    if HANGUP:
        signal.signal(HANGUP, signal.SIG_IGN)


def _log_bug(error: BaseException | None) -> None:
    """Log an exception that nothing handles. Python would print its text, which may contain a secret."""
    if error:
        _log.critical("internal error: %s", describe_bug(error))


def _reserve_standard_descriptors() -> None:
    """Open closed standard descriptors: otherwise a socket or a file gets the number, and output is written to it."""
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def limit_malloc() -> None:
    """Make glibc return the memory of large bodies and lists to the system, and share one heap between all threads.

    By default glibc raises its mmap threshold to the largest block that was ever freed and keeps smaller ones in a
    fragmented heap, and creates a heap per thread (3 MiB for the thread that imports aiohttp).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 1)


def shorten_collections() -> None:
    """Let garbage collections stop the event loop for less than 1 ms, also while clients open many connections.

    What ends is freed without them. By default young ones take 3 ms after 7,000 new objects, and full ones 10 ms, with
    1,000 connections; and 40 ms more if they include modules and configuration, which are never freed.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)


def release_memory() -> None:
    """Return memory that is not needed any more to the system: after the start, and after imports.

    3 ms with 10,000 models.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def skip_system_cas() -> None:
    """Save the 1.8 MiB of the system's CAs in a TLS context that aiohttp creates when it is imported. No call uses it.

    OpenSSL reads this variable for contexts without explicit CAs; with this value they have no CAs. Providers have
    contexts with explicit CAs (`upstream/tls.py`).
    """
    os.environ["SSL_CERT_FILE"] = os.devnull


def skip_cpp_library() -> None:
    """Save the 1 MiB of the C++ library, which only the extension of frozenlist loads when aiohttp is imported.

    aiohttp keeps its trace callbacks in such lists, and no call has any. The same class in Python replaces it.
    """
    os.environ["FROZENLIST_NO_EXTENSIONS"] = "1"

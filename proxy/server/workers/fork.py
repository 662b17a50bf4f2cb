"""Start a worker process as a copy of the supervisor, with which it shares the memory that neither changes."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

from proxy.errors import describe_bug

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Those that the supervisor handles."""

_log = logging.getLogger("models_proxy")


def fork(run: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """Run a function in a new process, which ends when it returns. Raises OSError.

    Returns the id of the process, and the end of a socket pair. The function gets the other end.
    """
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    # Blocked: a signal that arrives in the new process before it has its own handlers must not be lost in the old ones.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            _run_and_exit(run, theirs, supervisor)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return pid, ours


def ended(pid: int) -> int | None:
    """Return the exit code of a process, None while it runs; negative: the signal that has ended it."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def exit_reason(code: int) -> str:
    """Describe how a process has ended, by its exit code."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def kill(pid: int) -> None:
    """End a process that has not been waited for."""
    os.kill(pid, signal.SIGKILL)


def _run_and_exit(run: Callable[[socket.socket], None], end: socket.socket, supervisor: int) -> None:
    """Never returns: what the callers clean up is the supervisor's."""
    code = 1
    try:
        _reset_signals(supervisor)
        run(end)
        code = 0
    except BaseException as error:
        _log.critical("internal error: %s", describe_bug(error))
    finally:
        os._exit(code)


def _reset_signals(supervisor: int) -> None:
    """Pass SIGHUP on to the supervisor, which handles it for all. Ignore Ctrl-C until the server handles it."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        if os.getppid() == supervisor:
            os.kill(supervisor, number)

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

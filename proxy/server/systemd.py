"""Notifications to systemd (sd_notify): ready, reloading, stopping, a status, and a watchdog of the event loop.

The protocol is a datagram with lines `NAME=value` to the Unix socket in NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from proxy.clock import SystemClock

INTERVAL = 0.5
"""Seconds between two looks at the state of the server, or less for a short WatchdogSec."""
_PER_WATCHDOG = 3
"""Notifications within WatchdogSec: one or two can be late."""

_log = logging.getLogger("models_proxy")


class State(NamedTuple):
    """The state of the server."""

    is_ready: bool
    status: str
    """One line for people."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """What an event loop offers."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer: ...


class Receiver(Protocol):
    """Receives the notifications."""

    def send(self, text: str) -> bool:
        """Send one datagram without blocking. Returns whether that worked."""
        ...

    def close(self) -> None: ...


class ServiceManager:
    """Reports the server to systemd. Does nothing if it was not started by systemd with `Type=notify`."""

    def __init__(
        self,
        receiver: Receiver | None,
        watchdog: float | None = None,
        monotonic: Callable[[], float] = SystemClock.monotonic,
    ) -> None:
        """`receiver`: None without a receiver of notifications; `watchdog`: WatchdogSec, None without one.

        `monotonic`: seconds of the clock by which systemd orders a reload after the request for it.
        """
        self._receiver = receiver
        self._monotonic = monotonic
        self._watchdog = watchdog / _PER_WATCHDOG if watchdog else None
        self._interval = min(INTERVAL, self._watchdog or INTERVAL)
        self._is_ready = False
        self._is_stopping = False
        self._status = ""
        self._alive_at = float("-inf")
        self._timer: Timer | None = None

    def start(self, state: Callable[[], State], loop: Loop) -> None:
        """Report the state until `stop`, by a timer of the event loop: the watchdog notices if the loop is stuck."""
        if self._receiver:
            self._report(self._receiver, state(), loop.time())
            self._timer = loop.call_later(self._interval, self.start, state, loop)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._receiver:
            self._receiver.close()

    def reload(self, begins: bool) -> None:
        """A reload begins, or has ended, also a failed one.

        Not reported before the server is ready, because READY=1 ends a reload.
        """
        if self._receiver and self._is_ready:
            self._receiver.send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic() * 1e6:.0f}" if begins else "READY=1")

    def stopping(self) -> None:
        """The server stops. A reload in progress is not reported any more, nor another status."""
        if self._receiver and not self._is_stopping:
            self._is_stopping, self._is_ready = True, False
            self._receiver.send("STOPPING=1\nSTATUS=draining")

    def _report(self, receiver: Receiver, state: State, now: float) -> None:
        """Send what has changed. What could not be sent is sent the next time."""
        becomes_ready = state.is_ready and not self._is_ready and not self._is_stopping
        is_due = self._watchdog is not None and now >= self._alive_at + self._watchdog
        lines = [
            *["READY=1"] * becomes_ready,
            *[f"STATUS={state.status}"] * (state.status != self._status and not self._is_stopping),
            *["WATCHDOG=1"] * is_due,
        ]
        if lines and receiver.send("\n".join(lines)):
            self._is_ready |= becomes_ready
            self._status = state.status
            self._alive_at = now if is_due else self._alive_at


def service_manager(environ: Mapping[str, str] = os.environ) -> ServiceManager:
    """The service manager that has started this process."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return ServiceManager(None)
    return ServiceManager(_Socket(address), _watchdog_seconds(environ))


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """WatchdogSec of the unit, None without one, or if it is for another process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    is_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if is_for_us and microseconds.isdecimal() and int(microseconds) else None


class _Socket:
    """The socket of systemd. Sending never blocks; of several failures in a row the first is logged."""

    def __init__(self, address: str) -> None:
        """`address`: a path, or `@` and a name without a file."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._has_failed = False

    def send(self, text: str) -> bool:
        """Send a datagram. Returns whether that worked."""
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._has_failed:
                _log.warning("cannot notify systemd (NOTIFY_SOCKET): %s", error.strerror)
            self._has_failed = True
        else:
            self._has_failed = False
        return not self._has_failed

    def close(self) -> None:
        self._socket.close()

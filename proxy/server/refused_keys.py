"""Reports keys of this proxy that were refused: clients get the response to any wrong key, operators the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable

from proxy.config.identities import SEPARATOR
from proxy.errors import KeyNotUsable
from proxy.printable import printable

INTERVAL = 60.0
"""Seconds between two lines about one key."""

_log = logging.getLogger("models_proxy")


class RefusedKeys:
    """Writes lines to the log. There are no more names than keys."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._quiet_until: dict[str, float] = {}

    def report(self, error: KeyNotUsable) -> None:
        """Log why a key was refused, unless that was logged within the last minute. Tokens expire all the time."""
        now, name = self._now(), error.identity
        if SEPARATOR not in name and now >= self._quiet_until.get(name, 0.0):
            self._quiet_until[name] = now + INTERVAL
            _log.warning("key %s %s; requests with it get 401", name, printable(error.reason))

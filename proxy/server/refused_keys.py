"""Logs why keys of this proxy were rejected: the response to the client is that for any wrong key."""

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
    """Writes lines to the log. There are at most as many names as keys."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._quiet_until: dict[str, float] = {}

    def report(self, error: KeyNotUsable) -> None:
        """Log why a key was rejected, at most once per minute and key. Not for tokens: they expire regularly."""
        now, name = self._now(), error.identity
        if SEPARATOR not in name and now >= self._quiet_until.get(name, 0.0):
            self._quiet_until[name] = now + INTERVAL
            _log.warning("key %s %s; requests with it get 401", name, printable(error.reason))

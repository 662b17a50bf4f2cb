"""Limit attempts to log in, per address. No I/O; the clock is injected."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network
from typing import NamedTuple

from proxy.access.addresses import address_of

MAX_ATTEMPTS = 10
"""Attempts per window and address."""
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000
"""Maximum number of addresses. Above it, those with the oldest windows are dropped."""
_IPV6_SITE = 64
"""Length of the IPv6 prefix that is counted as one client: a client can choose the other bits."""


class TooMany(NamedTuple):
    """An attempt is not allowed."""

    seconds: float
    """Seconds until the next attempt is allowed."""
    is_first: bool
    """Whether it is the first rejected attempt of its window: further ones are not logged."""


class Attempts:
    """Counts attempts per address, in windows that begin with the first attempt."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address -> monotonic seconds at which its window began, and the attempts in it."""

    def reject(self, client: str, limit: int = MAX_ATTEMPTS) -> TooMany | None:
        """Count an attempt. Returns None if it is allowed."""
        now, name = self._now(), _counted_as(client)
        began, count = self._windows.get(name, (now, 0))
        if now >= began + WINDOW_SECONDS:
            began, count = now, 0
        if count <= limit:
            self._windows[name] = began, count + 1
        if count == 0:
            self._windows.move_to_end(name)
            if len(self._windows) > MAX_ADDRESSES:
                self._windows.popitem(last=False)
        return TooMany(began + WINDOW_SECONDS - now, is_first=count == limit) if count >= limit else None


def _counted_as(client: str) -> str:
    address = address_of(client)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_SITE), strict=False))
    return str(address or client[:64])

"""TLS contexts. One costs 25 to 40 ms on the event loop, so each is made once."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the authorities in a file, or the public ones."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)

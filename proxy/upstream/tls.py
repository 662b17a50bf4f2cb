"""TLS contexts, cached: creating one blocks the event loop for 25 to 40 ms."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the CAs in a file, or the public CAs if there is none."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)

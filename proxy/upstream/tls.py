"""TLS contexts, cached until their file changes: creating one blocks the event loop for 25 to 40 ms and uses 2 MiB."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

import httpx

from proxy.config import Provider
from proxy.config.sources import Stamp, stamp

_MAX_CONTEXTS = 100


def context_of(provider: Provider) -> ssl.SSLContext:
    """Return a context that trusts the CAs of a provider, or no CA at all if none of its URLs is an HTTPS URL."""
    return context_for(_urls(provider), provider.ca_file)


def context_for(urls: Iterable[str], ca_file: str | None) -> ssl.SSLContext:
    """Return a context for requests to these URLs. `ca_file`: None for the public CAs."""
    if not any(url.lower().startswith("https:") for url in urls):
        return _trusting_nobody()
    return _trusting(ca_file, stamp(ca_file) if ca_file else None)


def _urls(provider: Provider) -> Iterator[str]:
    yield provider.base_url
    if provider.target:
        yield provider.target.base_url
    if provider.proxy:
        yield provider.proxy.get_secret_value()
    for login in (provider.iam, provider.oauth):
        if login:
            yield login.url


@lru_cache(_MAX_CONTEXTS)
def _trusting(ca_file: str | None, changes: Stamp) -> ssl.SSLContext:
    """`ca_file` None: the public CAs. `changes`: what changes with the file."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)


@cache
def _trusting_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

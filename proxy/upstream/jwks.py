"""Fetch the signing keys of an OIDC provider: its metadata (OpenID Connect Discovery), then its JWKS.

Only the addresses of the configuration, and the one in the provider's own metadata, are requested. Redirects are not
followed: their target can belong to another party.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from proxy import __version__
from proxy.config.auth import JwtIssuer, keys_url
from proxy.decoding import decode_or_none
from proxy.errors import UpstreamError
from proxy.upstream.errors import from_exception, timed_out
from proxy.upstream.tls import context_for
from proxy.upstream.transport import DecodedBodies, TrackedSockets, egress_proxy

FETCH_SECONDS = 10.0
"""Time limit for all requests of one fetch."""
MAX_DOCUMENT = 512 * 1024
"""Maximum bytes of the metadata, and of the keys."""
_METADATA = "/.well-known/openid-configuration"


async def fetch_signing_keys(issuer: JwtIssuer) -> bytes:
    """Return the JWKS of an issuer, unchanged. Raises UpstreamError."""
    tls = context_for([issuer.issuer, issuer.jwks_url or ""], issuer.ca_file)
    inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=egress_proxy(issuer, tls))
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            DecodedBodies(TrackedSockets(inner, FETCH_SECONDS / 2), MAX_DOCUMENT) as transport,
        ):
            url = issuer.jwks_url or _jwks_url(await _get(transport, _metadata_url(issuer.issuer)), issuer)
            return await _get(transport, url)
    except UpstreamError:
        raise
    except TimeoutError as error:
        raise timed_out(FETCH_SECONDS, "response") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        raise from_exception(error, FETCH_SECONDS, via_proxy=issuer.proxy is not None) from error


def _metadata_url(issuer: str) -> str:
    return issuer.removesuffix("/") + _METADATA


async def _get(transport: httpx.AsyncBaseTransport, url: str) -> bytes:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"models-proxy/{__version__}",
    }
    response = await transport.handle_async_request(httpx.Request("GET", url, headers=headers))
    try:
        if response.status_code != 200:
            raise UpstreamError("status", f"status {response.status_code} of {url}")
        return await response.aread()
    finally:
        await response.aclose()


def _jwks_url(document: bytes, issuer: JwtIssuer) -> str:
    """The address of the keys in the metadata of an issuer. Raises UpstreamError."""
    metadata: Any = decode_or_none(document)
    if not isinstance(metadata, dict) or not isinstance(url := metadata.get("jwks_uri"), str):
        raise UpstreamError("invalid_response", f"no `jwks_uri` in {_metadata_url(issuer.issuer)}")
    if metadata.get("issuer") != issuer.issuer:
        raise UpstreamError("invalid_response", f"another `issuer` in {_metadata_url(issuer.issuer)}")
    try:
        keys_url(url)
    except ValueError:
        url = ""
    if not url or (issuer.issuer.startswith("https:") and not url.startswith("https:")):
        raise UpstreamError("invalid_response", f"`jwks_uri` in {_metadata_url(issuer.issuer)} is not an https:// URL")
    return url

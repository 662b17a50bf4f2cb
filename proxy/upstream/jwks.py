"""Fetch the signing keys of an OIDC provider: its metadata (OpenID Connect Discovery), then its JWKS.

Only the addresses of the configuration, and the one in the provider's own metadata, are requested. Redirects are not
followed: their target can belong to another party.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Mapping
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
IDLE_SECONDS = FETCH_SECONDS / 2
"""Time limit for a connection, and between two parts of a response."""
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
            DecodedBodies(TrackedSockets(inner, IDLE_SECONDS), MAX_DOCUMENT) as transport,
        ):
            url = issuer.jwks_url or _jwks_url(await get_document(transport, metadata_url(issuer.issuer)), issuer)
            return await get_document(transport, url)
    except UpstreamError:
        raise
    except TimeoutError as error:
        raise timed_out(FETCH_SECONDS, "response") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        raise from_exception(error, IDLE_SECONDS, via_proxy=issuer.proxy is not None) from error


def issuer_metadata(document: bytes, issuer: JwtIssuer) -> Mapping[str, Any]:
    """Return the metadata of an issuer. Raises UpstreamError for metadata of another issuer."""
    metadata: Any = decode_or_none(document)
    found = metadata.get("issuer") if isinstance(metadata, dict) else None
    if found != issuer.issuer:
        url, is_similar = metadata_url(issuer.issuer), str(found).rstrip("/") == issuer.issuer.rstrip("/")
        hint = "; it differs only by a `/` at its end: set `issuer` as it is there" if is_similar else ""
        raise UpstreamError("invalid_response", f"another `issuer` in {url}{hint}")
    return typing.cast("Mapping[str, Any]", metadata)


def metadata_url(issuer: str) -> str:
    """The address of the metadata of an issuer (OpenID Connect Discovery)."""
    return issuer.removesuffix("/") + _METADATA


async def get_document(transport: httpx.AsyncBaseTransport, url: str) -> bytes:
    """Return what is at a URL of an issuer. Raises UpstreamError, and what httpx raises."""
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
        raise UpstreamError("invalid_response", f"no `jwks_uri` in {metadata_url(issuer.issuer)}")
    issuer_metadata(document, issuer)
    try:
        keys_url(url)
    except ValueError:
        url = ""
    if not url or (issuer.issuer.startswith("https:") and not url.startswith("https:")):
        raise UpstreamError("invalid_response", f"`jwks_uri` in {metadata_url(issuer.issuer)} is not an https:// URL")
    return url

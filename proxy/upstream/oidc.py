"""Logins of users at an OIDC provider (authorization code flow): its addresses, and the exchange of a code.

Only the addresses in the provider's own metadata are requested; redirects are not followed. Errors contain neither the
code nor a secret.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import httpx

from proxy import __version__
from proxy.config.auth import JwtIssuer, keys_url
from proxy.decoding import decode_or_none
from proxy.errors import UpstreamError
from proxy.upstream.credentials import base64_of
from proxy.upstream.errors import from_exception, timed_out
from proxy.upstream.jwks import FETCH_SECONDS, IDLE_SECONDS, get_document, issuer_metadata, metadata_url
from proxy.upstream.tls import context_for
from proxy.upstream.transport import DecodedBodies, TrackedSockets, egress_proxy

MAX_ANSWER = 64 * 1024
"""Maximum bytes of the response with a token."""
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


class Endpoints(NamedTuple):
    """What the metadata of a provider contains for logins."""

    authorization: str
    """The URL to which browsers are sent."""
    token: str
    sends_secret_in_body: bool
    """Whether the client secret is accepted in the body only (`client_secret_post`)."""


async def fetch_endpoints(issuer: JwtIssuer) -> Endpoints:
    """Return the addresses of a provider. Raises UpstreamError."""
    async with _transport(issuer) as transport:
        metadata = issuer_metadata(await get_document(transport, metadata_url(issuer.issuer)), issuer)
    methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    in_body = isinstance(methods, list) and "client_secret_post" in methods and "client_secret_basic" not in methods
    authorization, token = (_url(metadata, f"{name}_endpoint", issuer) for name in ("authorization", "token"))
    return Endpoints(authorization, token, in_body)


async def exchange_code(issuer: JwtIssuer, endpoints: Endpoints, code: str, verifier: str, redirect_uri: str) -> bytes:
    """Return the ID token for the code of a login. Raises UpstreamError."""
    assert issuer.client_id, "checked when the configuration is read"
    secret = issuer.client_secrets[0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "client_id": issuer.client_id,
    }
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"models-proxy/{__version__}"}
    if endpoints.sends_secret_in_body:
        form["client_secret"] = secret
    else:  # RFC 6749, 2.3.1
        headers["Authorization"] = f"Basic {base64_of(f'{quote_plus(issuer.client_id)}:{quote_plus(secret)}')}"
    async with _transport(issuer) as transport:
        request = httpx.Request("POST", endpoints.token, headers=headers, data=form)
        response = await transport.handle_async_request(request)
        try:
            body: Any = decode_or_none(await response.aread())
        finally:
            await response.aclose()
    body = body if isinstance(body, dict) else {}
    if response.status_code != 200:
        error = body.get("error")
        code_of_error = f" ({error})" if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else ""
        raise UpstreamError("status", f"status {response.status_code}{code_of_error} of {endpoints.token}")
    token = body.get("id_token")
    if not isinstance(token, str) or not token.isascii():
        raise UpstreamError("invalid_response", f"no `id_token` from {endpoints.token}")
    return token.encode()


@asynccontextmanager
async def _transport(issuer: JwtIssuer) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """For the requests of one step. Raises UpstreamError for every failure."""
    tls = context_for([issuer.issuer], issuer.ca_file)
    inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=egress_proxy(issuer, tls))
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            DecodedBodies(TrackedSockets(inner, IDLE_SECONDS), MAX_ANSWER) as transport,
        ):
            yield transport
    except UpstreamError:
        raise
    except TimeoutError as error:
        raise timed_out(FETCH_SECONDS, "response") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        raise from_exception(error, IDLE_SECONDS, via_proxy=issuer.proxy is not None) from error


def _url(metadata: Any, name: str, issuer: JwtIssuer) -> str:
    url = metadata.get(name)
    try:
        # As for signing keys: an attacker who can change these responses could log in as anyone.
        found = keys_url(url) if isinstance(url, str) else ""
    except ValueError:
        found = ""
    if not found or (issuer.issuer.startswith("https:") and not found.startswith("https:")):
        raise UpstreamError("invalid_response", f"no https:// URL `{name}` in {metadata_url(issuer.issuer)}")
    return found

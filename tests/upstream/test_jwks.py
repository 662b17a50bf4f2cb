"""Fetching the signing keys of an issuer over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from proxy.config.auth import JwtIssuer
from proxy.errors import UpstreamError
from proxy.upstream.jwks import MAX_DOCUMENT, fetch_signing_keys
from tests.providers.oidc import METADATA, OidcProvider, oidc_provider

pytestmark = pytest.mark.anyio


@pytest.fixture
def idp() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


def issuer(url: str, **settings: object) -> JwtIssuer:
    return JwtIssuer.model_validate({"issuer": url, "audience": "x", "groups": {"users": "staff"}, **settings})


async def failure(idp: OidcProvider, url: str = "") -> str:
    with pytest.raises(UpstreamError) as caught:
        await fetch_signing_keys(issuer(url or idp.issuer))
    return caught.value.reason.replace(idp.issuer, "")


async def test_the_metadata_name_the_address_of_the_keys(idp: OidcProvider) -> None:
    assert await fetch_signing_keys(issuer(idp.issuer)) == idp.document("/keys")
    assert idp.requests == {METADATA: 1, "/keys": 1}


async def test_a_configured_address_needs_no_metadata(idp: OidcProvider) -> None:
    idp.documents["/certs?p=1"] = b"keys"

    assert await fetch_signing_keys(issuer(idp.issuer, jwks_url=f"{idp.issuer}/certs?p=1")) == b"keys"
    assert idp.requests == {"/certs?p=1": 1}


async def test_an_issuer_with_a_slash_at_its_end_has_its_metadata_below(idp: OidcProvider) -> None:
    idp.documents[METADATA] = json.dumps({"issuer": f"{idp.issuer}/", "jwks_uri": f"{idp.issuer}/keys"}).encode()

    assert await fetch_signing_keys(issuer(f"{idp.issuer}/")) == idp.document("/keys")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"<html>", f"no `jwks_uri` in {METADATA}"),
        (b"[]", f"no `jwks_uri` in {METADATA}"),
        (b'{"issuer": "ISSUER", "jwks_uri": 7}', f"no `jwks_uri` in {METADATA}"),
        (b'{"issuer": "https://evil.example", "jwks_uri": "ISSUER/keys"}', f"another `issuer` in {METADATA}"),
        (b'{"jwks_uri": "ISSUER/keys"}', f"another `issuer` in {METADATA}"),
        (
            b'{"issuer": "ISSUER/", "jwks_uri": "ISSUER/keys"}',
            f"another `issuer` in {METADATA}; it differs only by a `/` at its end: set `issuer` as it is there",
        ),
        (
            b'{"issuer": "ISSUER", "jwks_uri": "http://169.254.169.254/latest"}',
            f"`jwks_uri` in {METADATA} is not an https:// URL",
        ),
        (b'{"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}', f"`jwks_uri` in {METADATA} is not an https:// URL"),
        (b'{"issuer": "ISSUER", "jwks_uri": "/keys"}', f"`jwks_uri` in {METADATA} is not an https:// URL"),
    ],
)
async def test_metadata_that_name_no_address_are_refused(document: bytes, reason: str, idp: OidcProvider) -> None:
    idp.documents[METADATA] = document.replace(b"ISSUER", idp.issuer.encode())

    assert await failure(idp) == reason
    assert idp.requests == {METADATA: 1}


@pytest.mark.parametrize("path", [METADATA, "/keys"])
async def test_redirects_are_not_followed(path: str, idp: OidcProvider) -> None:
    idp.redirects[path] = f"{idp.issuer}/elsewhere"

    assert await failure(idp) == f"status 302 of {path}"
    assert "/elsewhere" not in idp.requests


async def test_an_error_status_is_a_failure(idp: OidcProvider) -> None:
    idp.failing = True

    assert await failure(idp) == f"status 503 of {METADATA}"


@pytest.mark.parametrize("path", [METADATA, "/keys"])
async def test_documents_are_limited(path: str, idp: OidcProvider) -> None:
    idp.documents[path] = b" " * (MAX_DOCUMENT + 1)

    assert await failure(idp) == "returned more than 524,288 bytes (max_body)"


async def test_an_issuer_that_is_away_is_a_failure(idp: OidcProvider) -> None:
    assert await failure(idp, "http://127.0.0.1:1") == "connection refused"

"""Users with tokens of an OIDC provider, over real sockets: from the provider's keys to lists and calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest, ids
from tests.listening import Served, serving
from tests.providers.oidc import OidcProvider, oidc_provider

pytestmark = pytest.mark.anyio

KEY = "sk-canary-of-alice"
CONFIG = f"""
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1', api_key: sk-canary-provider}}]
groups: {{staff: {{models: [m, n]}}, guests: {{models: [n], call: false}}, default: {{models: [free]}}}}
keys: [{{name: alice, hash: '{digest(KEY)}', models: [m]}}]
auth:
  jwt:
    - issuer: ISSUER
      audience: models-proxy
      groups: {{llm-users: staff, llm-guests: guests}}
      admin: [llm-admins]
"""


@pytest.fixture
def issuer() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
async def server(issuer: OidcProvider, fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[Served]:
    fetch.lists("a", "m", "n", "free")
    async with serving(config_of(CONFIG.replace("ISSUER", issuer.issuer)), fetch, clock) as server:
        yield server


def bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"}


async def listed(server: Served, headers: Mapping[str, str]) -> object:
    """The ids in the list, or the status and the code of the error."""
    response = await server.client.get("/v1/models", headers=headers)
    return (
        ids(response.content)
        if response.status_code == 200
        else (
            response.status_code,
            response.json()["error"]["code"],
        )
    )


async def test_users_see_the_list_of_their_group(server: Served, issuer: OidcProvider) -> None:
    staff, guest = issuer.token(), issuer.token(groups=["other", "llm-guests"])

    assert await listed(server, bearer(staff)) == ["m", "n"]
    assert await listed(server, bearer(guest)) == ["n"]
    assert await listed(server, bearer(KEY)) == ["m"]
    assert await listed(server, {}) == ["free"]
    assert await listed(server, bearer(issuer.token(groups=["other"]))) == (403, "no_group")
    assert await listed(server, bearer(issuer.token(aud="another"))) == (401, "invalid_api_key")

"""`GET /admin/explain`: the explanation of a running proxy, with its lists and the state of its calls."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.listening import serving

pytestmark = pytest.mark.anyio

ADMIN, USER = "sk-canary-admin", "sk-canary-user"
ADMINS = {"Authorization": f"Bearer {ADMIN}"}
CONFIG = f"""
providers:
  - {{name: a, base_url: "http://127.0.0.1:9/v1", api_key: sk-canary-of-the-provider}}
  - {{name: b, base_url: "http://127.0.0.1:9/v1"}}
keys:
  - {{name: admin, hash: "{digest(ADMIN)}", models: ["*"], admin: true}}
  - {{name: user, hash: "{digest(USER)}", models: ["*", "!m"]}}
"""


async def test_the_running_proxy_explains_a_model_over_a_socket(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with serving(config_of(CONFIG), fetch, clock) as proxy:
        response = await proxy.client.get("/admin/explain", params={"model": "m", "key_name": "user"}, headers=ADMINS)

    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    explanation = response.json()
    assert explanation["verdict"] == "denied"
    assert explanation["text"] == (
        "'m' exists, but is not available for key user: rule '!m' of key user denies it. Until a missing list is "
        "there, requests of it get 503 (model_list_incomplete)."
    )
    assert [(each["name"], each["state"], each["error"]) for each in explanation["providers"]] == [
        ("a", "ok", ""),
        ("b", "failing", "connection refused"),
    ]
    assert "canary" not in response.text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param("", "Send the parameters `model`", id="without a model"),
        pytest.param("model=", "Send the parameters `model`", id="with an empty model"),
        pytest.param("model=" + 1001 * "m", "Send the parameters `model`", id="with a long model"),
        pytest.param("model=m&who=user", "Send the parameters `model`", id="with an unknown parameter"),
        pytest.param("&".join(11 * ["model=m"]), "Send the parameters `model`", id="with many parameters"),
        pytest.param("model=m&key_name=nobody", "No key in the configuration has the name", id="with an unknown key"),
    ],
)
async def test_a_wrong_query_is_rejected(query: str, message: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, f"/admin/explain?{query}", ADMINS)

    assert reply.status == 400
    assert reply.json["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="without a key"),
        pytest.param({"Authorization": f"Bearer {USER}"}, 403, id="with a key that is no admin key"),
    ],
)
async def test_only_admin_keys_get_explanations(
    headers: Mapping[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, "/admin/explain?model=m", headers)

    assert reply.status == status

"""`GET /admin/explain`: the explanation of a running proxy, with its lists and the state of its calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.listening import serving

pytestmark = pytest.mark.anyio

ADMIN, USER = "sk-canary-admin", "sk-canary-user"
SECRET = "sk-proj-canary0123456789abcdefghijklmnopqrstuvwxyz0123456789"
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


async def test_what_remains_of_the_limits_of_a_key_is_shown(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    text = CONFIG.replace('models: ["*", "!m"]', "group: staff, limits: {list_requests: 9/m}")
    groups = 'groups: {staff: {models: ["*"], limits: {requests: 5/d}, group_limits: {list_requests: 20/h}}}'
    async with serving(config_of(text + groups), fetch, clock) as proxy:
        for _ in range(2):
            await proxy.client.get("/v1/models", headers={"Authorization": f"Bearer {USER}"})
        explained = [
            (await proxy.client.get("/admin/explain", params={"model": "m", **key}, headers=ADMINS)).json()["limits"]
            for key in ({"key_name": "user"}, {"key_name": "group:staff"}, {"key_name": "admin"}, {})
        ]

    names = ("group", "limit", "per", "amount", "remaining")
    shown = [[tuple(each[name] for name in names) for each in limits] for limits in explained]
    of_group = ("staff", "list_requests", "h", 20, 18)
    assert shown == [
        [(None, "requests", "d", 5, 5), (None, "list_requests", "m", 9, 7), of_group],
        [(None, "requests", "d", 5, None), of_group],
        [],
        [],
    ]
    assert explained[0][1]["reset_seconds"] == 60


async def test_circuits_and_new_offers_are_those_of_the_running_proxy(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "n")
    async with serving(config_of(CONFIG), fetch, clock) as proxy:
        fetch.lists("b", "m", "n")
        await clock.advance(400)  # b lists the model later than at first
        for _ in range(5):  # nothing listens there
            call = await proxy.client.post("/v1/chat/completions", json={"model": "m", "messages": []}, headers=ADMINS)
            assert call.status_code == 502
        explained = await proxy.client.get("/admin/explain", params={"model": "m", "key_name": "admin"}, headers=ADMINS)

    explanation = json.loads(re.sub(r"retry after [0-9]+ s", "retry after 30 s", explained.text))
    assert explanation["text"] == "'m' is listed for key admin. Calls are rejected at the moment: a cannot be called."
    assert explanation["calls"]["candidates"] == [
        {
            "provider": "a",
            "id": "m",
            "position": 1,
            "is_skipped": True,
            "reasons": [
                {
                    "rule": "circuit",
                    "effect": "stops",
                    "text": "skipped at the moment: The provider of this model is unavailable (circuit breaker open); "
                    "retry after 30 s.",
                    "setting": "",
                    "file": "",
                    "line": 0,
                }
            ],
        },
        {
            "provider": "b",
            "id": "m",
            "position": 0,
            "is_skipped": False,
            "reasons": [
                {
                    "rule": "failover_to",
                    "effect": "stops",
                    "text": "no failover to it: failover_to of a is listed, and the first list of b did not contain "
                    "the model",
                    "setting": "",
                    "file": "",
                    "line": 0,
                }
            ],
        },
    ]


async def test_a_model_of_an_expired_list_is_explained(fetch: FakeFetch, clock: FakeClock) -> None:
    config = config_of(f"cache: {{ttl: 100s, max_stale: 1000s}}\n{CONFIG}")
    fetch.lists("a", "m")
    fetch.lists("b", "n")
    async with started(config, fetch, clock) as app:
        fetch.fails("a")
        await clock.advance(1200)
        reply = await reply_to(app, "/admin/explain?model=m&key_name=admin", ADMINS)

    assert (reply.json["verdict"], reply.json["text"]) == (
        "unknown",
        "'m' is not listed any more: the list of a, which contained it, has expired. Until a missing list is there, "
        "requests of it get 503 (model_list_incomplete).",
    )
    assert [(each["name"], each["state"], each["had_it"]) for each in reply.json["providers"]] == [
        ("a", "failing", True),
        ("b", "ok", False),
    ]


@pytest.mark.parametrize("model", ["m", "mm", "sk-x", "n"])
async def test_a_key_that_was_pasted_into_a_setting_is_not_shown(
    model: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    settings = f'exclude: ["{SECRET}*", "m"], aliases: {{mm: "{SECRET}"}}, accept: ["{SECRET}*", "sk-*"]'
    text = CONFIG.replace("name: a,", f"name: a, {settings},").replace('"!m"', f'"!m", "{SECRET}", "!{SECRET}"')
    fetch.lists("a", "m")
    async with started(config_of(text), fetch, clock) as app:
        reply = await reply_to(app, f"/admin/explain?model={model}&key_name=user", ADMINS)

    assert reply.status == 200
    assert SECRET not in reply.body.decode()
    assert reply.json["access"]["rules"][2]["rule"] == "***"


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

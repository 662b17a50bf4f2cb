"""`/livez`, `/readyz` and `/health`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.catalog import FetchResult
from proxy.catalog.bundled import bundled
from proxy.config import Config
from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from tests.fakes import (
    KEY_HEADERS,
    FailingClock,
    FakeClock,
    FakeFetch,
    answer_of,
    config_of,
    digest,
    holding,
    reply_to,
    started,
)

pytestmark = pytest.mark.anyio

USER, ADMIN = "sk-canary-user", "sk-canary-admin"
USERS, ADMINS = {"Authorization": f"Bearer {USER}"}, {"x-api-key": ADMIN}
CONFIG = f"""
cache: {{ttl: 100s, max_stale: 1000s, initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1", api_key: "${{PROVIDER_KEY}}"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1"}}
keys:
  - {{name: user, hash: "{digest(USER)}", models: ["*"]}}
  - {{name: admin, hash: "{digest(ADMIN)}", models: [], admin: true}}
"""
LAB = "  - {name: lab, kind: static, models: [{id: own}]}"
AWAY = '  - {name: away, base_url: "http://127.0.0.1/c/v1", api_key: "${ABSENT_KEY}", optional: true}'
PATHS = ["/livez", "/readyz", "/health"]


configured = config_of(CONFIG, {"PROVIDER_KEY": "sk-canary-of-the-provider"})
with_one_skipped = config_of(CONFIG.replace("keys:", f"{AWAY}\nkeys:"), {"PROVIDER_KEY": "sk-canary-of-the-provider"})


@pytest.mark.parametrize(
    ("path", "body"),
    [("/livez", {"status": "alive"}), ("/readyz", {"status": "ready"}), ("/health", {"status": "ok"})],
)
@pytest.mark.parametrize("headers", [pytest.param({}, id="no key"), pytest.param(USERS, id="a key without admin")])
async def test_probes_show_only_the_status_to_callers_without_an_admin_key(
    path: str, body: dict[str, str], headers: dict[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with started(configured, fetch, clock) as app:
        reply = await reply_to(app, path, {**headers, "X-Request-Id": "mine"})
        head = await reply_to(app, path, {**headers, "X-Request-Id": "mine"}, method="HEAD")

    assert (reply.status, reply.json) == (200, body)
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"cache-control": b"no-store",
        b"x-request-id": b"mine",
    }
    assert (head.status, head.headers, head.body) == (200, reply.headers, b"")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-canary-unknown"},
        {"Authorization": "Basic eDp5"},
        {"X-Auth-Token": ""},
        {"x-api-key": USER, "api-key": ADMIN},
    ],
)
async def test_probes_need_no_key_but_reject_an_invalid_one(
    path: str, headers: dict[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(configured, fetch, clock) as app:
        reply = await reply_to(app, path, headers)

    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_probes_accept_a_key_in_any_header(path: str, header: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(configured, fetch, clock) as app:
        known = await reply_to(app, path, holding(header, ADMIN))
        wrong = await reply_to(app, path, holding(header, "sk-canary-unknown"))
        as_admin = await reply_to(app, path, {"x-api-key": ADMIN})

    assert (known.status, known.body, wrong.status) == (as_admin.status, as_admin.body, 401)


async def test_livez_depends_on_nothing_not_even_the_clock(fetch: FakeFetch) -> None:
    clock = FailingClock()
    fetch.hangs("a")
    async with started(configured, fetch, clock) as app:
        clock.error = RuntimeError()
        reply = await reply_to(app, "/livez")
        clock.error = None

    assert (reply.status, reply.json) == (200, {"status": "alive"})


async def test_readyz_is_starting_until_all_providers_responded_or_initial_wait_is_over(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.hangs("a")
    async with started(configured, fetch, clock) as app:
        await clock.advance(3.9)
        starting = await reply_to(app, "/readyz")
        await clock.advance(0.1)
        ready = await reply_to(app, "/readyz")

    assert (starting.status, starting.json) == (503, {"status": "starting"})
    assert (ready.status, ready.json) == (200, {"status": "ready"})


def waiting_for(ready: str) -> Config:
    """The configuration with three providers more: one that is skipped, one disabled, and one without a list."""
    paused = AWAY.replace("away", "paused").replace("optional: true", "disabled: true")
    others = f"{AWAY}\n{paused}\n{LAB}\nkeys:"
    text = f"server: {{ready: {ready}}}\n{CONFIG.replace('keys:', others)}"
    return config_of(text, {"PROVIDER_KEY": "sk-canary-of-the-provider"})


@pytest.mark.parametrize(
    ("ready", "listing", "missing"),
    [
        ("any", [], None),  # the models of `lab` are declared
        ("all", [], ["a", "b"]),
        ("all", ["a"], ["b"]),
        ("all", ["a", "b"], None),
        ("[b]", ["a"], ["b"]),
        ("[b]", ["b"], None),
        ("[b, away]", ["b"], ["away"]),
        ("[b, paused]", ["b"], None),
        ("[lab]", [], None),
    ],
)
async def test_readyz_waits_for_the_lists_of_the_providers_in_server_ready(
    ready: str, listing: Sequence[str], missing: list[str] | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    for name in ("a", "b"):
        fetch.lists(name, "m") if name in listing else fetch.fails(name)
    async with started(waiting_for(ready), fetch, clock) as app:
        replies = [await reply_to(app, "/readyz", headers) for headers in ({}, USERS, ADMINS)]

    if missing is None:
        assert [(reply.status, reply.json) for reply in replies] == 3 * [(200, {"status": "ready"})]
    else:
        others, admin = (503, {"status": "waiting"}), (503, {"status": "waiting", "missing": missing})
        assert [(reply.status, reply.json) for reply in replies] == [others, others, admin]


async def test_readyz_waits_for_any_list_by_default_and_fails_again_when_all_have_expired(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def both() -> tuple[int, int]:
        ready, listed = await reply_to(app, "/readyz"), await reply_to(app, "/v1/models", USERS)
        return ready.status, listed.status

    fetch.fails("a")
    fetch.fails("b")
    async with started(configured, fetch, clock) as app:
        assert await both() == (503, 503)
        waiting = await reply_to(app, "/readyz", ADMINS)
        fetch.lists("b")
        await clock.advance(5)
        assert await both() == (200, 200), "an empty list is a list"
        fetch.fails("b")
        await clock.advance(1000)
        assert await both() == (503, 503), "the list of b has expired"

    assert waiting.json == {"status": "waiting", "missing": ["a", "b"]}


async def test_a_draining_server_is_not_ready_but_still_serves_requests(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(configured, fetch, clock) as app:
        app.deployment.health.draining = True
        ready, live, health = [await reply_to(app, path) for path in ("/readyz", "/livez", "/health")]
        listed = await reply_to(app, "/v1/models", USERS)

    assert (ready.status, ready.json) == (503, {"status": "draining"})
    assert [live.status, health.status, listed.status] == [200, 200, 200]


async def test_health_is_down_exactly_while_the_list_is_503(fetch: FakeFetch, clock: FakeClock) -> None:
    async def both() -> tuple[int, int, str]:
        health, listed = await reply_to(app, "/health"), await reply_to(app, "/v1/models", USERS)
        return health.status, listed.status, health.json["status"]

    fetch.fails("a")
    fetch.fails("b")
    async with started(configured, fetch, clock) as app:
        assert await both() == (503, 503, "down")
        fetch.lists("a", "m")
        await clock.advance(5)
        assert await both() == (200, 200, "degraded"), "b is missing"
        fetch.lists("b", "m")
        await clock.advance(10)
        assert await both() == (200, 200, "ok")
        fetch.fails("a")
        fetch.fails("b")
        await clock.advance(95)
        assert await both() == (200, 200, "degraded"), "a is stale"
        await clock.advance(894)
        assert await both() == (200, 200, "degraded"), "both are stale"
        await clock.advance(1)
        assert await both() == (200, 200, "degraded"), "a has expired"
        await clock.advance(10)
        assert await both() == (503, 503, "down"), "b has expired, too"
        fetch.lists("b", "m")
        await clock.advance(400)
        assert await both() == (200, 200, "degraded"), "a is missing"


async def test_health_is_degraded_while_a_provider_is_skipped(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(with_one_skipped, fetch, clock) as app:
        health, listed = await reply_to(app, "/health"), await reply_to(app, "/v1/models", USERS)

    assert (health.status, health.json, listed.status) == (200, {"status": "degraded"}, 200)


async def test_health_shows_admins_the_source_of_bundled_facts_and_how_old_it_is(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    config = config_of(f"facts: bundled\n{CONFIG}", {"PROVIDER_KEY": "sk-canary-of-the-provider"})
    async with started(config, fetch, clock) as app:
        health, others = await reply_to(app, "/health", ADMINS), await reply_to(app, "/health", USERS)

    day = bundled().date(clock.time())
    assert day is not None
    assert health.json["facts"] == {"source": "genai-prices", "version": bundled().version, "date": day.isoformat()}
    assert "facts" not in others.json


async def test_health_is_ok_while_a_provider_is_disabled(fetch: FakeFetch, clock: FakeClock) -> None:
    off = f"{AWAY.replace('optional: true', 'disabled: true')}\nkeys:"
    config = config_of(CONFIG.replace("keys:", off), {"PROVIDER_KEY": "sk-canary-of-the-provider"})
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with started(config, fetch, clock) as app:
        health = await reply_to(app, "/health", ADMINS)

    assert health.json["status"] == "ok"
    assert health.json["skipped"] == [{"name": "away", "state": "disabled", "reason": "disabled: true"}]


async def test_health_is_degraded_until_the_circuit_breaker_of_calls_closes(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with started(configured, fetch, clock) as app:
        await app.deployment.inference()
        assert app.deployment.forwarder is not None
        circuit = app.deployment.forwarder.circuits["a"]

        async def status_and_calls() -> tuple[int, str, str]:
            health = await reply_to(app, "/health", ADMINS)
            return health.status, health.json["status"], health.json["providers"][0]["calls"]

        for _ in range(4):
            circuit.failed("alice", "m", is_unreachable=True)
        assert await status_and_calls() == (200, "ok", "degraded"), "calls still reach the provider"
        circuit.failed("alice", "m", is_unreachable=True)
        assert await status_and_calls() == (200, "degraded", "open")
        await clock.advance(40)
        assert await status_and_calls() == (200, "degraded", "half_open")
        circuit.succeeded("m")
        assert await status_and_calls() == (200, "ok", "ok")


async def test_health_is_degraded_and_its_calls_are_down_while_no_provider_accepts_calls(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    text = CONFIG.replace("keys:", f"{LAB}\nkeys:")
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with started(config_of(text, {"PROVIDER_KEY": "sk-canary"}), fetch, clock) as app:
        await app.deployment.inference()
        assert app.deployment.forwarder is not None
        circuits = app.deployment.forwarder.circuits

        async def states() -> tuple[int, dict[str, str], list[bool]]:
            health = await reply_to(app, "/health", ADMINS)
            status = {name: health.json[name] for name in ("status", "lists", "calls")}
            return health.status, status, [provider["account_rejected"] for provider in health.json["providers"]]

        def statuses(status: str, calls: str) -> dict[str, str]:
            return {"status": status, "lists": "ok", "calls": calls}

        assert await states() == (200, statuses("ok", "ok"), [False, False, False])
        circuits["a"].reject_account()
        assert await states() == (200, statuses("degraded", "degraded"), [True, False, False])
        for _ in range(5):
            circuits["b"].failed("alice", "m", is_unreachable=True)
        assert await states() == (200, statuses("degraded", "down"), [True, False, False])
        circuits["a"].succeeded("m")
        assert await states() == (200, statuses("degraded", "degraded"), [False, False, False])
        circuits["b"].succeeded("m")
        assert await states() == (200, statuses("ok", "ok"), [False, False, False])


async def test_health_is_not_down_while_the_list_waits_for_the_first_response(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    late = fetch.hangs("b")
    async with started(configured, fetch, clock) as app:
        waiting = asyncio.create_task(reply_to(app, "/v1/models", USERS))
        health = await reply_to(app, "/health")
        late.set_result(answer_of("m"))
        await clock.advance(0)
        listed = waiting.result()

    assert (health.status, health.json, listed.status) == (200, {"status": "degraded"}, 200)


async def test_declared_models_are_served_while_all_providers_fail(fetch: FakeFetch, clock: FakeClock) -> None:
    text = CONFIG.replace("keys:", f"{LAB}\nkeys:")
    fetch.fails("a")
    fetch.lists("a", "m")
    fetch.fails("b")
    fetch.lists("listed", "m")
    async with started(config_of(text, {"PROVIDER_KEY": "sk-canary"}), fetch, clock) as app:
        health, listed = await reply_to(app, "/health"), await reply_to(app, "/v1/models", USERS)

    assert (health.status, health.json, listed.status) == (200, {"status": "degraded"}, 200)


async def test_health_shows_every_provider_to_an_admin_key(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.answers("a", replace(answer_of("m", "n"), dropped={"has no `id`": 3}))
    fetch.fails("b", UpstreamError("rate_limited", "status 429: slow down", retryable=True, retry_after=60))
    async with started(with_one_skipped, fetch, clock) as app:
        await clock.advance(12.25)
        reply = await reply_to(app, "/health", ADMINS)

    assert (reply.status, reply.json) == (
        200,
        {
            "status": "degraded",
            "lists": "degraded",
            "calls": "ok",
            "configuration": {
                "generation": reply.json["configuration"]["generation"],
                "loaded_at": "2027-01-15T08:00:00Z",
                "last_failure": None,
                "problems": [],
                "restart_needed": [],
            },
            "providers": [
                {
                    "name": "a",
                    "kind": "openai",
                    "state": "ok",
                    "calls": "ok",
                    "account_rejected": False,
                    "in_flight": 0,
                    "queued": 0,
                    "open_circuits": [],
                    "models": 2,
                    "last_success": "2027-01-15T08:00:00Z",
                    "age_seconds": 12.2,
                    "origin": "fetched",
                    "last_error": None,
                    "next_attempt_in_seconds": reply.json["providers"][0]["next_attempt_in_seconds"],
                    "breaker": "ok",
                    "consecutive_failures": 0,
                    "dropped_entries": {"has no `id`": 3},
                },
                {
                    "name": "b",
                    "kind": "openai",
                    "state": "failing",
                    "calls": "ok",
                    "account_rejected": False,
                    "in_flight": 0,
                    "queued": 0,
                    "open_circuits": [],
                    "models": 0,
                    "last_success": None,
                    "age_seconds": None,
                    "origin": None,
                    "last_error": {"kind": "rate_limited", "reason": "status 429: slow down"},
                    "next_attempt_in_seconds": 47.8,
                    "breaker": "ok",
                    "consecutive_failures": 1,
                    "dropped_entries": {},
                },
            ],
            "skipped": [{"name": "away", "state": "skipped", "reason": "ABSENT_KEY not set or empty"}],
        },
    )
    # 81 to 99 s after the response, because of jitter.
    assert 68 <= reply.json["providers"][0]["next_attempt_in_seconds"] <= 87
    assert b"canary" not in reply.body


async def test_health_shows_a_declared_provider_and_an_open_circuit_breaker(fetch: FakeFetch, clock: FakeClock) -> None:
    text = CONFIG.replace("keys:", f"{LAB}\nkeys:")
    fetch.lists("a", "m")
    fetch.fails("b")
    fetch.lists("listed", "m")
    async with started(config_of(text, {"PROVIDER_KEY": "sk-canary"}), fetch, clock) as app:
        await clock.advance(5 + 10 + 20 + 40)
        providers = {
            provider["name"]: provider for provider in (await reply_to(app, "/health", ADMINS)).json["providers"]
        }

    assert providers["lab"] == {
        "name": "lab",
        "kind": "static",
        "state": "declared",
        "calls": "not_callable",
        "account_rejected": False,
        "in_flight": 0,
        "queued": 0,
        "open_circuits": [],
        "models": 1,
        "last_success": None,
        "age_seconds": None,
        "origin": None,
        "last_error": None,
        "next_attempt_in_seconds": None,
        "breaker": "ok",
        "consecutive_failures": 0,
        "dropped_entries": {},
    }
    assert (providers["b"]["breaker"], providers["b"]["consecutive_failures"]) == ("open", 5)


@pytest.mark.parametrize(
    ("answer", "state", "last_error"),
    [
        pytest.param(
            answer_of(),
            "empty",
            {"kind": "empty", "reason": "returned no models; if that is normal, set `may_be_empty: true`"},
            id="empty",
        ),
        pytest.param(
            replace(answer_of("m"), partial="`truncated` is true"),
            "incomplete",
            {"kind": "incomplete", "reason": "list may be incomplete: `truncated` is true"},
            id="incomplete",
        ),
    ],
)
async def test_health_is_degraded_by_an_empty_or_incomplete_list_but_the_proxy_is_ready(
    answer: FetchResult, state: str, last_error: dict[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.answers("a", answer)
    fetch.lists("b", "m")
    async with started(configured, fetch, clock) as app:
        health = (await reply_to(app, "/health", ADMINS)).json
        ready, listed = await reply_to(app, "/readyz"), await reply_to(app, "/v1/models", USERS)

    assert health["status"] == "degraded"
    assert (health["providers"][0]["state"], health["providers"][0]["last_error"]) == (state, last_error)
    assert health["providers"][0]["next_attempt_in_seconds"] == 5
    assert (ready.status, listed.status) == (200, 200)


async def test_key_whose_only_provider_is_empty_gets_an_empty_list(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a")
    fetch.lists("b")
    async with started(configured, fetch, clock) as app:
        listed = await reply_to(app, "/v1/models", USERS)

    assert (listed.status, listed.json["data"]) == (200, [])


async def test_health_shows_the_circuit_breakers_of_lists_and_of_calls_separately(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    text = CONFIG.replace("keys:", "  - {name: listed, base_url: 'http://127.0.0.1/d', call: false}\nkeys:")
    fetch.lists("a", "m")
    fetch.fails("b")
    fetch.lists("listed", "m")
    async with started(config_of(text, {"PROVIDER_KEY": "sk-canary"}), fetch, clock) as app:
        before = await states_of(app)
        await clock.advance(5 + 10 + 20 + 40)
        await app.deployment.inference()
        assert app.deployment.forwarder is not None
        for _ in range(5):
            app.deployment.forwarder.circuits["a"].failed("alice", "m", is_unreachable=True)
        after = await states_of(app)

    assert before == {
        "a": ("ok", "ok", "ok"),
        "b": ("failing", "ok", "ok"),
        "listed": ("ok", "ok", "not_callable"),
    }
    assert after == {
        "a": ("ok", "ok", "open"),
        "b": ("failing", "open", "ok"),
        "listed": ("ok", "ok", "not_callable"),
    }


async def states_of(app: Proxy) -> dict[str, tuple[str, str, str]]:
    """By provider: the state of its list, the circuit breaker of its list, the state of its calls."""
    providers = (await reply_to(app, "/health", ADMINS)).json["providers"]
    return {provider["name"]: (provider["state"], provider["breaker"], provider["calls"]) for provider in providers}


async def test_health_of_an_open_proxy_shows_no_providers(fetch: FakeFetch, clock: FakeClock) -> None:
    config = config_of("providers: [{name: a, base_url: 'http://127.0.0.1/v1'}]")
    fetch.lists("a", "m")
    async with started(config, fetch, clock) as app:
        reply = await reply_to(app, "/health", ADMINS)

    assert (reply.status, reply.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", PATHS)
async def test_probes_allow_only_get_and_head(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(configured, fetch, clock) as app:
        reply = await reply_to(app, path, method="POST")

    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")
    assert reply.json["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/livez/", "/livez%0A", "/v1/health", "/healthz"])
async def test_paths_similar_to_a_probe_require_a_key(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(configured, fetch, clock) as app:
        reply = await reply_to(app, path)

    assert reply.status == 401

"""`/metrics`: who can read it, its formats, and the values of a deployment."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping

import pytest

from proxy.api.metrics import SHARED_SECONDS, prefers_openmetrics
from tests.fakes import FakeClock, FakeFetch, Reply, answer_of, config_of, digest, reply_to, run_pending_tasks, started
from tests.listening import serving
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider, replies

pytestmark = pytest.mark.anyio

USER, ADMIN = "sk-canary-user", "sk-canary-admin"
USERS, ADMINS = {"authorization": f"Bearer {USER}"}, {"authorization": f"Bearer {ADMIN}"}
WRONG = {"authorization": "Bearer sk-canary-wrong"}
PROVIDERS = """
providers:
  - {name: a, base_url: 'http://127.0.0.1/a/v1', api_key: sk-canary-of-the-provider, max_in_flight: 7}
  - {name: b, base_url: 'http://127.0.0.1/b/v1', call: false}
  - {name: away, base_url: 'http://127.0.0.1/c/v1', api_key: '${ABSENT}', optional: true}
"""
KEYS = f"""
keys:
  - {{name: user, hash: '{digest(USER)}', models: ['*']}}
  - {{name: admin, hash: '{digest(ADMIN)}', models: [], admin: true}}
"""
KEYED = PROVIDERS + KEYS
OF_PROCESS = ("process_", "models_proxy_build", "models_proxy_event_loop", "models_proxy_connections")


def mode(name: str) -> str:
    return f"server: {{metrics: {name}}}\n"


async def scraped(
    text: str, fetch: FakeFetch, clock: FakeClock, headers: Mapping[str, str], method: str = "GET"
) -> Reply:
    async with started(config_of(text), fetch, clock) as app:
        return await reply_to(app, "/metrics", headers, method=method)


def series(body: bytes) -> Mapping[str, float]:
    """Series -> value, without those of the process, and without buckets of histograms."""
    lines = [line for line in body.decode().splitlines() if not line.startswith(("#", *OF_PROCESS))]
    lines = [line for line in lines if "_bucket{" not in line]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def states(metric: str, provider: str, state: str, *others: str) -> Mapping[str, float]:
    return {f'{metric}{{provider="{provider}",state="{each}"}}': float(each == state) for each in (state, *others)}


@pytest.mark.parametrize(
    ("text", "headers", "status", "code"),
    [
        (KEYED, {}, 401, "invalid_api_key"),
        (KEYED, WRONG, 401, "invalid_api_key"),
        (KEYED, USERS, 403, "insufficient_permissions"),
        (KEYED, ADMINS, 200, None),
        (KEYED + "groups: {default: {models: ['*']}}", {}, 401, "invalid_api_key"),
        (mode("admin") + KEYED, USERS, 403, "insufficient_permissions"),
        (mode("open") + KEYED, {}, 200, None),
        (mode("open") + KEYED, USERS, 200, None),
        (mode("open") + KEYED, ADMINS, 200, None),
        (mode("open") + KEYED, WRONG, 401, "invalid_api_key"),
        (mode("off") + KEYED, {}, 401, "invalid_api_key"),
        (mode("off") + KEYED, USERS, 404, "not_found"),
        (mode("off") + KEYED, ADMINS, 404, "not_found"),
        (PROVIDERS, {}, 200, None),
        (mode("off") + PROVIDERS, {}, 404, "not_found"),
        ("server: {allow_anonymous: true}\n" + PROVIDERS, {}, 403, "insufficient_permissions"),
        ("server: {allow_anonymous: true, metrics: open}\n" + PROVIDERS, {}, 200, None),
    ],
)
async def test_who_can_read_metrics_is_what_the_setting_says(
    text: str, headers: Mapping[str, str], status: int, code: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    reply = await scraped(text, fetch, clock, headers)

    assert (reply.status, reply.json["error"]["code"] if code else None) == (status, code)


async def test_an_admin_key_gets_the_state_of_every_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.answers("a", answer_of("m", "n", "o"))
    fetch.fails("b")
    async with started(config_of(KEYED), fetch, clock) as app:
        await clock.advance(2.5)
        reply = await reply_to(app, "/metrics", ADMINS)

    list_states = ("stale", "incomplete", "empty", "failing", "skipped", "disabled", "declared", "ok")
    call_states = ("open", "half_open", "degraded", "limited", "not_callable", "ok")
    assert series(reply.body) == {
        **states("models_proxy_provider_list_state", "a", "ok", *list_states[:-1]),
        **states("models_proxy_provider_list_state", "b", "failing", *set(list_states) - {"failing"}),
        **states("models_proxy_provider_list_state", "away", "skipped", *set(list_states) - {"skipped"}),
        'models_proxy_provider_models{provider="a"}': 3,
        'models_proxy_provider_models{provider="b"}': 0,
        'models_proxy_provider_list_age_seconds{provider="a"}': 2.5,
        'models_proxy_provider_list_held{provider="a"}': 0,
        'models_proxy_provider_list_held{provider="b"}': 0,
        'models_proxy_provider_list_restored{provider="a"}': 0,
        'models_proxy_provider_list_restored{provider="b"}': 0,
        'models_proxy_provider_fetch_failures{provider="a"}': 0,
        'models_proxy_provider_fetch_failures{provider="b"}': 1,
        'models_proxy_provider_dropped_entries{provider="a"}': 0,
        'models_proxy_provider_fetches_total{provider="a",outcome="ok"}': 1,
        'models_proxy_provider_fetches_total{provider="b",outcome="connection_refused"}': 1,
        'models_proxy_provider_fetch_duration_seconds_count{provider="a"}': 1,
        'models_proxy_provider_fetch_duration_seconds_sum{provider="a"}': 0,
        'models_proxy_provider_fetch_duration_seconds_count{provider="b"}': 1,
        'models_proxy_provider_fetch_duration_seconds_sum{provider="b"}': 0,
        "models_proxy_catalog_models": 3,
        'models_proxy_catalog_info{version="60d77758f87a"}': 1,
        **states("models_proxy_circuit_state", "a", "ok", *call_states[:-1]),
        **states("models_proxy_circuit_state", "b", "not_callable", *set(call_states) - {"not_callable"}),
        'models_proxy_account_rejected{provider="a"}': 0,
        "models_proxy_workers": 1,
        "models_proxy_ready": 1,
        f'models_proxy_config_info{{generation="{config_of(KEYED).generation}"}}': 1,
        "models_proxy_config_last_reload_success_timestamp_seconds": 1_800_000_000,
        **{
            f'models_proxy_limit_rejections_total{{limit="{kind}"}}': 0
            for kind in ("requests", "tokens", "concurrent", "list_requests")
        },
        "models_proxy_limits_local": 0,
        'models_proxy_limit_counters_dropped_total{reason="memory"}': 0,
        "models_proxy_limit_counters_not_stored": 0,
        "models_proxy_usage_dropped_calls_total": 0,
        "models_proxy_config_problems": 0,
        "models_proxy_config_restart_needed": 0,
        "models_proxy_log_dropped_lines_total": 0,
        'models_proxy_open_model_circuits{provider="a"}': 0,
        'models_proxy_in_flight_calls{provider="a"}': 0,
        'models_proxy_max_in_flight_calls{provider="a"}': 7,
        'models_proxy_queued_calls{provider="a"}': 0,
        "models_proxy_body_memory_bytes": 0,
        "models_proxy_body_memory_limit_bytes": 256 * 1024**2,
    }


async def test_an_empty_list_that_is_not_confirmed_is_held(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(KEYED), fetch, clock) as app:
        fetch.lists("a")
        await clock.advance(300)
        reply = await reply_to(app, "/metrics", ADMINS)

    assert series(reply.body)['models_proxy_provider_list_held{provider="a"}'] == 1


async def test_open_metrics_have_no_name_of_a_key_a_provider_or_a_model(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "canary-model", "n")
    fetch.lists("b", "o")
    text = KEYED.replace("name: a,", "name: canary-a,").replace("name: user", "name: canary-user")
    fetch.lists("canary-a", "canary-model", "n")
    reply = await scraped(mode("open") + text, fetch, clock, {})
    values = series(reply.body)

    assert (values["models_proxy_provider_models"], values["models_proxy_max_in_flight_calls"]) == (3, 7)
    assert values['models_proxy_provider_list_state{state="ok"}'] == 2
    assert b"canary" not in reply.body


@pytest.mark.parametrize("name", ["admin", "open"])
async def test_no_secret_is_in_metrics(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    reply = await scraped(mode(name) + KEYED, fetch, clock, ADMINS)

    assert reply.status == 200
    assert b"canary" not in reply.body


TEXT, OPENMETRICS = (
    "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)


@pytest.mark.parametrize(("accept", "content_type"), [("", TEXT), ("application/openmetrics-text", OPENMETRICS)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_format_is_negotiated_and_responses_are_not_cached(
    accept: str, content_type: str, method: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    headers = {**ADMINS, **({"accept": accept} if accept else {}), "x-request-id": "mine"}
    reply = await scraped(KEYED, fetch, clock, headers, method)

    length = reply.header("content-length")
    assert dict(reply.headers) == {
        b"content-type": content_type.encode(),
        b"cache-control": b"no-store",
        b"content-length": str(length).encode(),
        b"x-request-id": b"mine",
        b"x-config-generation": config_of(KEYED).generation.encode(),
    }
    assert len(reply.body) == (0 if method == "HEAD" else int(length or 0))
    assert reply.body.endswith(b"# EOF\n") == (method == "GET" and bool(accept))


async def test_metrics_are_compressed_if_the_client_accepts_gzip(fetch: FakeFetch, clock: FakeClock) -> None:
    reply = await scraped(KEYED, fetch, clock, {**ADMINS, "accept-encoding": "gzip"})

    assert reply.header("content-encoding") == "gzip"
    assert gzip.decompress(reply.body).startswith(b"# HELP models_proxy_")


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0, */*", False),
        ("application/openmetrics-text;q=none", False),
        (" " * 2048 + "application/openmetrics-text", False),
    ],
)
def test_openmetrics_is_used_if_the_client_prefers_it(accept: str, prefers: bool) -> None:
    assert prefers_openmetrics(accept) == prefers


async def test_another_method_is_not_allowed(fetch: FakeFetch, clock: FakeClock) -> None:
    reply = await scraped(KEYED, fetch, clock, ADMINS, "POST")

    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")


CALLED = f"""
providers:
  - {{name: canary-a, base_url: '{{url}}/a/v1', api_key: sk-canary-of-the-provider}}
  - {{name: b, base_url: '{{url}}/b/v1', accept: ['*:free']}}
keys:
  - {{name: user, hash: '{digest(USER)}', models: ['*']}}
  - {{name: admin, hash: '{digest(ADMIN)}', models: [], admin: true}}
"""


async def by_provider(exchange: Exchange) -> None:
    """One provider is overloaded, the other one works."""
    is_busy = exchange.request.path.startswith("/a/")
    await (replies({"error": "overloaded"}, 503) if is_busy else replies(completion("m")))(exchange)


async def test_calls_are_counted_from_the_socket_to_the_scrape(fetch: FakeFetch, clock: FakeClock) -> None:
    retired = {"id": "m", "shutdown_at": 1_900_000_000}
    fetch.lists("canary-a", retired)
    fetch.lists("b", "m")
    async with (
        fake_provider(by_provider) as provider,
        serving(config_of(CALLED.replace("{url}", provider.url)), fetch, clock) as served,
    ):
        for model in ("m", "m", "invented", "invented:free"):
            await served.client.post("/v1/chat/completions", json={"model": model, "messages": []}, headers=USERS)
        await served.client.get("/v1/models", headers=WRONG)
        await served.client.get("/v1/models/m", headers=USERS)
        await served.client.get("/canary/%0a", headers=USERS)
        reply = await served.client.get("/metrics", headers=ADMINS)
    values = series(reply.content)

    def of(name: str) -> Mapping[str, float]:
        prefix = f"models_proxy_{name}"
        return {labels.removeprefix(prefix): value for labels, value in values.items() if labels.startswith(prefix)}

    assert of("requests_total") == {
        '{route="/v1/chat/completions",method="POST",status="200",key="user"}': 3,
        '{route="/v1/chat/completions",method="POST",status="404",key="user"}': 1,
        '{route="/v1/models",method="GET",status="401",key=""}': 1,
        '{route="/v1/models/{id}",method="GET",status="200",key="user"}': 1,
        '{route="other",method="GET",status="404",key="user"}': 1,
    }
    assert of("request_duration_seconds_count") == {
        '{route="/v1/chat/completions"}': 4,
        '{route="/v1/models"}': 1,
        '{route="/v1/models/{id}"}': 1,
        '{route="other"}': 1,
    }
    assert of("calls_total") == {
        '{key="user",provider="b",outcome="ok"}': 3,
        '{key="user",provider="",outcome="rejected"}': 1,
    }
    assert of("tokens_total") == {
        '{key="user",provider="b",direction="input"}': 9,
        '{key="user",provider="b",direction="output"}': 15,
    }
    assert of("model_calls_total") == {'{model="m"}': 2, '{model="other"}': 1}
    assert of("attempts_total") == {
        '{provider="canary-a",outcome="failed"}': 2,
        '{provider="b",outcome="ok"}': 3,
    }
    assert of("failovers_total") == {'{provider="b"}': 2}
    assert of("call_first_byte_seconds_count") == {'{provider="b"}': 3}
    assert of("call_duration_seconds_count") == {'{provider="b"}': 3}
    assert of("model_shutdown_timestamp_seconds") == {'{model="m"}': 1_900_000_000}
    assert of("retiring_model_calls_total") == {'{model="m"}': 2}
    assert of("in_flight_calls") == {'{provider="canary-a"}': 0, '{provider="b"}': 0}
    assert "invented" not in reply.text
    assert "sk-canary" not in reply.text
    assert "/canary/" not in reply.text


async def test_requests_that_arrive_together_share_one_rendering(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(KEYED), fetch, clock) as app:
        replies = await asyncio.gather(*(reply_to(app, "/metrics", ADMINS) for _ in range(3)))
        later = await reply_to(app, "/metrics", ADMINS)

    assert replies[0].body is replies[1].body is replies[2].body
    assert _requests(later) == _requests(replies[0]) + 3


async def test_open_metrics_are_rendered_once_per_second(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(mode("open") + KEYED), fetch, clock) as app:
        first = await reply_to(app, "/metrics")
        again = await reply_to(app, "/metrics")
        await clock.advance(SHARED_SECONDS)
        later = await reply_to(app, "/metrics")

    assert again.body is first.body
    assert _requests(later) == _requests(first) + 2


async def test_a_client_that_disconnects_does_not_cancel_the_scrape_of_others(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(KEYED), fetch, clock) as app:
        first = asyncio.create_task(reply_to(app, "/metrics", ADMINS))
        second = asyncio.create_task(reply_to(app, "/metrics", ADMINS))
        await asyncio.sleep(0)
        first.cancel()

        assert (await second).status == 200


async def test_metrics_are_not_ready_while_the_server_drains(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(KEYED), fetch, clock) as app:
        app.deployment.health.draining = True
        reply = await reply_to(app, "/metrics", ADMINS)

    assert series(reply.body)["models_proxy_ready"] == 0


def _requests(reply: Reply) -> float:
    values = series(reply.body)
    return sum(value for name, value in values.items() if name.startswith("models_proxy_requests_total{"))


async def test_the_result_of_the_last_reload_is_shown_until_the_files_are_right(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(KEYED), fetch, clock) as app:
        app.reloads.last_failure, app.reloads.problems = clock.time(), ("one", "two")
        app.reloads.restart_needed = ("server.port",)
        app.metrics.dropped_lines = lambda: 12
        reply = await reply_to(app, "/metrics", ADMINS)
    values = series(reply.body)

    assert values["models_proxy_config_last_reload_failure_timestamp_seconds"] == 1_800_000_000
    assert values["models_proxy_config_problems"] == 2
    assert values["models_proxy_config_restart_needed"] == 1
    assert values["models_proxy_log_dropped_lines_total"] == 12


async def test_counters_survive_a_reload_and_series_of_removed_keys_and_providers_end(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    text = KEYED.replace("name: admin", "name: other-admin")
    async with started(config_of(KEYED), fetch, clock) as app:
        await reply_to(app, "/v1/models", USERS)
        await reply_to(app, "/health", ADMINS)
        await app.replace(config_of(text.replace("name: b,", "name: c,")))
        await run_pending_tasks()
        await reply_to(app, "/v1/models", USERS)
        reply = await reply_to(app, "/metrics", ADMINS)
    values = series(reply.body)

    assert values['models_proxy_requests_total{route="/v1/models",method="GET",status="200",key="user"}'] == 2
    assert not [name for name in values if 'key="admin"' in name or 'provider="b"' in name]
    assert values['models_proxy_provider_fetches_total{provider="a",outcome="ok"}'] == 1


async def test_a_reload_switches_metrics_on_and_off(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(mode("off") + KEYED), fetch, clock) as app:
        statuses = []
        for name in ("admin", "open", "off"):
            await app.replace(config_of(mode(name) + KEYED))
            statuses += [(await reply_to(app, "/metrics", headers)).status for headers in (ADMINS, USERS, {})]

    assert statuses == [200, 403, 401, 200, 200, 200, 404, 404, 401]

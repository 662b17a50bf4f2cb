"""Failover, deadlines, circuits, errors of providers, logins, and egress proxies."""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trustme

from proxy.errors import UpstreamError
from proxy.states import OpenCircuit
from proxy.telemetry import Outcome
from tests.attempts import Labels
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, circuit_of, post, serving, until
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import (
    Exchange,
    FakeProvider,
    Script,
    fake_provider,
    hangs,
    in_sequence,
    not_http,
    replies,
    resets,
)
from tests.providers.server import Server, closed_port, response_head, send

pytestmark = pytest.mark.anyio

UP = "sk-canary-of-the-provider-1"
FINE = replies(completion("m"))
LIMITED = replies({"error": {"message": "slow down"}}, 429)


@asynccontextmanager
async def calling(
    fetch: FakeFetch,
    clock: FakeClock,
    *scripts: Script | None,
    more: Sequence[str] = (),
    defaults: str = "{}",
    server: str = "{}",
    keys: str = "",
) -> AsyncIterator[tuple[Served, list[FakeProvider]]]:
    """A proxy in front of providers a, b, c ..., which all have the model `m`; None: connection refused.

    `more`: settings of each.
    """
    async with AsyncExitStack() as stack:
        providers = []
        text = f"server: {server}\ndefaults: {defaults}\n"
        text += f"groups: {{default: {{models: ['*'], call: true}}}}\n{keys}\nproviders:\n"
        for index, script in enumerate(scripts):
            name = "abc"[index]
            provider = await stack.enter_async_context(fake_provider(script or FINE))
            if script is None:
                provider.url = f"http://127.0.0.1:{closed_port()}"
            providers.append(provider)
            settings = f", {more[index]}" if index < len(more) and more[index] else ""
            text += f'  - {{name: {name}, base_url: "{provider.url}/v1", api_key: {UP}{settings}}}\n'
            fetch.lists(name, "m", f"only-{name}")
        yield await stack.enter_async_context(serving(config_of(text), fetch, clock)), providers


def outcomes(served: Served) -> dict[str, dict[Outcome, int]]:
    """The counted outcomes, by provider."""
    return {labels.provider: dict(counts.outcomes) for labels, counts in served.attempts}


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error", {}).get("code")


# -- failover ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        pytest.param(None, "failed", id="refused connection"),
        pytest.param(LIMITED, "rate_limited", id="429"),
        pytest.param(replies({}, 404), "rejected", id="404"),
        *(pytest.param(replies({}, status), "failed", id=str(status)) for status in (401, 402, 405, 501, 503, 529)),
        pytest.param(replies({"error": {"message": "no worker", "code": 502}}), "failed", id="an error with 200"),
        pytest.param(replies({"error": {"message": "Oops"}}), "failed", id="an error of unknown kind with 200"),
        pytest.param(replies(b"<html>", 503, {"Content-Type": "text/html"}), "failed", id="503 with an HTML page"),
    ],
)
async def test_failures_without_work_done_fail_over(
    first: Script | None, outcome: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, first, FINE) as (served, (_, second)):
        assert code(await served.call()) == (200, None)
        assert len(second.requests) == 1
        assert outcomes(served) == {"a": {outcome: 1}, "b": {"ok": 1}}
        assert circuit_of(served.app, "a").in_flight == 0


@pytest.mark.parametrize(
    ("first", "status"),
    [
        *(
            pytest.param(replies({}, status), translated, id=str(status))
            for status, translated in (
                (400, 400),
                (403, 502),
                (413, 413),
                (422, 422),
                (500, 502),
                (502, 502),
                (504, 504),
            )
        ),
        pytest.param(resets, 502, id="reset"),
        pytest.param(not_http, 502, id="not HTTP"),
        pytest.param(hangs, 504, id="timeout"),
        pytest.param(replies(b'{"cut off'), 502, id="truncated JSON"),
        pytest.param(replies({"error": {"message": "too long", "code": 400}}), 400, id="a 400 with 200"),
    ],
)
async def test_failures_with_possible_work_done_do_not_fail_over(
    first: Script, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, first, FINE, defaults="{first_byte_timeout: 500ms}") as (served, (_, second)):
        assert (await served.call()).status_code == status
        assert second.requests == []


@pytest.mark.parametrize(
    ("on", "first"),
    [("[500]", replies({}, 500)), ("[529]", replies({}, 529)), ("[404, 500]", replies({}, 404)), ("[timeout]", hangs)],
)
async def test_failover_on_can_add_failures(on: str, first: Script, fetch: FakeFetch, clock: FakeClock) -> None:
    more = [f"failover_on: {on}, first_byte_timeout: 500ms"]
    async with calling(fetch, clock, first, FINE, more=more) as (served, providers):
        assert (await served.call()).status_code == 200
        assert [len(provider.requests) for provider in providers] == [1, 1]


async def test_count_tokens_fails_over_to_a_provider_that_has_it(fetch: FakeFetch, clock: FakeClock) -> None:
    missing = replies({"error": {"message": "Invalid URL (POST /v1/messages/count_tokens)"}}, 404)
    async with calling(fetch, clock, missing, replies({"input_tokens": 7})) as (served, _):
        answer = await served.call(path="/v1/messages/count_tokens")
        assert (answer.status_code, answer.json()) == (200, {"input_tokens": 7})


async def test_every_failover_is_logged_with_its_cause(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    nothing_but_an_error = replies({"error": {"message": "no worker", "code": 502}})
    scripts = in_sequence(limited(30), FINE), in_sequence(nothing_but_an_error, FINE), FINE
    async with calling(fetch, clock, *scripts) as (served, _):
        for number in range(2):
            headers = {"X-Request-Id": f"id-{number}"}
            answer = await served.client.post("/v1/chat/completions", json={"model": "m"}, headers=headers)
            assert answer.status_code == 200
    waiting = "not called: The provider is rate-limiting this model; retry after 30 s."
    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        "call id-0: failover from a to b: status 429",
        "call id-0: failover from b to c: an error within a 2xx response (stream_error, status 502): "
        "status 502: no worker; model 'm', no key",
        f"call id-1: failover from a to b: {waiting}",
    ]


async def test_failover_to_can_be_limited_to_offers_of_the_same_owner(fetch: FakeFetch, clock: FakeClock) -> None:
    more = ["owner: acme, failover_to: same_owner", "owner: other", "owner: acme"]
    async with calling(fetch, clock, LIMITED, FINE, FINE, more=more) as (served, providers):
        assert (await served.call()).status_code == 200
        assert [len(provider.requests) for provider in providers] == [1, 0, 1]


async def test_failover_on_can_remove_failures(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, LIMITED, FINE, more=["failover_on: [503]"]) as (served, (_, second)):
        assert (await served.call()).status_code == 429
        assert second.requests == []


@pytest.mark.parametrize("first", [pytest.param(None, id="refused"), pytest.param(LIMITED, id="429")])
async def test_failover_false_disables_failover(first: Script | None, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, first, FINE, more=["failover: false"]) as (served, (_, second)):
        for _ in range(7):  # also once its circuit is open
            assert (await served.call()).status_code in (429, 502, 503)
        assert second.requests == []


async def test_providers_are_tried_once_in_the_operators_order(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies({}, 503), LIMITED, FINE) as (served, providers):
        assert (await served.call()).status_code == 200
        assert [len(provider.requests) for provider in providers] == [1, 1, 1]
        assert (await served.call("only-b")).status_code == 429
        assert [len(provider.requests) for provider in providers] == [1, 2, 1]


async def test_every_provider_gets_its_own_key_and_model_id(fetch: FakeFetch, clock: FakeClock) -> None:
    async with fake_provider(replies({}, 503)) as first, fake_provider(FINE) as second:
        config = config_of(f"""
providers:
  - {{name: a, base_url: "{first.url}/v1", api_key: {UP}-a, aliases: {{m: own-of-a}}}}
  - {{name: b, base_url: "{second.url}/v1", api_key: {UP}-b, aliases: {{m: own-of-b}}}}
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "own-of-a")
        fetch.lists("b", "own-of-b")
        async with serving(config, fetch, clock) as served:
            assert (await served.call()).status_code == 200
        for provider, name in ((first, "a"), (second, "b")):
            (received,) = provider.requests
            assert received.body == b'{"model":"own-of-%b"}' % name.encode()
            assert received.headers["authorization"] == f"Bearer {UP}-{name}"


async def test_all_attempts_share_one_timeout(fetch: FakeFetch, clock: FakeClock) -> None:
    async def late_503(exchange: Exchange) -> None:
        await asyncio.sleep(0.25)  # real time, because the timeout is measured by the event loop
        await replies({}, 503)(exchange)

    async with calling(fetch, clock, late_503, hangs, FINE, defaults="{first_byte_timeout: 500ms}") as (
        served,
        providers,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert code(await served.call()) == (504, "timeout")
        assert 0.45 < loop.time() - began < 2
        assert [len(provider.requests) for provider in providers] == [1, 1, 0]


async def test_no_attempt_is_made_with_too_little_time_left(fetch: FakeFetch, clock: FakeClock) -> None:
    async def late_503(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await replies({}, 503)(exchange)

    scripts = in_sequence(FINE, late_503), FINE
    async with calling(fetch, clock, *scripts, defaults="{first_byte_timeout: 290ms}") as (served, (_, second)):
        assert (await served.call()).status_code == 200, "the connection and the TLS context are created here"
        assert (await served.call()).status_code == 503
        assert second.requests == []


async def test_a_connect_timeout_is_a_failed_connection(fetch: FakeFetch, clock: FakeClock) -> None:
    async def deaf(exchange: Exchange) -> None:
        raise AssertionError("TLS never gets so far")

    # The socket accepts the connection, but never responds to the TLS handshake.
    async with fake_provider(deaf) as first, fake_provider(FINE) as second:
        config = config_of(f"""
providers:
  - {{name: a, base_url: "{first.url.replace("http", "https")}/v1", connect_timeout: 100ms}}
  - {{name: b, base_url: "{second.url}/v1"}}
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "m")
        fetch.lists("b", "m")
        async with serving(config, fetch, clock) as served:
            assert (await served.call()).status_code == 200
            assert outcomes(served) == {"a": {"failed": 1}, "b": {"ok": 1}}
            await until(lambda: first.open == 0)


# -- rate limits -------------------------------------------------------------------------------------------------------


def limited(seconds: int) -> Script:
    return replies({"error": {"message": "slow down"}}, 429, {"Retry-After": str(seconds)})


async def test_the_shortest_retry_after_is_returned_if_all_providers_rate_limit(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, limited(30), limited(20), limited(40)) as (served, providers):
        answer = await served.call()
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "20")
        assert answer.json() == {"error": {"message": "slow down"}}
        # Until then no provider is called, and responses have the remaining seconds.
        await clock.advance(5)
        answer = await served.call()
        assert (code(answer), answer.headers["retry-after"]) == ((429, "rate_limit_exceeded"), "15")
        assert [len(provider.requests) for provider in providers] == [1, 1, 1]
        await clock.advance(16)
        providers[1].script = FINE
        assert (await served.call()).status_code == 200
        assert [len(provider.requests) for provider in providers] == [1, 2, 1]


async def test_a_cool_down_affects_one_model_of_one_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(limited(30), FINE)) as (served, _):
        assert [(await served.call(model)).status_code for model in ("m", "only-a", "m")] == [429, 200, 429]


async def test_the_reset_of_an_exhausted_rate_limit_is_a_retry_after(fetch: FakeFetch, clock: FakeClock) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}
    first = replies({"error": {"message": "slow down"}}, 429, headers)
    async with calling(fetch, clock, in_sequence(first, FINE)) as (served, (provider,)):
        answer = await served.call()
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "20")
        assert answer.headers["x-ratelimit-reset-requests"] == "20s"
        assert ((await served.call()).status_code, len(provider.requests)) == (429, 1)


async def test_a_429_without_retry_after_causes_no_cool_down(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(LIMITED, FINE)) as (served, _):
        first = await served.call()
        assert (first.status_code, "retry-after" in first.headers) == (429, False)
        assert (await served.call()).status_code == 200


async def test_a_429_with_a_hanging_or_interrupted_body_is_a_429(fetch: FakeFetch, clock: FakeClock) -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.head(429, {"Retry-After": "7"})
        await exchange.closed()

    async def broken(exchange: Exchange) -> None:
        await exchange.head(429, {"Retry-After": "7"})
        exchange.reset()

    for script in (silent, broken):
        async with calling(fetch, clock, script, more=["idle_timeout: 100ms"]) as (served, (provider,)):
            answer = await served.call()
            assert (code(answer), answer.headers["retry-after"]) == ((429, "rate_limit_exceeded"), "7")
            await until(lambda provider=provider: provider.open == 0)  # type: ignore[misc]
        async with calling(fetch, clock, script, FINE, more=["idle_timeout: 100ms"]) as (served, _):
            assert (await served.call()).status_code == 200


# -- circuit and concurrency limit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(None, id="refused connections"),
        pytest.param(resets, id="resets"),
        pytest.param(replies({}, 503), id="503"),
        pytest.param(replies({}, 529), id="529"),
        pytest.param(replies(b'{"cut off'), id="truncated responses"),
        pytest.param(replies(b"<html>", headers={"Content-Type": "text/html"}), id="HTML pages"),
    ],
)
async def test_five_consecutive_failures_open_the_circuit_breaker(
    script: Script | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, script) as (served, (provider,)):
        for _ in range(5):
            assert (await served.call()).status_code in (502, 503)
        connections = provider.connections
        answer = await served.call()
        assert code(answer) == (503, "provider_unavailable")
        assert "(circuit breaker open); retry after " in answer.json()["error"]["message"]
        assert 24 <= int(answer.headers["retry-after"]) <= 36
        assert provider.connections == connections


async def test_the_circuit_breaker_that_a_failure_opens_is_logged_before_the_end_of_its_call(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = f"keys: [{{name: alice, hash: '{digest('mp-canary')}', models: ['*']}}]"
    async with calling(fetch, clock, replies({}, 503), keys=keys) as (served, _):
        for number in range(5):
            headers = {"Authorization": "Bearer mp-canary", "X-Request-Id": f"id-{number}"}
            await served.client.post("/v1/chat/completions", json={"model": "m"}, headers=headers)
        refusal = await served.client.post("/v1/chat/completions", json={"model": "m"}, headers=headers)
        seconds = refusal.headers["retry-after"]
    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        *(f"call id-{number}: provider a: status 503; model 'm', key alice" for number in range(4)),
        "provider a, model 'm', key alice: circuit breaker of calls open after 5 failures in a row; "
        f"next attempt in {seconds} s",
        "call id-4: provider a: status 503; model 'm', key alice",
    ]


async def test_every_failure_that_counts_for_the_circuit_breaker_is_logged(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "x"))
        await hangs(exchange)

    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "x"))
        exchange.reset()

    scripts = [hangs, replies({}, 503), stalls, interrupts, replies(b'{"cut off')]
    limits = "{first_byte_timeout: 300ms, idle_timeout: 300ms}"
    async with calling(fetch, clock, in_sequence(*scripts), defaults=limits) as (served, _):
        for number in range(len(scripts)):
            headers = {"X-Request-Id": f"id-{number}"}
            await served.client.post("/v1/chat/completions", json={"model": "m"}, headers=headers)
    assert [message for message in caplog.messages if message.startswith("call ")] == [
        "call id-0: provider a: timed out before sending a response; model 'm', no key",
        "call id-1: provider a: status 503; model 'm', no key",
        "call id-2: provider a: timed out mid-response; model 'm', no key",
        "call id-3: provider a: broken or unusable response; model 'm', no key",
        "call id-4: provider a: broken or unusable response; model 'm', no key",
    ]


async def test_interrupted_responses_open_the_circuit_breaker(fetch: FakeFetch, clock: FakeClock) -> None:
    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "one"))
        exchange.reset()

    async with calling(fetch, clock, interrupts) as (served, _):
        for _ in range(5):
            assert (await served.call()).status_code == 200
        assert code(await served.call()) == (503, "provider_unavailable")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
async def test_errors_that_one_caller_can_cause_do_not_open_the_circuit_breaker(
    status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies({}, status)) as (served, (provider,)):
        for _ in range(7):
            await served.call()
        assert len(provider.requests) == 7


@pytest.mark.parametrize(
    ("status", "is_account"), [(401, True), (402, True), (403, True), (400, False), (404, False), (429, False)]
)
async def test_health_is_degraded_from_a_rejected_credential_until_a_call_is_accepted(
    status: int, is_account: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    admin = "mp-admin-key-0123456789"
    key = f"keys: [{{name: admin, hash: '{digest(admin)}', models: ['*'], admin: true}}]"

    async def states() -> tuple[str, str, bool]:
        health = (await served.client.get("/health", headers={"Authorization": f"Bearer {admin}"})).json()
        return health["status"], health["calls"], health["providers"][0]["account_rejected"]

    script = in_sequence(replies({}, status), replies({}, status), FINE)
    async with calling(fetch, clock, script, keys=key) as (served, _):
        before = await states()
        await served.call()
        await served.call()
        rejected = await states()
        await clock.advance(60)  # after a 429 the model is paused
        assert (await served.call()).status_code == 200
        after = await states()

    assert (before, after) == (("ok", "ok", False), ("ok", "ok", False))
    assert rejected == (("degraded", "down", True) if is_account else ("ok", "ok", False))


async def test_the_circuit_breaker_closes_when_the_response_to_a_probe_starts(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    goes_on = asyncio.Event()

    async def slow_stream(exchange: Exchange) -> None:
        await exchange.stream()
        await goes_on.wait()
        await exchange.end()

    arrived, answers = asyncio.Event(), asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        arrived.set()
        await answers.wait()
        await slow_stream(exchange)

    async with calling(fetch, clock, replies({}, 503)) as (served, (provider,)):
        for _ in range(5):
            await served.call()
        await clock.advance(40)
        provider.script = waits
        probe = asyncio.create_task(served.call())
        await arrived.wait()
        assert (await served.call()).status_code == 503, "the probe"
        answers.set()
        provider.script = FINE
        await until(lambda: circuit_of(served.app, "a").state == "ok")
        assert (await served.call()).status_code == 200, "while the response to the probe is in progress"
        goes_on.set()
        assert (await probe).status_code == 200


async def test_a_provider_at_its_concurrency_limit_is_skipped_or_503(fetch: FakeFetch, clock: FakeClock) -> None:
    more = ["max_in_flight: 2, queue: {size: 0}"]
    async with calling(fetch, clock, hangs, FINE, more=more) as (served, (first, _)):
        waiting = [asyncio.create_task(served.call()) for _ in range(2)]
        await until(lambda: len(first.requests) == 2)
        assert (await served.call()).status_code == 200
        answer = await served.call("only-a")
        assert (code(answer), answer.headers["retry-after"]) == ((503, "provider_unavailable"), "1")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: circuit_of(served.app, "a").in_flight == 0)
        first.script = FINE
        assert (await served.call("only-a")).status_code == 200


async def test_a_fetched_list_allows_a_probe_of_a_provider_without_a_connection(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, None, defaults="{ttl: 10s}") as (served, _):
        for _ in range(5):
            await served.call()
        assert circuit_of(served.app, "a").state == "open"
        fetched = fetch.requests["a"]
        await clock.advance(6)
        assert fetch.requests["a"] > fetched
        assert circuit_of(served.app, "a").state == "half_open"


async def test_a_fetched_list_allows_no_probe_of_a_model_whose_calls_fail(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies({}, 503), defaults="{ttl: 10s}") as (served, _):
        for _ in range(5):
            await served.call()
        await clock.advance(6)
        assert circuit_of(served.app, "a").open_circuits == [OpenCircuit("m", "", "open")]


async def test_failing_lists_do_not_stop_calls_and_failing_calls_do_not_stop_lists(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, FINE) as (served, (provider,)):
        fetch.fails("a", UpstreamError("connection_refused", "connection refused", retryable=True))
        await clock.advance(2000)
        assert served.app.deployment.store.reports()[0].state == "stale"
        assert (await served.call()).status_code == 200
        fetch.lists("a", "m")
        await clock.advance(1000)
        assert served.app.deployment.store.reports()[0].state == "ok"
        provider.script = replies({}, 503)
        for _ in range(6):
            assert (await served.call()).status_code == 503
        before = fetch.requests["a"]
        await clock.advance(1000)
        assert fetch.requests["a"] > before
        assert served.app.deployment.store.reports()[0].state == "ok"


# -- provider errors ---------------------------------------------------------------------------------------------------

JSON, HTML = "application/json", "text/html"
OWN_WORDS = {"error": {"message": "max_tokens is too large", "type": "invalid_request_error", "code": "own"}}


@pytest.mark.parametrize(
    ("status", "shown", "expected", "retry"),
    [
        *((status, status, "own", None) for status in (400, 404, 410, 413, 415, 422, 429, 451)),
        *((status, status, "own", "true") for status in (409, 424)),
        (401, 502, "provider_auth", "false"),
        (402, 502, "provider_credit", "false"),
        (403, 502, "provider_auth", "false"),
        (405, 502, "provider_rejected", "false"),
        (418, 418, "own", None),
        (301, 502, "provider_rejected", "false"),
        (302, 502, "provider_rejected", "false"),
        (307, 502, "provider_rejected", "false"),
        (408, 504, "timeout", None),
        (504, 504, "timeout", None),
        (500, 502, "provider_failed", None),
        (501, 502, "provider_rejected", "false"),
        (502, 502, "provider_failed", None),
        (599, 502, "provider_failed", None),
        (503, 503, "provider_unavailable", None),
        (529, 503, "provider_unavailable", None),
    ],
)
async def test_each_provider_status_is_mapped(
    status: int, shown: int, expected: str, retry: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = replies(
        OWN_WORDS, status, {"Location": f"http://127.0.0.1/{UP}", "X-Echo": UP, "WWW-Authenticate": "Bearer"}
    )
    async with calling(fetch, clock, script) as (served, (provider,)):
        answer = await served.call()
        assert (*code(answer), answer.headers.get("x-should-retry")) == (shown, expected, retry)
        if expected == "own":
            assert answer.json() == OWN_WORDS
        assert UP not in f"{answer.headers}{answer.text}"
        assert not {"location", "www-authenticate", "x-echo"} & set(answer.headers)
        assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(HTML, b"<html>welcome", id="an HTML page"),
        pytest.param(HTML, b"<!-- a comment -->\n<HTML>", id="an HTML page after a comment"),
        pytest.param(JSON, b"\n <!DOCTYPE html>", id="an HTML page called JSON"),
        pytest.param(JSON, b'{"cut off', id="truncated JSON"),
        pytest.param("text/plain", b'["cut off', id="truncated JSON called text"),
    ],
)
async def test_an_unusable_response_is_an_error(
    content_type: str, body: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(body, headers={"Content-Type": content_type})) as (served, _):
        assert code(await served.call()) == (502, "provider_failed")


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip", "br, sk-canary"])
async def test_an_unsupported_content_encoding_is_an_error(coding: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies({}, headers={"Content-Encoding": coding})) as (served, _):
        assert code(await served.call()) == (502, "provider_failed")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"", b"\0binary"])
async def test_an_error_without_a_message_is_replaced(body: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(replies(body, 400), replies(body, 429))) as (served, _):
        answer = await served.call()
        assert code(answer) == (400, "invalid_request")
        assert "without an error message" in answer.json()["error"]["message"]
        assert code(await served.call()) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("body", [b'{"cut', b'{"x":"' + b"y" * 300_000 + b'"}', b"[" * 5000])
async def test_the_beginning_of_an_unusable_error_is_relayed(body: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(body, 400)) as (served, _):
        answer = await served.call()
        assert code(answer) == (400, "invalid_request")
        assert answer.json()["error"]["message"] == body.decode()[: 16 * 1024]


async def test_a_text_is_relayed_as_the_message_in_the_format_of_the_path(fetch: FakeFetch, clock: FakeClock) -> None:
    script = replies(b"Input validation error", 400, {"Content-Type": "text/plain"})
    async with calling(fetch, clock, script) as (served, _):
        chat, messages = await served.call(), await served.call(path="/v1/messages")
        assert {chat.headers["content-type"], messages.headers["content-type"]} == {JSON}
        assert chat.json() == {
            "error": {
                "message": "Input validation error",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request",
            }
        }
        assert messages.json() == {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Input validation error"},
        }


@pytest.mark.parametrize("announced", [True, False])
async def test_a_compressed_error_is_relayed_decompressed(announced: bool, fetch: FakeFetch, clock: FakeClock) -> None:
    headers = {"Content-Encoding": "gzip"} if announced else {}
    body = gzip.compress(msgspec.json.encode(OWN_WORDS))
    async with calling(fetch, clock, replies(body, 422, headers)) as (served, _):
        answer = await served.call()
        assert (answer.status_code, answer.json()) == (422, OWN_WORDS)
        assert "content-encoding" not in answer.headers


async def test_an_error_that_is_announced_as_compressed_but_is_not_is_relayed(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(OWN_WORDS, 400, {"Content-Encoding": "gzip"})) as (served, _):
        assert (await served.call()).json() == OWN_WORDS


async def test_what_arrives_of_an_interrupted_error_is_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.send(response_head(400, {"Content-Length": "1000"}) + b"max_tokens is too large")
        exchange.writer.close()
        exchange.keep = False

    async with calling(fetch, clock, breaks) as (served, _):
        answer = await served.call()
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "max_tokens is too large")


@pytest.mark.parametrize(
    ("named", "shown", "expected"),
    [(502, 502, "provider_failed"), (429, 429, None), (400, 400, None), (402, 502, "provider_credit")],
)
async def test_a_200_with_nothing_but_an_error_is_an_error(
    named: int, shown: int, expected: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    payload = {"error": {"message": "no worker", "code": named}, "user_id": "user_1"}
    outcome = {502: "failed", 402: "failed", 400: "rejected", 429: "rate_limited"}[named]
    headers = {"Retry-After": "30", "x-request-id": "req_up"}
    async with calling(fetch, clock, replies(payload, headers=headers)) as (served, _):
        answer = await served.call()
        assert answer.status_code == shown
        if expected:
            assert code(answer) == (shown, expected)
        else:
            assert answer.json() == {**payload, "user_id": "***"}
        assert (answer.headers["retry-after"], answer.headers["x-upstream-request-id"]) == ("30", "req_up")
        assert outcomes(served) == {"a": {outcome: 1}}
        circuit = circuit_of(served.app, "a")
        assert (circuit.in_flight, circuit.state) == (
            0,
            {502: "degraded", 402: "degraded", 429: "limited"}.get(named, "ok"),
        )


async def test_a_200_with_more_than_an_error_is_an_answer(fetch: FakeFetch, clock: FakeClock) -> None:
    for payload in ({"error": None, "id": "resp_1"}, {"error": {"code": 502}, "id": "resp_1", "output": []}):
        async with calling(fetch, clock, replies(payload)) as (served, _):
            answer = await served.call()
            assert (answer.status_code, answer.json()) == (200, payload)


async def test_an_error_about_the_request_is_relayed_byte_for_byte(fetch: FakeFetch, clock: FakeClock) -> None:
    payload = b' {"error": {"message": "caf\\u00e9 task-1234567890 \xe4\xb8\xad", "n": 1.00}}\n'
    async with calling(fetch, clock, replies(payload, 400)) as (served, _):
        assert (await served.call()).content == payload


@pytest.mark.parametrize("status", [400, 413, 422, 429])
@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(UP, id="complete"),
        pytest.param(f"Bearer {UP}.", id="in a sentence"),
        pytest.param(f"{UP[:5]}****{UP[-4:]}", id="masked"),
        pytest.param(UP.replace("-", "%2D"), id="percent-encoded"),
    ],
)
async def test_a_relayed_error_has_the_providers_key_redacted(
    echo: str, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    payload = {"error": {"message": f"what is {echo}?", "list": [echo], echo: 1}}
    async with calling(fetch, clock, replies(payload, status)) as (served, _):
        answer = await served.call()
        assert answer.status_code == status
        assert answer.json()["error"]["message"].startswith("what is ")
        for form in (UP, echo, UP[:5], UP[-8:]):
            assert form not in answer.text


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_relayed_error_has_account_ids_redacted(status: int, fetch: FakeFetch, clock: FakeClock) -> None:
    message = (
        "Rate limit reached for gpt-4o in organization org-AbCdEf123456 project proj_Zyx987654 on tokens "
        "of account 01234567-89ab-cdef-0123-456789abcdef . Limit 30000, Used 29000. Try again in 2s."
    )
    async with calling(fetch, clock, replies({"error": {"message": message, "type": "tokens"}}, status)) as (served, _):
        assert (await served.call()).json() == {
            "error": {
                "message": "Rate limit reached for gpt-4o in organization *** project *** on tokens "
                "of account *** . Limit 30000, Used 29000. Try again in 2s.",
                "type": "tokens",
            }
        }


async def test_x_should_retry_false_of_a_provider_is_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    payload = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    async with calling(fetch, clock, replies(payload, 429, {"x-should-retry": "false"})) as (served, _):
        assert (await served.call()).headers["x-should-retry"] == "false"


@pytest.mark.parametrize("value", ["7", "259200", "Fri, 15 Jan 2027 08:00:07 GMT"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_of_a_provider_is_relayed_as_it_was_sent(
    value: str, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies({}, status, {"Retry-After": value})) as (served, _):
        assert (await served.call()).headers["retry-after"] == value


async def test_a_model_cools_down_for_a_minute_at_most(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(limited(259_200), FINE)) as (served, _):
        assert (await served.call()).headers["retry-after"] == "259200"
        assert (await served.call()).headers["retry-after"] == "60"
        await clock.advance(61)
        assert (await served.call()).status_code == 200


async def test_headers_of_a_rate_limit_are_relayed_with_the_error(fetch: FakeFetch, clock: FakeClock) -> None:
    headers = {"retry-after-ms": "350", "x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "350ms"}
    async with calling(fetch, clock, in_sequence(replies(OWN_WORDS, 429, headers), FINE)) as (served, _):
        answer = await served.call()
        assert {name: answer.headers.get(name) for name in (*headers, "retry-after")} == {
            **headers,
            "retry-after": None,
        }
        assert (await served.call()).status_code == 429, "the model cools down for these milliseconds"
        await clock.advance(0.4)
        assert (await served.call()).status_code == 200


async def test_after_failover_the_headers_are_those_of_the_error_that_is_returned(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    scripts = [
        replies(
            OWN_WORDS, 429, {"Retry-After": wait, "x-ratelimit-remaining-tokens": name, "request-id": f"req_{name}"}
        )
        for name, wait in (("a", "259200"), ("b", "172800"))
    ]
    async with calling(fetch, clock, *scripts) as (served, _):
        answer = await served.call()
        names = ("retry-after", "x-ratelimit-remaining-tokens", "x-upstream-request-id")
        assert [answer.headers[name] for name in names] == ["172800", "b", "req_b"]


@pytest.mark.parametrize(
    "header",
    [
        "x-request-id",
        "Request-Id",
        "x-amzn-RequestId",
        "apim-request-id",
        "mistral-correlation-id",
        "X-Oneapi-Request-Id",
        "x-tt-logid",
        "x-siliconcloud-trace-id",
        "x-generation-id",
        "eagleeye-traceid",
        "CF-Ray",
    ],
)
async def test_the_providers_request_id_is_in_every_response_and_in_the_log_of_failures(
    header: str, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ids = {header: "req_up"}

    async def streamed(exchange: Exchange) -> None:
        await exchange.stream(**ids)
        await exchange.chunk(DONE)
        await exchange.end()

    scripts = [
        replies(completion("m"), headers=ids),
        replies(OWN_WORDS, 400, ids),
        replies({"error": {"message": "no capacity"}}, 500, ids),
        replies(b'{"id":', headers=ids),
        streamed,
    ]
    async with calling(fetch, clock, in_sequence(*scripts)) as (served, _):
        answers = [
            await served.client.post(
                "/v1/chat/completions", json={"model": "m"}, headers={"X-Request-Id": f"id-{index}"}
            )
            for index in range(len(scripts))
        ]
    assert [answer.headers["x-upstream-request-id"] for answer in answers] == ["req_up"] * 5
    assert [answer.headers["x-request-id"] for answer in answers] == [f"id-{index}" for index in range(5)]
    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        "call id-2: provider a: status 500: no capacity; model 'm', no key, upstream request id req_up",
        "call id-3: provider a: broken or unusable response; model 'm', no key, upstream request id req_up",
    ]


@pytest.mark.parametrize("value", ["a\tb", "x" * 300])
async def test_an_unusable_request_id_is_not_relayed(value: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(completion("m"), headers={"x-request-id": value})) as (served, _):
        assert "x-upstream-request-id" not in (await served.call()).headers


# -- connections -------------------------------------------------------------------------------------------------------


async def test_calls_share_a_connection_also_after_an_error(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, in_sequence(FINE, replies(OWN_WORDS, 400), FINE)) as (served, (provider,)):
        assert [(await served.call()).status_code for _ in range(4)] == [200, 400, 200, 200]
        assert provider.connections == 1


async def test_a_connection_closed_by_the_provider_causes_no_failed_call(fetch: FakeFetch, clock: FakeClock) -> None:
    async def and_closes(exchange: Exchange) -> None:
        await FINE(exchange)
        exchange.keep = False

    async with calling(fetch, clock, and_closes) as (served, (provider,)):
        for calls in range(1, 6):
            assert (await served.call()).status_code == 200
            await until(lambda calls=calls: provider.open == 0 and provider.connections == calls)  # type: ignore[misc]


async def test_stale_connections_are_no_failures_of_the_provider(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def answers_once_per_connection() -> Script:
        used: set[asyncio.StreamWriter] = set()

        async def script(exchange: Exchange) -> None:
            if exchange.writer in used:
                exchange.keep = False
            else:
                used.add(exchange.writer)
                await FINE(exchange)

        return script

    async with calling(fetch, clock, answers_once_per_connection()) as (served, (provider,)):
        assert [(await served.call()).status_code for _ in range(12)] == [200] * 12
        assert provider.connections == 12
        assert (circuit_of(served.app, "a").state, outcomes(served)) == ("ok", {"a": {"ok": 12}})
        assert caplog.messages == []


async def test_cookies_are_not_kept_between_calls(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(completion("m"), headers={"Set-Cookie": "a=b"})) as (served, (provider,)):
        for _ in range(2):
            assert "set-cookie" not in (await served.call()).headers
        assert "cookie" not in provider.requests[1].headers


async def test_a_body_of_several_mebibytes_is_sent_completely(fetch: FakeFetch, clock: FakeClock) -> None:
    text = "x" * 3_000_000
    async with calling(fetch, clock, FINE) as (served, (provider,)):
        assert (await served.call(input=text)).status_code == 200
        assert provider.requests[0].json == {"model": "m", "input": text}


async def test_a_response_before_the_end_of_the_request_body_is_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    refusal = msgspec.json.encode(OWN_WORDS)

    class Early(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = response_head(413, {"Content-Type": JSON, "Content-Length": str(len(refusal))})
            await send(writer, head + refusal)
            await finished.wait()

    finished = asyncio.Event()
    server = Early()
    await server.start()
    config = config_of(f"""
providers: [{{name: a, base_url: "{server.url}/v1"}}]
groups: {{default: {{models: ["*"], call: true}}}}
""")
    fetch.lists("a", "m")
    async with serving(config, fetch, clock) as served:
        answer = await served.call(input="x" * 16_000_000)
        assert (answer.status_code, answer.json()) == (413, OWN_WORDS)
        finished.set()
    await server.stop()


@pytest.mark.parametrize("lines", [200, 1], ids=["many headers", "a long header"])
async def test_an_endless_response_head_is_an_error(lines: int, fetch: FakeFetch, clock: FakeClock) -> None:
    many = {f"X-{number}": "y" * (300_000 // lines) for number in range(lines)}
    async with calling(fetch, clock, replies({}, headers=many)) as (served, _):
        assert code(await served.call()) == (502, "provider_failed")


# -- logins ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def with_login(
    fetch: FakeFetch, clock: FakeClock, login: Script, script: Script
) -> AsyncIterator[tuple[Served, FakeProvider, FakeProvider]]:
    async with fake_provider(login) as granting, fake_provider(script) as provider:
        config = config_of(f"""
providers:
  - name: a
    base_url: "{provider.url}/v1"
    oauth: {{url: "{granting.url}/token", id: us, secret: sk-canary-secret}}
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "m")
        async with serving(config, fetch, clock) as served:
            yield served, granting, provider


def grants(*tokens: str) -> Script:
    return in_sequence(*(replies({"access_token": token, "expires_in": 3600}) for token in tokens))


def accepts(token: str) -> Script:
    """Accepts calls with this token only."""

    async def script(exchange: Exchange) -> None:
        sent = exchange.request.headers.get("authorization", "")
        await (FINE if sent == f"Bearer {token}" else replies({"error": {"message": sent}}, 401))(exchange)

    return script


async def test_many_calls_at_once_share_one_login(fetch: FakeFetch, clock: FakeClock) -> None:
    async with with_login(fetch, clock, grants("sk-canary-t1"), accepts("sk-canary-t1")) as (served, granting, _):
        answers = await asyncio.gather(*(served.call() for _ in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10
        assert len(granting.requests) == 1


async def test_a_token_rejected_before_its_expiry_is_renewed_within_the_call(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    login = grants("sk-canary-t1", "sk-canary-t2")
    async with with_login(fetch, clock, login, accepts("sk-canary-t1")) as (served, granting, provider):
        assert (await served.call()).status_code == 200
        provider.script = accepts("sk-canary-t2")
        answers = await asyncio.gather(*(served.call() for _ in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10
        assert len(granting.requests) == 2, "a newer token is used without another login"


async def test_a_rejected_new_token_is_an_authentication_failure(fetch: FakeFetch, clock: FakeClock) -> None:
    async with with_login(fetch, clock, grants("sk-canary-t1"), accepts("another")) as (served, granting, _):
        answer = await served.call()
        assert (code(answer), answer.headers["x-should-retry"]) == ((502, "provider_auth"), "false")
        assert "canary" not in answer.text
        assert len(granting.requests) == 2


async def test_a_token_quoted_in_an_error_is_redacted(fetch: FakeFetch, clock: FakeClock) -> None:
    payload = {"error": {"message": "what is Bearer sk-canary-t1?"}}
    async with with_login(fetch, clock, grants("sk-canary-t1"), replies(payload, 400)) as (served, _, _):
        assert (await served.call()).json() == {"error": {"message": "what is Bearer ***?"}}


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (replies({"error": "invalid_client"}, 401), "provider_auth"),
        (replies({}, 200), "provider_auth"),
        (replies({}, 503), "provider_failed"),
        (resets, "provider_failed"),
    ],
)
async def test_a_failed_login_fails_the_call(login: Script, expected: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with with_login(fetch, clock, login, FINE) as (served, _, provider):
        assert code(await served.call()) == (502, expected)
        assert provider.requests == []


async def test_a_disconnect_during_a_login_leaks_nothing(fetch: FakeFetch, clock: FakeClock) -> None:
    async with with_login(fetch, clock, hangs, FINE) as (served, granting, provider):
        async with served.raw(post(b'{"model":"m"}')):
            await until(lambda: bool(granting.requests))
        await until(lambda: circuit_of(served.app, "a").in_flight == 0, 1)
        await until(lambda: outcomes(served) == {"a": {"client_disconnected": 1}}, 1)
        assert provider.requests == []
        granting.script = grants("sk-canary-t1")
        assert (await served.call()).status_code == 200, "the lock of the login is released"


# -- egress proxies ----------------------------------------------------------------------------------------------------

EGRESS = "Basic bWU6c2stY2FuYXJ5LWVncmVzcw=="


async def test_an_http_call_through_an_egress_proxy_has_an_absolute_url_and_proxy_credentials(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with fake_provider(FINE) as egress:
        url = egress.url.replace("://", "://me:sk-canary-egress@")
        config = config_of(f"""
providers: [{{name: a, base_url: "http://provider.example/v1", api_key: {UP}, proxy: "{url}"}}]
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "m")
        async with serving(config, fetch, clock) as served:
            for _ in range(2):
                assert (await served.call()).status_code == 200
        for request in egress.requests:
            assert request.target == "http://provider.example/v1/chat/completions"
            assert request.headers["host"] == "provider.example"
            assert request.headers["proxy-authorization"] == EGRESS
            assert request.headers["authorization"] == f"Bearer {UP}"


async def test_an_https_call_through_an_egress_proxy_reveals_only_its_host(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with fake_provider(replies({}, 407)) as egress:
        url = egress.url.replace("://", "://me:sk-canary-egress@")
        config = config_of(f"""
providers: [{{name: a, base_url: "https://provider.example/v1", api_key: {UP}, proxy: "{url}"}}]
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "m")
        async with serving(config, fetch, clock) as served:
            answer = await served.call()
            assert code(answer) == (502, "provider_failed")
            assert "canary" not in f"{answer.headers}{answer.text}"
            assert outcomes(served) == {"a": {"failed": 1}}
        (request,) = egress.requests
        assert (request.method, request.target) == ("CONNECT", "provider.example:443")
        assert request.headers["proxy-authorization"] == EGRESS
        assert UP.encode() not in request.head + request.body


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
async def test_tls_calls_require_a_trusted_certificate(
    trusted: bool, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    answers = in_sequence(FINE, streams(chunk_event("m", "hello"), DONE))
    async with fake_provider(answers, context) as provider:
        config = config_of(f"""
providers: [{{name: a, base_url: "{provider.url}/v1", api_key: {UP}, ca_file: "{tmp_path}/ca.pem"}}]
groups: {{default: {{models: ["*"], call: true}}}}
""")
        fetch.lists("a", "m")
        async with serving(config, fetch, clock) as served:
            whole, streamed = await served.call(), await served.call(stream=True)
            if trusted:
                assert whole.json() == completion("m")
                assert streamed.content == chunk_event("m", "hello") + DONE
                assert len(provider.requests) == 2
            else:
                assert code(whole) == code(streamed) == (502, "provider_failed")
                assert provider.requests == []


async def test_proxy_variables_of_the_environment_are_ignored(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with calling(fetch, clock, FINE) as (served, _):
        assert (await served.call()).status_code == 200


# -- counters and log --------------------------------------------------------------------------------------------------


async def test_calls_are_counted_by_key_provider_and_model(fetch: FakeFetch, clock: FakeClock) -> None:
    events = streams(
        b'data: {"model":"m"}\n\n',
        b'data: {"usage":{"prompt_tokens":7,"completion_tokens":11}}\n\n',
        b"data: [DONE]\n\n",
    )
    scripts = in_sequence(FINE, events, replies({}, 400), LIMITED, replies({}, 500), resets)
    async with calling(fetch, clock, scripts) as (served, _):
        for _ in range(6):
            await served.call()
        ((labels, counts),) = served.attempts
        assert labels == Labels("", "a", "m")
        assert counts.outcomes == {"ok": 2, "rejected": 1, "rate_limited": 1, "failed": 2}
        assert (counts.input_tokens, counts.output_tokens) == (10, 16)
        assert counts.responses == 2


async def test_prompts_responses_and_credentials_are_never_logged(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in loggers:
        caplog.set_level(logging.DEBUG, logger.name)
    payload = completion("m", "canary-answer")

    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "canary-answer"))
        exchange.reset()

    refusal = {"error": {"message": "canary-answer"}}  # can quote the prompt
    failure = {"error": {"message": f"overloaded, {UP}"}}
    scripts = [replies(payload), interrupts, resets, not_http, hangs, replies(b"canary-answer"), FINE]
    scripts[4:4] = [
        replies(refusal if status in (400, 429) else failure, status) for status in (400, 401, 429, 500, 503)
    ]
    async with calling(fetch, clock, in_sequence(*scripts), defaults="{first_byte_timeout: 1500ms}") as (
        served,
        (provider,),
    ):
        for number in range(len(scripts)):
            headers = {"Authorization": "Bearer sk-canary-alice", "X-Request-Id": f"id-{number}"}
            body = {"model": "m", "messages": [{"role": "user", "content": "canary-prompt"}]}
            await served.client.post("/v1/chat/completions?x=canary-query", json=body, headers=headers)
        assert len(provider.requests) == len(scripts)
    logged = [record.getMessage() for record in caplog.records if record.name == "models_proxy"]
    assert (
        "call id-2: provider a: no response (ClientOSError); model 'm', no key" in logged
        or "call id-2: provider a: no response (ServerDisconnectedError); model 'm', no key" in logged
    )
    assert "call id-8: provider a: status 503: overloaded, ***; model 'm', no key" in logged
    records = [record for record in caplog.records if not record.name.startswith(("httpcore", "httpx"))]  # the client's
    output = "\n".join(f"{record.getMessage()} {record.exc_text} {record.__dict__}" for record in records)
    assert "canary" not in output


async def test_a_provider_with_deeply_nested_errors_stays_callable(fetch: FakeFetch, clock: FakeClock) -> None:
    """The circuit counts the call as ended, whatever fails while the error is read."""

    async def nested(exchange: Exchange) -> None:
        body = b'{"error":' + b"[" * 600 + b'"x"' + b"]" * 600 + b"}"
        await exchange.send(response_head(429, {"Content-Length": str(len(body))}) + body)

    async with calling(fetch, clock, nested) as (served, _):
        statuses = [(await served.call()).status_code for _ in range(3)]

        assert statuses == [429, 429, 429]
        assert circuit_of(served.app, "a").in_flight == 0

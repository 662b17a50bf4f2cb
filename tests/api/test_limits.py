"""Limits of callers through real sockets: refusals, headers, tokens, calls in progress, lists."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from proxy.calls import NATIVE_CALLS
from proxy.inference.response.stream_format import stream_format_of
from proxy.wire import format_of
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, post, serving, until
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies

pytestmark = pytest.mark.anyio

ALICE, BOB, CAROL = "sk-canary-alice", "sk-canary-bob", "sk-canary-carol"
CONFIG = """
providers: [{{name: a, base_url: "{url}/v1", api_key: sk-canary-upstream}}]
groups:
  staff: {{models: ["*"], limits: {limits}, group_limits: {group_limits}}}
  free: {{models: ["*"]}}
keys:
  - {{name: alice, hash: "{alice}", group: staff}}
  - {{name: bob, hash: "{bob}", group: staff}}
  - {{name: carol, hash: "{carol}", group: free}}
"""
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@asynccontextmanager
async def limited(
    limits: str,
    clock: FakeClock,
    fetch: FakeFetch,
    script: Script | None = None,
    group_limits: str = "{}",
    config: str = CONFIG,
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy with these limits of the members of a group, and of the group."""
    fetch.lists("a", "m")
    async with fake_provider(script or replies(completion("m"))) as up:
        keys = {"alice": digest(ALICE), "bob": digest(BOB), "carol": digest(CAROL)}
        settings = config_of(config.format(url=up.url, limits=limits, group_limits=group_limits, **keys))
        async with serving(settings, fetch, clock) as served:
            yield served, up


async def call(served: Served, key: str = ALICE, path: str = CHAT, **fields: object) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "12345678"}], **fields}
    return await served.client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})


def limit_headers(response: httpx.Response) -> dict[str, str]:
    names = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after")
    return {name: value for name, value in response.headers.items() if name.startswith(names)}


async def test_a_caller_above_its_limit_gets_429_with_the_limit_and_the_time(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{requests: [2/m, 100/d]}", clock, fetch) as (served, up):
        statuses = [(await call(served)).status_code for _ in range(2)]
        await clock.advance(20)
        refused = await call(served)
        reached = len(up.requests)
        await clock.advance(40)
        statuses.append((await call(served)).status_code)

    assert statuses == [200, 200, 200]
    assert refused.status_code == 429
    assert refused.json() == {
        "error": {
            "message": "Rate limit of this proxy exceeded: at most 2 requests per minute (each caller); "
            "retry after 40 s.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
    assert limit_headers(refused) == {
        "retry-after": "40",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "40s",
    }
    assert reached == 2


async def test_each_key_of_a_group_has_its_own_limit_and_keys_without_one_have_none(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{requests: 1/m}", clock, fetch) as (served, _):
        statuses = [(await call(served, key)).status_code for key in (ALICE, ALICE, BOB, BOB, CAROL, CAROL)]
        free = await call(served, CAROL)
    assert statuses == [200, 429, 200, 429, 200, 200]
    assert limit_headers(free) == {}


async def test_a_group_limit_counts_all_members_together(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{}", clock, fetch, group_limits="{requests: 3/h}") as (served, _):
        statuses = [(await call(served, key)).status_code for key in (ALICE, BOB, ALICE)]
        refused = await call(served, BOB)
    assert statuses == [200] * 3
    assert "at most 3 requests per hour (all members of the group staff together)" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "3600"
    assert refused.headers["x-should-retry"] == "false"  # SDKs would retry too soon


async def test_a_request_that_one_limit_refuses_uses_nothing_of_the_others(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{requests: 1/m}", clock, fetch, group_limits="{requests: 3/m}") as (served, _):
        statuses = [(await call(served)).status_code for _ in range(5)]
        other = await call(served, BOB)
    assert statuses == [200, 429, 429, 429, 429]
    assert other.status_code == 200


async def test_good_answers_report_the_tightest_limit_in_the_names_of_openai(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{requests: [10/m, 5/h], tokens: 1000/m}", clock, fetch) as (served, _):
        first = await call(served)
        second = await call(served)
    assert limit_headers(first) == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1h0m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "998",  # the request is estimated to have 2
        "x-ratelimit-reset-tokens": "1m0s",
    }
    assert second.headers["x-ratelimit-remaining-tokens"] == str(1000 - 8 - 2)


@pytest.mark.parametrize(
    ("script", "is_stream", "status"),
    [
        (replies(completion("m")), False, 200),
        (replies({**completion("m"), "text": "x" * 300_000}), False, 200),
        (streams(chunk_event("m", "text"), DONE), True, 200),
        (streams(b"\n", b'{"model": "m"}', content_type="application/json"), False, 200),
        (streams(b"audio", content_type="audio/mpeg"), False, 200),
        (replies({"error": {"message": "No."}}, status=400), False, 400),
    ],
    ids=["JSON", "long JSON", "events", "JSON after blank lines", "other bytes", "error"],
)
async def test_every_response_to_a_call_reports_each_limit_once(
    script: Script, is_stream: bool, status: int, clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{requests: 10/m, tokens: 1000/m}", clock, fetch, script) as (served, _):
        response = await call(served, stream=is_stream)
    assert response.status_code == status
    assert [header for header in response.headers.multi_items() if header[0].startswith("x-ratelimit-")] == [
        ("x-ratelimit-limit-requests", "10"),
        ("x-ratelimit-remaining-requests", "9"),
        ("x-ratelimit-reset-requests", "1m0s"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "998"),
        ("x-ratelimit-reset-tokens", "1m0s"),
    ]


async def test_anthropics_api_gets_the_names_of_anthropic(clock: FakeClock, fetch: FakeFetch) -> None:
    clock.set_time(1_800_000_000.0)
    async with limited("{requests: 1/m}", clock, fetch) as (served, _):
        good = await call(served, path=MESSAGES)
        refused = await call(served, path=MESSAGES)
    expected = {
        "anthropic-ratelimit-requests-limit": "1",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
    }
    assert limit_headers(good) == expected
    assert limit_headers(refused) == {**expected, "retry-after": "60"}
    assert refused.json()["error"]["type"] == "rate_limit_error"


PROVIDERS = {"x-ratelimit-limit-requests": "77", "anthropic-ratelimit-tokens-limit": "88"}


@pytest.mark.parametrize("status", [200, 400])
async def test_the_limits_of_the_proxy_at_a_provider_are_dropped_for_callers_with_limits(
    status: int, clock: FakeClock, fetch: FakeFetch
) -> None:
    body = completion("m") if status == 200 else {"error": {"message": "no"}}
    script = replies(body, status=status, headers=PROVIDERS)
    async with limited("{requests: 5/m}", clock, fetch, script) as (served, _):
        own = await call(served)
        relayed = await call(served, CAROL)
    assert own.status_code == relayed.status_code == status
    assert limit_headers(own) == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m0s",
    }
    assert limit_headers(relayed) == PROVIDERS


# -- tokens ------------------------------------------------------------------------------------------------------------


async def remaining(served: Served) -> int:
    """The tokens that remain, after a call that is estimated to have none."""
    response = await call(served, messages=[])
    return int(response.headers["x-ratelimit-remaining-tokens"])


async def test_tokens_are_settled_with_those_that_the_provider_reports(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{tokens: 1000/m}", clock, fetch) as (served, _):
        await call(served)
        assert await remaining(served) == 1000 - 8


async def test_a_call_is_admitted_while_tokens_remain_and_its_debt_is_carried_over(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{tokens: 4/m}", clock, fetch) as (served, _):
        first = await call(served)  # 8 tokens: those of two minutes
        statuses = []
        for _ in range(2):
            await clock.advance(59)
            statuses.append((await call(served)).status_code)
        refused = await call(served)
        await clock.advance(2)
        statuses.append((await call(served)).status_code)
    assert first.status_code == 200
    assert statuses == [429, 429, 200]
    assert refused.headers["retry-after"] == "2"
    assert "at most 4 tokens per minute (each caller)" in refused.json()["error"]["message"]


async def test_a_stream_without_usage_costs_a_quarter_of_its_characters(clock: FakeClock, fetch: FakeFetch) -> None:
    script = streams(chunk_event("m", "0123456789"), chunk_event("m", "01234567"), DONE)
    async with limited("{tokens: 1000/m}", clock, fetch, script) as (served, _):
        await call(served, stream=True)
        response = await call(served, messages=[], stream=True)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1000 - 2 - 5)


async def test_a_gemini_stream_without_usage_costs_the_same_as_events_and_as_an_array(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    item = b'{"candidates": [\n{"content": {"parts": [{"text": "0123456789"}]}}\n]}'
    array = [b"[" + item, b"\n,\r\n" + item, b"\n]"]
    streamed = [streams(b"data: %b\n\n" % item.replace(b"\n", b"")), streams(*array, content_type="application/json")]
    script = in_sequence(*streamed, replies({"candidates": []}))
    config = CONFIG.replace("name: a,", "name: a, kind: gemini,").replace("/v1", "")
    remaining = []
    async with limited("{tokens: 1000/m}", clock, fetch, script, config=config) as (served, _):
        for path in ("streamGenerateContent?alt=sse", "streamGenerateContent", "generateContent"):
            response = await call(served, path=f"/v1beta/models/m:{path}", model=None, messages=[])
            remaining.append(response.headers["x-ratelimit-remaining-tokens"])
    assert remaining == ["1000", str(1000 - 3), str(1000 - 3 - 5)]


async def test_a_stream_with_usage_costs_what_it_reports(clock: FakeClock, fetch: FakeFetch) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":12}}\n\n'
    script = streams(chunk_event("m", "0123456789"), usage, DONE)
    async with limited("{tokens: 1000/m}", clock, fetch, script) as (served, _):
        await call(served, stream=True)
        response = await call(served, messages=[], stream=True)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1000 - 42)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_reports_only_its_output_also_costs_its_input(
    is_stream: bool, clock: FakeClock, fetch: FakeFetch
) -> None:
    usage = {"completion_tokens": 9}
    event = b'data: {"choices":[],"usage":%b}\n\n' % msgspec.json.encode(usage)
    script = streams(chunk_event("m", "0123456789"), event, DONE) if is_stream else replies({"usage": usage})
    async with limited("{tokens: 1000/m}", clock, fetch, script) as (served, _):
        await call(served, stream=is_stream)
        response = await call(served, messages=[], stream=is_stream)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1000 - 2 - 9)


async def test_a_stream_that_reports_only_its_input_also_costs_a_quarter_of_its_characters(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":30}}\n\n'
    script = streams(chunk_event("m", "0123456789"), usage, DONE)
    async with limited("{tokens: 1000/m}", clock, fetch, script) as (served, _):
        await call(served, stream=True)
        response = await call(served, messages=[], stream=True)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1000 - 30 - 3)


def test_calls_that_cost_their_estimate_without_usage_are_those_that_generate_text() -> None:
    generating = [path for path, each in NATIVE_CALLS.items() if stream_format_of(each, format_of(path)).generates]
    assert generating == [
        "/v1beta/models/{id}:generateContent",
        "/v1beta/models/{id}:streamGenerateContent",
        "/api/chat",
        "/api/generate",
    ]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/images/generations", "/v1/audio/speech"])
async def test_other_calls_without_usage_cost_requests_only(path: str, clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{tokens: 1000/m, requests: 9/m}", clock, fetch, replies({"data": []})) as (served, _):
        await call(served, path=path, input="a" * 400)
        response = await call(served, path=path, input="")
    assert response.headers["x-ratelimit-remaining-requests"] == "7"
    assert response.headers["x-ratelimit-remaining-tokens"] == "998"  # only the estimate of the second call


async def test_a_call_that_fails_costs_no_tokens(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{tokens: 1000/m}", clock, fetch, replies({"error": {"message": "no"}}, status=400)) as (
        served,
        _,
    ):
        await call(served, messages=[{"role": "user", "content": "a" * 400}])
        assert await remaining(served) == 1000


async def test_a_client_that_disconnects_pays_for_the_text_until_then(clock: FakeClock, fetch: FakeFetch) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "0123456789" * 4))
        await exchange.closed()

    async with limited("{tokens: 1000/m, concurrent: 1}", clock, fetch, endless) as (served, _):
        body = msgspec.json.encode({"model": "m", "stream": True, "messages": [{"content": "12345678"}]})
        async with served.raw(post(body, Authorization=f"Bearer {ALICE}")) as (reader, _writer):
            await reader.readuntil(b'0123456789"')
        limiter = served.app.shared.limiter(served.app.deployment.config)
        await until(lambda: limiter.state.scopes["key:alice"].in_flight == 0)
        used = limiter.state.scopes["key:alice"].counters["tokens/m"].used
    assert used == 2 + 10


async def test_a_client_that_disconnects_while_its_call_is_queued_pays_for_no_tokens(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.closed()

    with_queue = CONFIG.replace("sk-canary-upstream}}", "sk-canary-upstream, max_in_flight: 1}}")
    async with limited("{tokens: 1000/m}", clock, fetch, endless, config=with_queue) as (served, up):
        limiter = served.app.shared.limiter(served.app.deployment.config)
        body = msgspec.json.encode({"model": "m", "messages": [{"content": "12345678"}]})
        async with served.raw(post(body, Authorization=f"Bearer {ALICE}")):
            await until(lambda: len(up.requests) == 1)
            async with served.raw(post(body, Authorization=f"Bearer {BOB}")):
                await until(lambda: limiter.state.scope("key:bob").counter("tokens/m").used == 2)
            await until(lambda: limiter.state.scope("key:bob").counter("tokens/m").used == 0)


# -- calls in progress -------------------------------------------------------------------------------------------------


async def test_calls_in_progress_are_limited_and_released_however_they_end(clock: FakeClock, fetch: FakeFetch) -> None:
    released = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await released.wait()
        await exchange.reply(msgspec.json.encode(completion("m")))

    async with limited("{concurrent: 2}", clock, fetch, waits) as (served, up):
        first, second = asyncio.create_task(call(served)), asyncio.create_task(call(served))
        await until(lambda: len(up.requests) == 2)
        refused = await call(served)
        other = asyncio.create_task(call(served, BOB))
        await until(lambda: len(up.requests) == 3)
        released.set()
        statuses = [(await task).status_code for task in (first, second, other)]
        again = await call(served)
    assert refused.status_code == 429
    assert "at most 2 calls at a time (each caller)" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "1"
    assert [*statuses, again.status_code] == [200] * 4


# -- lists -------------------------------------------------------------------------------------------------------------


async def lists(served: Served, key: str = ALICE, path: str = "/v1/models") -> httpx.Response:
    return await served.client.get(path, headers={"Authorization": f"Bearer {key}"})


async def test_lists_and_probes_are_never_limited_by_the_limits_of_calls(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{requests: 1/d, concurrent: 1, tokens: 1/d}", clock, fetch) as (served, _):
        await call(served)
        statuses = [(await lists(served, path=path)).status_code for path in ("/v1/models", "/v1/models/m", "/livez")]
        refused = await call(served)
    assert statuses == [200, 200, 200]
    assert refused.status_code == 429


async def test_list_requests_is_a_limit_of_its_own(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{list_requests: 3/m}", clock, fetch) as (served, _):
        paths = ("/v1/models", "/models", "/v1/models/m", "/v1/models", "/v1/models/nothing")
        answers = [await lists(served, path=path) for path in paths]
        called = await call(served)
        other = await lists(served, CAROL)
        probe = await lists(served, path="/readyz")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert "at most 3 list requests per minute" in answers[-1].json()["error"]["message"]
    assert answers[0].json() == other.json()
    assert called.status_code == other.status_code == probe.status_code == 200


async def test_errors_of_counted_lists_report_the_limits(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{list_requests: 5/m}", clock, fetch) as (served, _):
        unknown = await lists(served, path="/v1/models/nothing")
        bad = await lists(served, path="/v1/models?q=" + "a" * 101)
        headers = {"Authorization": f"Bearer {ALICE}"}
        looked_up = await served.client.post("/api/show", json={"model": "nothing"}, headers=headers)
    shown = [(answer.status_code, limit_headers(answer)) for answer in (unknown, bad, looked_up)]
    limit, reset = {"x-ratelimit-limit-requests": "5"}, {"x-ratelimit-reset-requests": "1m0s"}
    assert shown == [
        (status, {**limit, "x-ratelimit-remaining-requests": left, **reset})
        for status, left in ((404, "4"), (400, "3"), (404, "2"))
    ]


async def test_limits_of_lists_are_reported_as_in_the_api_of_the_list(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{list_requests: 1/m}", clock, fetch) as (served, _):
        headers = {"x-api-key": ALICE, "anthropic-version": "2023-06-01"}
        answers = [await served.client.get("/v1/models", headers=headers) for _ in range(2)]
    shown = [{name for name in answer.headers if "ratelimit" in name} for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert shown == [{f"anthropic-ratelimit-requests-{name}" for name in ("limit", "remaining", "reset")}] * 2


async def test_the_limits_of_lists_are_reported_once_to_pages_and_without_a_body(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    config = CONFIG + "server: {{cors: ['https://page.example']}}\n"
    async with limited("{list_requests: 5/m}", clock, fetch, config=config) as (served, _):
        headers = {"Authorization": f"Bearer {ALICE}", "Origin": "https://page.example"}
        answers = [await served.client.request(method, "/v1/models", headers=headers) for method in ("GET", "HEAD")]
    shown = [[header for header in each.headers.multi_items() if "ratelimit-" in header[0]] for each in answers]
    limit, reset = ("x-ratelimit-limit-requests", "5"), ("x-ratelimit-reset-requests", "1m0s")
    exposed = ("access-control-expose-headers", answers[0].headers["access-control-expose-headers"])
    assert [sorted({*each} - {exposed}) for each in shown] == [
        [limit, ("x-ratelimit-remaining-requests", left), reset] for left in ("4", "3")
    ]
    assert [len(each) for each in shown] == [3, 3]
    assert answers[1].content == b""


# -- many clients ------------------------------------------------------------------------------------------------------


async def test_32_clients_together_get_exactly_100_of_100_per_minute(clock: FakeClock, fetch: FakeFetch) -> None:
    statuses: Counter[tuple[int, int]] = Counter()

    async def flood(served: Served, minute: int) -> None:
        for _ in range(5):
            statuses[minute, (await call(served)).status_code] += 1

    async with limited("{requests: 100/m}", clock, fetch) as (served, _):
        for minute in range(2):
            await asyncio.gather(*(flood(served, minute) for _ in range(32)))
            await clock.advance(60)
    assert statuses == {(0, 200): 100, (0, 429): 60, (1, 200): 100, (1, 429): 60}


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_usage_shows_the_limits_of_a_caller_and_what_remains(clock: FakeClock, fetch: FakeFetch) -> None:
    limits = "{requests: [10/m, 100/d], tokens: 1k/h, concurrent: 2, list_requests: 5/s}"
    clock.set_time(1_800_000_000.0)  # 08:00
    async with limited(limits, clock, fetch, group_limits="{requests: 50/h}") as (served, _):
        await call(served)
        answers = [await lists(served, key, "/v1/usage") for key in (ALICE, BOB, CAROL)]
    shown = [answer.json()["limits"] for answer in answers]
    names = ("group", "limit", "per", "amount", "remaining", "reset_seconds")
    assert shown[0] == [
        dict(zip(names, row, strict=True))
        for row in (
            (None, "requests", "m", 10, 9, 60.0),
            (None, "requests", "d", 100, 99, 57600.0),
            (None, "tokens", "h", 1000, 992, 3600.0),
            (None, "concurrent", None, 2, 2, 0.0),
            ("staff", "requests", "h", 50, 49, 3600.0),
            (None, "list_requests", "s", 5, 5, 0.0),
        )
    ]
    assert [each["remaining"] for each in shown[1]] == [10, 100, 1000, 2, 49, 5]
    assert shown[2] == []


async def test_rejections_are_counted_by_the_limit(clock: FakeClock, fetch: FakeFetch) -> None:
    async with limited("{requests: 1/m, tokens: 1/h, list_requests: 1/m}", clock, fetch) as (served, _):
        for _ in range(3):
            await call(served)
            await lists(served)
        values = served.app.metrics.values()
    assert values["models_proxy_limit_rejections_total"] == [
        (("requests",), 0),
        (("tokens",), 2),
        (("concurrent",), 0),
        (("list_requests",), 2),
    ]
    assert values["models_proxy_limits_local"] == [((), 0)]


# -- reloads -----------------------------------------------------------------------------------------------------------


async def test_counters_survive_a_reload_by_name_and_those_of_removed_keys_go(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited("{requests: 2/h}", clock, fetch, group_limits="{requests: 3/h}") as (served, up):
        await call(served)
        await call(served, BOB)
        keys = {"alice": digest(ALICE), "bob": digest(BOB), "carol": digest(CAROL)}
        text = CONFIG.format(url=up.url, limits="{requests: 3/h}", group_limits="{requests: 9/h}", **keys)
        await served.app.replace(config_of(text.replace("name: bob", "name: robert")))
        statuses = [(await call(served)).status_code for _ in range(3)]
        renamed = await call(served, BOB)
        scopes = {*served.app.shared.limiter(served.app.deployment.config).state.scopes}
    assert statuses == [200, 200, 429]
    assert renamed.headers["x-ratelimit-remaining-requests"] == "2"
    assert scopes == {"key:alice", "key:robert", "group:staff"}

"""Every request ends with one event, and every call with one complete record, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from proxy.telemetry import CallRecord, Observer, Outcome, Tokens
from proxy.telemetry.events import CircuitChange, ListReport, ModelsChange, Request
from tests.fakes import FakeClock, FakeFetch, config_of, digest, run_pending_tasks
from tests.listening import Served, post, serving, until
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, hangs, replies

pytestmark = pytest.mark.anyio

KEY = "mp-canary-of-a-client"
MESSAGES = [{"role": "user", "content": "Hi"}]


class Events(Observer):
    """Records what it observes."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int, str | None, str]] = []
        self.calls: list[CallRecord] = []
        self.attempts: list[tuple[str, Outcome]] = []
        self.waits: list[str] = []
        self.circuits: list[CircuitChange] = []
        self.reports: list[tuple[str, str, float | None]] = []
        self.models: list[ModelsChange] = []

    def request_ended(self, request: Request, seconds: float) -> None:
        assert 0 <= seconds < 30
        self.requests.append((request.method, request.route, request.status, request.key, request.error))

    def call_ended(self, call: CallRecord) -> None:
        self.calls.append(call)

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        self.attempts.append((provider, outcome))

    def queue_waited(self, provider: str, seconds: float) -> None:
        self.waits.append(provider)

    def circuit_changed(self, change: CircuitChange) -> None:
        self.circuits.append(change)

    def provider_reported(self, report: ListReport) -> None:
        self.reports.append((report.name, report.state, report.fetch_seconds))

    def models_changed(self, change: ModelsChange) -> None:
        self.models.append(change)


@asynccontextmanager
async def observed(
    fetch: FakeFetch, clock: FakeClock, *scripts: Script, more: str = ""
) -> AsyncIterator[tuple[Served, Events]]:
    """A proxy with a key, in front of providers a, b ... which all have the model `m`."""
    providers: list[FakeProvider] = []
    async with fake_provider(scripts[0] if scripts else hangs) as first:
        providers.append(first)
        async with fake_provider(scripts[1] if len(scripts) > 1 else hangs) as second:
            providers.append(second)
            rows = [
                f"  - {{name: {name}, base_url: '{provider.url}/v1', retries: 0{more}}}\n"
                for name, provider in zip("ab", providers, strict=True)
            ][: max(1, len(scripts))]
            keys = f"keys: [{{name: alice, hash: '{digest(KEY)}', models: ['*']}}]\n"
            for name in "ab":
                fetch.lists(name, "m")
            async with serving(config_of(keys + "providers:\n" + "".join(rows)), fetch, clock, settle=False) as served:
                events = Events()
                served.app.telemetry.add(events)
                served.client.headers["authorization"] = f"Bearer {KEY}"
                await served.app.deployment.store.wait_until_warmed_up()
                await run_pending_tasks()
                yield served, events


def facts(call: CallRecord) -> dict[str, Any]:
    """A record without times and addresses, which differ between runs, and without defaults."""
    values = msgspec.structs.asdict(call)
    given = msgspec.structs.asdict(CallRecord("", "POST", "", "openai", "", "", b"", 0.0))
    left = {"began", "attempt_began", "seconds", "first_byte", "peer", "request_id", "queue_seconds"}
    return {name: value for name, value in values.items() if value != given[name] and name not in left}


PLAIN = {"route": "/v1/chat/completions", "key": "alice", "model": "m", "is_known": True}


async def test_requests_end_with_the_template_of_their_route(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock) as (served, events):
        client = served.client
        for method, path in [
            ("GET", "/v1/models"), ("GET", "/v1/models/m"), ("GET", "/v1/models/no/such?x=1"), ("GET", "/livez"),
            ("HEAD", "/models"), ("PUT", "/v1/models"), ("GET", "/canary/path"),
        ]:  # fmt: skip
            await client.request(method, path)
        client.headers["authorization"] = "Bearer wrong"
        for path in ("/v1/models", "/v1/models/m", "/v1/v1/models", "/v1/responses/r/cancel", "/nowhere"):
            await client.get(path)

    assert events.requests == [
        ("GET", "/v1/models", 200, "alice", ""),
        ("GET", "/v1/models/{id}", 200, "alice", ""),
        ("GET", "/v1/models/{id}", 404, "alice", "model_not_found"),
        ("GET", "/livez", 200, "alice", ""),
        ("HEAD", "/models", 200, "alice", ""),
        ("PUT", "/v1/models", 405, "alice", "method_not_allowed"),
        ("GET", "", 404, "alice", "not_found"),
        ("GET", "/v1/models", 401, None, "invalid_api_key"),
        ("GET", "/v1/models/{id}", 401, None, "invalid_api_key"),
        ("GET", "/v1/models", 401, None, "invalid_api_key"),
        ("GET", "/v1/responses/{id}/cancel", 401, None, "invalid_api_key"),
        ("GET", "", 401, None, "invalid_api_key"),
    ]


@pytest.mark.usefixtures("own_protocol")
async def test_requests_that_the_protocol_answers_itself_end_once(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock) as (served, events):
        for request in (
            b"no http\r\n\r\n",
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            post(b"x" * 10, Transfer_Encoding="chunked"),
        ):
            async with served.raw(request) as (reader, _):
                await reader.read()

    assert events.requests == [
        ("", "", 400, None, "invalid_request"),
        ("", "", 414, None, "uri_too_long"),
        ("", "", 400, None, "invalid_request"),
    ]


async def test_a_call_has_one_complete_record(fetch: FakeFetch, clock: FakeClock) -> None:
    answer = {**completion("m"), "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    script = replies(answer, headers={"x-request-id": "req_1"})
    async with observed(fetch, clock, script) as (served, events):
        reply = await served.call(messages=MESSAGES)

    (call,) = events.calls
    assert facts(call) == PLAIN | {
        "status": 200, "provider": "a", "own_model": "m", "upstream_request_id": "req_1", "attempts": 1,
        "input_tokens": 3, "output_tokens": 4, "bytes_in": len(reply.request.content), "bytes_out": len(reply.content),
    }  # fmt: skip
    assert (call.request_id, call.peer) == (reply.headers["x-request-id"], "127.0.0.1")
    assert call.first_byte is not None
    assert 0 < call.first_byte <= call.seconds
    assert events.requests == [("POST", "/v1/chat/completions", 200, "alice", "")]
    assert events.attempts == [("a", "ok")]


async def stream(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(chunk_event("m", "x") + DONE)
    await exchange.end()


async def test_a_stream_is_recorded_with_its_size(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock, stream) as (served, events):
        reply = await served.call(messages=MESSAGES, stream=True)

    (call,) = events.calls
    assert facts(call) == PLAIN | {
        "status": 200, "provider": "a", "own_model": "m", "attempts": 1, "is_stream": True,
        "bytes_in": len(reply.request.content), "bytes_out": len(reply.content),
    }  # fmt: skip


async def test_a_broken_stream_is_recorded(fetch: FakeFetch, clock: FakeClock) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event("m", "x"))
        exchange.reset()

    async with observed(fetch, clock, breaks) as (served, events):
        await served.call(messages=MESSAGES, stream=True)

    (call,) = events.calls
    assert (call.status, call.outcome, call.error) == (200, "stream_broken", "provider_failed")
    assert call.reason == "broken or unusable response"
    assert events.attempts == [("a", "interrupted")]


async def test_a_failover_is_one_call_with_two_attempts(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock, replies({}, 503), replies(completion("m"))) as (served, events):
        await served.call(messages=MESSAGES)

    (call,) = events.calls
    assert (call.attempts, call.failovers, call.provider, call.outcome, call.reason) == (2, 1, "b", "ok", "")
    assert events.attempts == [("a", "failed"), ("b", "ok")]


async def test_a_failed_call_has_its_reason(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock, replies({"error": {"message": "no worker"}}, 500)) as (served, events):
        await served.call(messages=MESSAGES)

    (call,) = events.calls
    assert (call.status, call.outcome, call.error) == (502, "failed", "provider_failed")
    assert call.reason == "status 500: no worker"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"model":"unknown","messages":[]}', 404, "model_not_found"),
        (b"{", 400, "invalid_request"),
    ],
)
async def test_a_call_that_is_rejected_before_any_attempt_is_recorded(
    body: bytes, status: int, error: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with observed(fetch, clock) as (served, events):
        await served.client.post("/v1/chat/completions", content=body)

    (call,) = events.calls
    assert (call.status, call.outcome, call.error, call.attempts) == (status, "rejected", error, 0)
    assert call.bytes_in == len(body)
    assert events.requests == [("POST", "/v1/chat/completions", status, "alice", error)]


async def test_a_client_that_disconnects_before_the_response_has_status_499(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock, hangs) as (served, events):
        body = msgspec.json.encode({"model": "m", "messages": MESSAGES})
        async with served.raw(post(body, Authorization=f"Bearer {KEY}")):
            await until(lambda: served.app.deployment.forwarder is not None)
            await asyncio.sleep(0.1)
        await until(lambda: bool(events.calls))

    (call,) = events.calls
    assert (call.status, call.outcome, call.attempts) == (499, "client_disconnected", 1)
    assert events.requests == [("POST", "/v1/chat/completions", 499, "alice", "")]


async def test_circuits_are_reported(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock, replies({}, 503)) as (served, events):
        for _ in range(5):
            await served.call(messages=MESSAGES)

    assert events.circuits == [CircuitChange("a", "m", "alice", "ok", "open")]


async def test_lists_and_changes_of_models_are_reported(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock) as (_, events):
        fetch.lists("a", "m", "n")
        await clock.advance(300)
        fetch.lists("a", "n", "o")
        await clock.advance(300)

    assert events.models == [ModelsChange("a", ["n"], []), ModelsChange("a", ["o"], ["m"])]
    assert set(events.reports) == {("a", "ok", 0.0)}


async def test_a_record_begins_with_the_request(fetch: FakeFetch, clock: FakeClock) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await replies(completion("m"))(exchange)

    async with observed(fetch, clock, slow) as (served, events):
        await served.call(messages=MESSAGES)

    (call,) = events.calls
    assert call.first_byte is not None
    assert 0.2 <= call.first_byte < 5


async def test_no_call_is_reported_for_a_list(fetch: FakeFetch, clock: FakeClock) -> None:
    async with observed(fetch, clock) as (served, events):
        responses = [await served.client.get("/v1/models") for _ in range(3)]

    assert isinstance(responses[0], httpx.Response)
    assert (len(events.requests), events.calls) == (3, [])

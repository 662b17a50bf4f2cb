"""Traces as a collector receives them: OTLP over HTTP, decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies

pytestmark = pytest.mark.anyio

KEY = "sk-canary-of-a-client"
KEYS = {"authorization": f"Bearer {KEY}"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {**KEYS, "traceparent": f"00-{TRACE}-{SPAN}-01"}
CONFIG = """
tracing: {{endpoint: '{collector}', headers: {{X-Token: sk-canary-of-the-collector}}, sample: {sample}}}
providers:
  - {{name: a, base_url: '{url}/a/v1', api_key: sk-canary-of-the-provider, aliases: {{m: own-m}}}}
  - {{name: b, kind: anthropic, base_url: '{url}/b', api_key: sk-canary-of-the-provider}}
keys: [{{name: ops, hash: '{digest}', models: ['*']}}]
"""


@dataclass(frozen=True)
class Span:
    """As it was received."""

    name: str
    kind: int
    trace: str
    parent: str
    id: str
    began: float
    ended: float
    attributes: Mapping[str, Any]
    is_error: bool


def spans_in(collector: FakeProvider) -> Sequence[Span]:
    """Those that the collector has received, in the order in which they were sent."""
    spans: list[Span] = []
    for request in collector.requests:
        message = ExportTraceServiceRequest.FromString(request.body)
        for of_resource in message.resource_spans:
            for of_scope in of_resource.scope_spans:
                spans += map(_span, of_scope.spans)
    return spans


def _span(span: Any) -> Span:
    return Span(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.parent_span_id.hex(),
        span.span_id.hex(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
        span.status.code == 2,
    )


SERVER, CLIENT = 2, 3


@asynccontextmanager
async def traced(
    script: Script, fetch: FakeFetch, clock: FakeClock, *, sample: float = 1.0, collect: Script | None = None
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """The spans have arrived when the context has ended."""
    fetch.lists("a", "own-m")
    fetch.lists("b", "m")
    async with fake_provider(collect or replies(b"")) as collector, fake_provider(script) as up:
        text = CONFIG.format(collector=collector.url, url=up.url, digest=digest(KEY), sample=sample)
        async with serving(config_of(text), fetch, clock) as served:
            yield served, collector


async def call(served: Served, headers: Mapping[str, str] = KEYS, **fields: object) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "canary-prompt"}], **fields}
    return (await served.client.post("/v1/chat/completions", json=body, headers=headers)).status_code


async def test_a_call_has_a_span_of_the_server_and_one_of_each_attempt(fetch: FakeFetch, clock: FakeClock) -> None:
    script = in_sequence(replies({"error": "overloaded"}, 503), replies(completion("m", "canary-answer")))
    async with traced(script, fetch, clock) as (served, collector):
        assert await call(served) == 200
    spans = [span for span in spans_in(collector) if not span.name.startswith("fetch")]
    server, first, second = spans

    assert (server.name, server.kind, server.parent) == ("POST /v1/chat/completions", SERVER, "")
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "models_proxy.request_id": server.attributes["models_proxy.request_id"],
        "models_proxy.key": "ops",
        "models_proxy.attempts": 2,
        "models_proxy.outcome": "ok",
        "models_proxy.model": "m",
    }
    # The names of the semantic conventions for generative AI.
    assert (first.name, first.kind, first.parent, first.is_error) == ("chat own-m", CLIENT, server.id, True)
    assert first.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "a",
        "gen_ai.request.model": "own-m",
        "models_proxy.provider": "a",
        "models_proxy.outcome": "failed",
        "error.type": "failed",
    }
    assert (second.name, second.kind, second.parent, second.is_error) == ("chat m", CLIENT, server.id, False)
    assert second.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": second.attributes["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": second.attributes["gen_ai.usage.output_tokens"],
        "models_proxy.provider": "b",
        "models_proxy.outcome": "ok",
        "models_proxy.first_byte_seconds": second.attributes["models_proxy.first_byte_seconds"],
    }
    assert server.began <= first.began <= first.ended <= second.began <= second.ended <= server.ended
    assert len({span.trace for span in spans}) == 1


async def test_a_streamed_call_has_the_same_spans(fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(streams(chunk_event("own-m", "canary-answer"), DONE), fetch, clock) as (served, collector):
        assert await call(served, stream=True) == 200

    assert [span.name for span in spans_in(collector) if span.kind != CLIENT or span.name[0] != "f"] == [
        "POST /v1/chat/completions",
        "chat own-m",
    ]


async def test_fetches_of_lists_have_spans(fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(replies(b""), fetch, clock) as (_, collector):
        fetch.fails("a")
        await clock.advance(1000)
    spans = [span for span in spans_in(collector) if span.name == "fetch models a"]

    assert (spans[0].kind, spans[0].parent, spans[0].is_error) == (CLIENT, "", False)
    assert spans[0].attributes == {
        "models_proxy.provider": "a",
        "models_proxy.list.state": "ok",
        "models_proxy.list.models": 1,
    }
    assert (spans[-1].is_error, spans[-1].attributes["error.type"]) == (True, "connection_refused")


async def test_the_parent_is_that_of_the_client(fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(replies(completion("m")), fetch, clock, sample=0.0) as (served, collector):
        await call(served, SAMPLED)
        await call(served)
        await call(served, {**SAMPLED, "authorization": "Bearer wrong"})  # it decides nothing
    server, attempt = spans_in(collector)

    assert (server.trace, server.parent) == (TRACE, SPAN)
    assert (attempt.trace, attempt.parent) == (TRACE, server.id)


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-{SPAN}-00",
        "00-0-0-01",
        "\x80",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 has no more fields
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
async def test_other_parents_are_not_sampled_or_ignored(parent: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(replies(completion("m")), fetch, clock, sample=0.0) as (served, collector):
        headers = [(name.encode(), value.encode("latin-1")) for name, value in {**KEYS, "traceparent": parent}.items()]
        response = await served.client.get("/v1/models", headers=headers)

    assert response.status_code == 200
    assert spans_in(collector) == []


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ([f"01-{TRACE}-{SPAN}-01-more"], [TRACE]),  # later versions can have more fields
        ([f"00-{TRACE}-{SPAN}-01"] * 2, []),  # ambiguous
    ],
)
async def test_parents_of_later_versions_are_used_and_ambiguous_ones_are_not(
    parents: Sequence[str], expected: Sequence[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with traced(replies(completion("m")), fetch, clock, sample=0.0) as (served, collector):
        await served.client.get("/v1/models", headers=[*KEYS.items(), *(("traceparent", each) for each in parents)])

    assert [span.trace for span in spans_in(collector)] == expected


async def test_the_provider_gets_the_context_of_the_client(fetch: FakeFetch, clock: FakeClock) -> None:
    seen: list[str] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange.request.head.decode().lower())
        await replies(completion("m"))(exchange)

    async with traced(script, fetch, clock) as (served, _):
        await call(served, SAMPLED)

    assert f"traceparent: {SAMPLED['traceparent']}" in seen[0]


async def test_rejected_and_unknown_requests_have_spans_and_probes_have_none(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with traced(replies(b""), fetch, clock) as (served, collector):
        await served.client.get("/livez")
        await served.client.get("/health", headers=KEYS)
        await served.client.get("/v1/models/unknown", headers=KEYS)
        await served.client.get("/elsewhere", headers=KEYS)
        await served.client.request("PROPFIND", "/v1/models")
    spans = [span for span in spans_in(collector) if span.kind == SERVER]

    assert [(span.name, span.attributes["http.response.status_code"], span.is_error) for span in spans] == [
        ("GET /v1/models/{id}", 404, False),
        ("GET", 404, False),
        ("_OTHER /v1/models", 401, False),
    ]
    assert [span.attributes["error.type"] for span in spans] == ["model_not_found", "not_found", "invalid_api_key"]


async def test_a_failed_call_is_an_error_with_its_code(fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(replies({"error": "x"}, 503), fetch, clock) as (served, collector):
        status = await call(served)
    (server,) = [span for span in spans_in(collector) if span.kind == SERVER]

    assert (server.is_error, server.attributes["http.response.status_code"]) == (True, status)
    assert server.attributes["error.type"]


async def test_no_span_contains_a_prompt_an_answer_or_a_key(fetch: FakeFetch, clock: FakeClock) -> None:
    async with traced(replies(completion("m", "canary-answer")), fetch, clock) as (served, collector):
        await call(served)
        await call(served, model="sk-canary-in-the-model")
        await served.client.get("/v1/models?key=sk-canary-in-the-query", headers=KEYS)
    bodies = b"".join(request.body for request in collector.requests)

    assert b"chat/completions" in bodies
    assert b"canary" not in bodies
    assert {request.target for request in collector.requests} == {"/v1/traces"}
    assert all("x-token: sk-canary-of-the-collector" in request.head.decode().lower() for request in collector.requests)


async def test_a_collector_that_fails_is_reported_once_and_changes_nothing(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced(replies(completion("m")), fetch, clock, collect=replies(b"", 400)) as (served, _):
        assert await call(served) == 200

    assert [record.getMessage() for record in caplog.records] == [
        "tracing.endpoint: responded with status 400; spans are dropped"
    ]

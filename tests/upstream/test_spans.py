"""Spans are sent in batches, and dropped if they cannot be sent."""

from __future__ import annotations

import pytest

from proxy.config.tracing import Tracing
from proxy.upstream import spans
from proxy.upstream.spans import BATCH_SIZE, MAX_SPANS, SpanSender
from tests.fakes import FakeClock
from tests.listening import until
from tests.providers.scripted import Exchange, fake_provider, in_sequence, replies

pytestmark = pytest.mark.anyio


async def test_spans_wait_a_second_for_others(clock: FakeClock) -> None:
    async with fake_provider(replies(b"")) as collector:
        sender = SpanSender(Tracing(endpoint=f"{collector.url}/base/"), clock)
        sender.add(b"one")
        sender.add(b"two")
        await clock.advance(0.9)
        assert collector.requests == []
        await clock.advance(0.2)
        await until(lambda: len(collector.requests) == 1)
        await sender.stop()
    (request,) = collector.requests

    assert (request.method, request.target) == ("POST", "/base/v1/traces")
    assert request.body.endswith(b"onetwo")
    assert "content-type: application/x-protobuf" in request.head.decode().lower()


async def test_a_batch_is_sent_at_once_and_the_rest_waits_for_others(clock: FakeClock) -> None:
    async with fake_provider(replies(b"")) as collector:
        sender = SpanSender(Tracing(endpoint=collector.url), clock)
        await clock.advance(0.5)
        for _ in range(BATCH_SIZE + 1):
            sender.add(b"x")
        await until(lambda: len(collector.requests) == 1 and len(sender._spans) == 1)
        await clock.advance(0.4)
        assert len(collector.requests) == 1
        await clock.advance(1)
        await until(lambda: len(collector.requests) == 2)
        await sender.stop()

    assert len(collector.requests[0].body) - len(collector.requests[1].body) >= BATCH_SIZE - 1


async def test_the_last_spans_are_sent_at_the_end(clock: FakeClock) -> None:
    async with fake_provider(replies(b"")) as collector:
        sender = SpanSender(Tracing(endpoint=collector.url), clock)
        sender.add(b"last")
        await sender.stop()

        assert [request.body[-4:] for request in collector.requests] == [b"last"]


async def test_the_number_of_waiting_spans_is_bounded(clock: FakeClock) -> None:
    sender = SpanSender(Tracing(endpoint="http://127.0.0.1:9"), clock)
    for _ in range(MAX_SPANS + 5):
        sender.add(b"x")

    assert len(sender._spans) == MAX_SPANS
    await sender.stop()


async def test_failures_are_reported_once_until_spans_are_sent_again(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models_proxy")
    script = in_sequence(replies(b"", 500), replies(b"", 302, {"Location": "/x"}), replies(b""))
    async with fake_provider(script) as collector:
        sender = SpanSender(Tracing(endpoint=collector.url), clock)
        for number in (1, 2, 3):
            sender.add(b"x")
            await clock.advance(1)
            await until(lambda number=number: len(collector.requests) == number and not sender._spans)  # type: ignore[misc]
        await sender.stop()

    assert caplog.messages == [
        "tracing.endpoint: responded with status 500; spans are dropped",
        "tracing.endpoint: spans are sent again",
    ]


async def test_a_collector_that_refuses_or_does_not_respond_does_not_delay_the_end(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = SpanSender(Tracing(endpoint="http://127.0.0.1:9"), clock)
    refused.add(b"x")
    await refused.stop()
    monkeypatch.setattr(spans, "STOP_SECONDS", 0.05)

    async def hangs(exchange: Exchange) -> None:
        await exchange.closed()

    async with fake_provider(hangs) as collector:
        silent = SpanSender(Tracing(endpoint=collector.url), clock)
        silent.add(b"x")
        await silent.stop()
        monkeypatch.setattr(spans, "SEND_SECONDS", 0.05)
        monkeypatch.setattr(spans, "STOP_SECONDS", 5.0)
        await silent.stop()

    assert caplog.messages == [
        "tracing.endpoint: connection refused; spans are dropped",
        "tracing.endpoint: no response for 0 s; spans are dropped",
    ]

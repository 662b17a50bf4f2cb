"""Limits of callers whose calls are answered by event streams: headers, and what a stream costs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pytest

from proxy.inference.response.text_counter import TextCounter
from tests.api.test_limits import ALICE, CHAT, CONFIG, MESSAGES, call, limit_headers, limited
from tests.fakes import FakeClock, FakeFetch
from tests.inference.test_held_streams import COMMENT, Late
from tests.listening import TIMEOUT, Served, until
from tests.providers.calls import DONE, chunk_event, streams
from tests.providers.scripted import replies

pytestmark = pytest.mark.anyio

QUICK = CONFIG + "server: {{sse_keepalive: 10ms}}\n"


async def after_a_comment(served: Served, late: Late, path: str = CHAT, text: str = "12345678") -> Mapping[str, str]:
    """Return the headers that report limits of a stream whose provider responds after the first comment."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}
    async with served.client.stream("POST", path, json=body, headers={"Authorization": f"Bearer {ALICE}"}) as answer:
        parts = answer.aiter_raw()
        assert await asyncio.wait_for(anext(parts), TIMEOUT) == COMMENT
        late.release()
        async for _ in parts:
            pass
    return limit_headers(answer)


TOKENS = "{tokens: 9000/m, concurrent: 1}"


async def used_tokens(served: Served) -> int:
    """Those of all calls, after the last one has ended."""
    scope = served.app.shared.limiter(served.app.deployment.config).state.scopes["key:alice"]
    await until(lambda: scope.in_flight == 0)
    return scope.counters["tokens/m"].used


async def test_a_stream_whose_head_is_sent_with_a_comment_reports_the_limits(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    clock.set_time(1_800_000_000.0)
    late = Late(streams(chunk_event("m", "text"), DONE))
    async with limited("{requests: 5/m}", clock, fetch, late, config=QUICK) as (served, _):
        chat = await after_a_comment(served, late)
    late = Late(streams(b'event: message_stop\ndata: {"type":"message_stop"}\n\n'))
    async with limited("{requests: 5/m}", clock, fetch, late, config=QUICK) as (served, _):
        messages = await after_a_comment(served, late, MESSAGES)
    assert chat == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m0s",
    }
    assert messages == {
        "anthropic-ratelimit-requests-limit": "5",
        "anthropic-ratelimit-requests-remaining": "4",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
    }


ERROR = {"error": {"message": "no"}}


@pytest.mark.parametrize(
    ("late", "used"),
    [
        (Late(replies(ERROR, status=400)), 0),
        (Late(replies(ERROR)), 0),
        (Late(streams(b'data: {"error": {"message": "no"}}\n\n')), 0),
        (Late(streams(chunk_event("m", "0123456789"))), 1000 + 3),
    ],
    ids=["status 400", "an error with status 200", "an error as the first event", "broken after its first event"],
)
async def test_a_stream_with_only_comments_and_an_error_costs_no_tokens(
    late: Late, used: int, clock: FakeClock, fetch: FakeFetch
) -> None:
    async with limited(TOKENS, clock, fetch, late, config=QUICK) as (served, _):
        await after_a_comment(served, late, text="a" * 4000)
        assert await used_tokens(served) == used


async def test_headers_that_were_sent_with_a_comment_are_not_logged_as_not_sent(
    clock: FakeClock, fetch: FakeFetch, caplog: pytest.LogCaptureFixture
) -> None:
    late = Late(replies(ERROR, status=400, headers={"x-request-id": "req_a", "x-ratelimit-limit-requests": "77"}))
    with caplog.at_level(logging.INFO, "models_proxy"):
        async with limited("{requests: 5/m}", clock, fetch, late, config=QUICK) as (served, _):
            await after_a_comment(served, late)
    unsent = [line.partition("started: ")[2] for line in caplog.messages if "headers not sent" in line]
    assert unsent == ["x-upstream-request-id: req_a"]


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/plain"])
async def test_a_stream_that_was_not_requested_costs_its_text(
    content_type: str, clock: FakeClock, fetch: FakeFetch
) -> None:
    script = streams(chunk_event("m", "a" * 4000), DONE, content_type=content_type)
    async with limited(TOKENS, clock, fetch, script) as (served, _):
        await call(served)
        assert await used_tokens(served) == 2 + 1000


@pytest.mark.parametrize(("usage", "used"), [(b"", 10 + 1000), (b',"usage":{"output_tokens":700}', 10 + 700)])
async def test_a_message_without_its_last_usage_costs_its_text(
    usage: bytes, used: int, clock: FakeClock, fetch: FakeFetch
) -> None:
    script = streams(
        b'data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":10,"output_tokens":1}}}\n\n',
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n' % (b"a" * 4000),
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}%b}\n\n' % usage,
        b'data: {"type":"message_stop"}\n\n',
    )
    async with limited(TOKENS, clock, fetch, script) as (served, _):
        await call(served, path=MESSAGES, stream=True)
        assert await used_tokens(served) == used


async def test_a_stream_that_cannot_be_counted_is_not_in_progress_forever(
    clock: FakeClock, fetch: FakeFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(counter: TextCounter) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TextCounter, "count", fails)
    async with limited(TOKENS, clock, fetch, streams(chunk_event("m", "text"), DONE)) as (served, _):
        await call(served, stream=True)
        assert await used_tokens(served) == 2

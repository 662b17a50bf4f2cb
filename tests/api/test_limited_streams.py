"""Limits of callers whose calls are answered by event streams: headers, and what a stream costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.api.test_limits import ALICE, CHAT, CONFIG, MESSAGES, limit_headers, limited
from tests.fakes import FakeClock, FakeFetch
from tests.inference.test_held_streams import COMMENT, Late
from tests.listening import TIMEOUT, Served
from tests.providers.calls import DONE, chunk_event, streams

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

"""Replicas over one provider return equal bytes, whenever they were started."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx

from tests.processes import Process, serving, until
from tests.providers.scripted import Exchange, FakeProviders

CREATED = 1_700_000_000


async def lists_with_times_of_the_request(exchange: Exchange) -> None:
    """A list whose creation times are true, the time of the request, in nanoseconds, in the future, and none."""
    now = time.time()
    times = {"true": CREATED, "now": int(now), "precise": int(now * 10**9), "future": int(now) + 10**8, "none": None}
    models = [{"id": own_id, "created": created} for own_id, created in times.items()]
    await exchange.reply(json.dumps({"object": "list", "data": models}).encode())


def answer_of(process: Process) -> tuple[str, bytes]:
    """The ETag and the body of the list."""
    response = httpx.get(f"{process.url}/v1/models", trust_env=False, timeout=30)
    return response.headers["etag"], response.content


def test_replicas_over_a_provider_that_reports_the_time_of_the_request_return_equal_bytes(tmp_path: Path) -> None:
    with FakeProviders() as upstreams:
        upstream = upstreams.open(lists_with_times_of_the_request)
        text = f'providers: [{{name: a, base_url: "{upstream.url}", ttl: 2s}}]'
        with serving(tmp_path / "one.yaml", text) as one:
            first = answer_of(one)
            until(lambda: len(upstream.requests) >= 2)  # one second and one refresh later
            with serving(tmp_path / "two.yaml", text) as two:
                assert answer_of(two) == answer_of(one) == first
                two.stop()
            until(lambda: len(upstream.requests) >= 4)
            with serving(tmp_path / "two.yaml", text) as restarted:
                assert answer_of(restarted) == answer_of(one) == first
    created = {model["id"]: model["created"] for model in json.loads(first[1])["data"]}
    assert created == {"future": 0, "none": 0, "now": 0, "precise": 0, "true": CREATED}

"""`Deprecation` and `Sunset` on responses that are about a model with a shutdown date."""

from __future__ import annotations

import httpx
import pytest

from tests.api.test_inference import ALICES, calling
from tests.fakes import FakeClock, FakeFetch
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import replies

pytestmark = pytest.mark.anyio

DATES = "overrides: [{match: m, shutdown_at: 1800000000, deprecated_at: 1790000000}]"
EXPECTED = ("@1790000000", "Fri, 15 Jan 2027 08:00:00 GMT")


def dates(response: httpx.Response) -> tuple[str | None, str | None]:
    return response.headers.get("deprecation"), response.headers.get("sunset")


async def test_a_retrieved_model_has_its_dates(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, more=DATES) as (served, _):
        retiring = await served.client.get("/v1/models/m", headers=ALICES)
        other = await served.client.get("/v1/models/n", headers=ALICES)
        listed = await served.client.get("/v1/models", headers=ALICES)

    assert (dates(retiring), dates(other), dates(listed)) == (EXPECTED, (None, None), (None, None))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_has_the_dates_of_the_offer_that_is_called(
    stream: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = streams(chunk_event("m", "hello"), DONE) if stream else replies(completion("m"))
    async with calling(fetch, clock, script, more=DATES) as (served, _):
        bodies: list[dict[str, object]] = [{"model": model, "messages": [], "stream": stream} for model in ("m", "b/m")]
        called, other = [await served.client.post("/v1/chat/completions", json=body, headers=ALICES) for body in bodies]

    assert (dates(called), dates(other)) == (EXPECTED, (None, None))


@pytest.mark.parametrize("status", [400, 404, 410, 503])
async def test_an_error_of_the_provider_has_the_dates_because_the_model_may_be_gone(
    status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = replies({"error": {"message": "the model was shut down"}}, status)
    async with calling(fetch, clock, script, more=DATES) as (served, _):
        called, other = [
            await served.client.post("/v1/chat/completions", json={"model": model, "messages": []}, headers=ALICES)
            for model in ("m", "n")
        ]

    assert called.status_code >= 400
    assert (dates(called), dates(other)) == (EXPECTED, (None, None))


async def test_forwarded_headers_of_the_provider_are_replaced(fetch: FakeFetch, clock: FakeClock) -> None:
    headers = {"Sunset": "Sat, 01 Jan 2028 00:00:00 GMT", "Deprecation": "true"}
    more = DATES + "\n    forward_headers: [sunset, deprecation]"
    async with calling(fetch, clock, replies(completion("m"), headers=headers), more=more) as (served, _):
        called = await served.client.post("/v1/chat/completions", json={"model": "m", "messages": []}, headers=ALICES)
        other = await served.client.post("/v1/chat/completions", json={"model": "n", "messages": []}, headers=ALICES)

    assert (dates(called), dates(other)) == (EXPECTED, ("true", headers["Sunset"]))

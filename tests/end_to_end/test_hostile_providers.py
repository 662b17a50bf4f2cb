"""Attacks by a hostile provider. Each one once blocked the proxy, exhausted its memory or revealed a secret."""

from __future__ import annotations

import msgspec
import pytest

from proxy.catalog import FetchResult
from proxy.dialects import DIALECTS, Received, next_query, open_page
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from tests.fakes import FakeClock, config_of
from tests.providers.scripted import FakeProviders, replies

pytestmark = pytest.mark.anyio

KEY = "sk-canary-AbCdEf0123456789"


async def fetched(answer: object, status: int = 200) -> FetchResult:
    """Fetch the list of a provider that sends this response to every request."""
    with FakeProviders() as upstreams:
        url = upstreams.open(replies(answer, status)).url
        text = f"providers: [{{name: a, base_url: '{url}/v1', api_key: {KEY}, timeout: 5s}}]"
        providers = config_of(text).providers
        return await ListFetcher(providers, FakeClock())(providers[0], 0)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"id": "m"}], "links": {"next": "?" + "&".join(f"a{i}=1" for i in range(5000))}},
        {"data": [{"id": "m"}], "has_more": True, "last_id": "x" * 10_000},
    ],
    ids=["next URL", "cursor"],
)
def test_a_next_page_url_that_takes_seconds_to_parse_is_not_fetched(answer: object) -> None:
    page = open_page(DIALECTS["openai"], msgspec.json.encode(answer))
    with pytest.raises(UpstreamError, match="is longer than 8,192 characters"):
        next_query(DIALECTS["openai"], {}, page, Received(1, 1, "m"))


async def test_an_error_body_of_megabytes_is_reported_by_its_status_only() -> None:
    with pytest.raises(UpstreamError) as caught:
        await fetched(b"[" + b"[]," * 2_000_000 + b"[]]", status=500)
    assert (caught.value.kind, caught.value.reason) == ("status", "status 500")


async def test_a_field_name_that_contains_the_key_is_not_quoted() -> None:
    with pytest.raises(UpstreamError) as caught:
        await fetched({"data": [{KEY: 1}]})
    assert caught.value.kind == "invalid_response"
    assert KEY not in caught.value.reason


async def test_an_entry_that_contains_the_key_is_dropped_and_the_others_are_kept() -> None:
    answer = await fetched({"data": [{"id": "good"}, {"id": "bad", "x": f"Bearer {KEY}"}, {"id": KEY}]})
    assert [entry.id for entry in answer.entries] == ["good"]
    assert answer.dropped == {"contains a configured secret": 2}

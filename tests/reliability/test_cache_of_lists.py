"""Many keys with rules of their own: revalidating a list never renders it again, whatever the memory limit is."""

from __future__ import annotations

import pytest

from proxy.access import Caller, Policy
from proxy.api.models import Models
from proxy.api.request import RequestHead
from proxy.asgi import RawResponse, Receive, Send
from proxy.store import Store
from tests.fakes import FakeClock, FakeFetch, config_of, running

pytestmark = pytest.mark.anyio

ONE = "providers: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]\n"
KEYS = 60


def head_of(**headers: str) -> RequestHead:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path = "/v1/models"
    request = {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": lines}
    return RequestHead(request)


async def no_receive() -> dict[str, object]:
    raise AssertionError("a list has no body")


async def no_send(message: object) -> None:
    raise AssertionError("a list is returned")


async def response(models: Models, policy: Policy, **headers: str) -> RawResponse:
    """The response to a request for the list, rendered if necessary."""
    receive: Receive = no_receive
    send: Send = no_send
    outcome = models.list(head_of(**headers), Caller("k", policy))
    answer = outcome if isinstance(outcome, RawResponse) else await outcome(receive, send)
    assert answer is not None
    return answer


@pytest.mark.parametrize("encoding", [{}, {"accept_encoding": "gzip"}], ids=["plain", "gzip"])
@pytest.mark.parametrize("limit", [1, 256 * 1024**2], ids=["no list fits into the memory", "all lists fit"])
async def test_a_304_never_renders_and_never_compresses_a_list(
    limit: int, encoding: dict[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{n:03}" for n in range(100)))
    policies = [Policy(["*", f"!m{n:03}"]) for n in range(KEYS)]
    async with running(Store(config_of(ONE), fetch, clock, max_list_bytes=limit)) as store:
        models = Models(store, clock, store.config.providers)
        lists = [await response(models, policy, **encoding) for policy in policies]
        etags = [dict(each.headers)[b"etag"].decode() for each in lists]
        again = [
            models.list(head_of(if_none_match=etag, **encoding), Caller("k", policy))
            for policy, etag in zip(policies, etags, strict=True)
        ]

        # A handler would render the list; a response was there already.
        assert [outcome.status if isinstance(outcome, RawResponse) else 0 for outcome in again] == [304] * KEYS
        assert len(set(etags)) == KEYS, "each key has a list of its own"
        stale = models.list(head_of(if_none_match=etags[1], **encoding), Caller("k", policies[0]))
        assert not isinstance(stale, RawResponse) or stale.status == 200, "the ETag of another key is no match"


async def test_a_304_of_an_evicted_list_has_the_headers_of_one_in_memory(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{n:03}" for n in range(100)))
    first, second = Policy(["*"]), Policy(["*", "!m001"])
    async with running(Store(config_of(ONE), fetch, clock, max_list_bytes=1)) as store:
        models = Models(store, clock, store.config.providers)
        etag = dict((await response(models, first)).headers)[b"etag"].decode()
        await clock.advance(7)
        in_memory = await response(models, first, if_none_match=etag, x_request_id="mine")
        await response(models, second)
        assert store.cached_view(first) is None
        evicted = await response(models, first, if_none_match=etag, x_request_id="mine")

    assert (evicted.status, evicted.headers, evicted.whole_body) == (304, in_memory.headers, b"")
    assert (b"age", b"7") in evicted.headers


async def test_lists_of_many_keys_hold_their_common_entries_once(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *({"id": f"m{n:03}", "text": "x" * 4000} for n in range(100)))
    policies = [Policy(["*", f"!m{n:03}"]) for n in range(KEYS)]
    async with running(Store(config_of(ONE), fetch, clock, max_list_bytes=8 * 1024**2)) as store:
        models = Models(store, clock, store.config.providers)
        bodies = {policy: (await response(models, policy)).whole_body for policy in policies}
        kept = [store.view(policy).rendered for policy in policies if store.cached_view(policy)]
        objects = {id(part): len(part) for each in kept for part in (each.body, *each.entries)}

    assert len(kept) == KEYS, "no list was evicted"
    assert sum(objects.values()) < sum(map(len, bodies.values())) / 10
    assert [each.identity for each in kept] == [*bodies.values()]

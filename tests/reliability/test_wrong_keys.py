"""A request without a valid key is answered with bounded work: hardly more than a list that is in memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from proxy.api.request import RequestHead
from proxy.asgi import Header, RawResponse
from proxy.key_headers import KEY_HEADERS
from proxy.server.app import Proxy
from proxy.server.gate import decide
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

KEY = "sk-fake-of-a-client"
TEXT = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/a/v1"}}]
keys: [{{name: k, hash: "{digest(KEY)}", models: ["*"]}}]
"""
LONG = 8192
"""Bytes of the longest URL that the server accepts."""


def scope(headers: Sequence[Header] = (), query: bytes = b"", path: bytes = b"/v1/models") -> dict[str, object]:
    return {"method": "GET", "path": path.decode(), "raw_path": path, "query_string": query, "headers": headers}


def bearer(key: bytes) -> list[Header]:
    return [(b"authorization", b"Bearer " + key)]


def work(app: Proxy, request: dict[str, object]) -> tuple[int, int]:
    """The status of the decision on a request, and the number of function calls that it takes."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    decide(app.deployment, RequestHead(dict(request)))  # fills the caches of paths and responses
    head = RequestHead(dict(request))
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        outcome = decide(app.deployment, head)
    finally:
        sys.setprofile(before)
    assert isinstance(outcome, RawResponse)
    return outcome.status, calls


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(scope(bearer(b"wrong-key-000000")), 401, id="a wrong key"),
        pytest.param(scope(), 401, id="no key"),
        pytest.param(scope(bearer(b"x" * 4096)), 401, id="the longest key"),
        pytest.param(scope(bearer(b"x" * 30_000)), 401, id="a longer key"),
        pytest.param(scope([(name, b"x" * 2000) for name in KEY_HEADERS]), 401, id="a long key in each header"),
        pytest.param(scope(bearer(b"x") * 100), 401, id="100 keys"),
        pytest.param(scope(query=b"key=x"), 401, id="a key in the query"),
        pytest.param(scope(query=b"a=b&" * (LONG // 4)), 400, id="2,048 parameters"),
        pytest.param(scope(query=b"%61=b&" * (LONG // 6)), 400, id="1,365 encoded parameters"),
        pytest.param(scope(query=b"%41" * (LONG // 3) + b"=1"), 401, id="a long encoded parameter"),
        pytest.param(scope(path=b"/" * LONG), 401, id="a path of slashes"),
        pytest.param(scope(path=b"/v1" * (LONG // 3)), 401, id="a path of prefixes"),
        pytest.param(scope(path=b"/openai/deployments/" + b"a/" * (LONG // 2)), 401, id="a path of segments"),
        pytest.param(scope(path=b"/v1/models/" + b"x" * LONG), 401, id="a long id"),
    ],
)
async def test_a_rejection_takes_no_more_than_twice_the_calls_of_a_warm_list(
    request_: dict[str, object], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(TEXT), fetch, clock) as app:
        await reply_to(app, "/v1/models", {"authorization": f"Bearer {KEY}"})
        listed, of_list = work(app, scope(bearer(KEY.encode())))
        rejected, of_rejection = work(app, request_)

    assert (listed, rejected) == (200, status)
    assert of_rejection <= 2 * of_list


async def test_many_long_credentials_are_rejected_even_next_to_a_valid_key(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    others = {name.decode(): "x" * 900 for name in list(KEY_HEADERS)[1:]}
    async with started(config_of(TEXT), fetch, clock) as app:
        few = await reply_to(app, "/v1/models", {"authorization": f"Bearer {KEY}", "api-key": "x" * 4000})
        many = await reply_to(app, "/v1/models", {"authorization": f"Bearer {KEY}", **others})

    assert (few.status, many.status) == (200, 401)


@pytest.mark.parametrize("query", ["a=1&%6bey=x", "%61pi%5Fkey=x", "x%2Dapi-key=x", "api-version=1&%54oken=x"])
async def test_encoded_names_of_keys_in_the_query_are_rejected(query: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(TEXT), fetch, clock) as app:
        reply = await reply_to(app, f"/v1/models?{query}", {"authorization": f"Bearer {KEY}"})

    assert reply.status == 401


@pytest.mark.parametrize("query", ["api-version=1", "filter%5Bname%5D=m", "q=key", "q=%6bey%3Dx", "key", "key="])
async def test_other_parameters_of_the_query_are_accepted(query: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(TEXT), fetch, clock) as app:
        reply = await reply_to(app, f"/v1/models?{query}", {"authorization": f"Bearer {KEY}"})

    assert reply.status == 200

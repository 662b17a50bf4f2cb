"""Stored responses: a key can retrieve, cancel and delete those that it created, and list their input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from proxy.calls import CALLS
from tests.api.test_stored_state import ADMIN, ALICE, BOB, ITEMS, RESPONSE, WITHOUT_KEY, proxying, sent, streamed
from tests.fakes import FakeClock, FakeFetch
from tests.listening import Served
from tests.providers.calls import streams
from tests.providers.scripted import Exchange, in_sequence, replies

pytestmark = pytest.mark.anyio

REQUESTS = {
    "retrieve": ("GET", ""),
    "cancel": ("POST", "/cancel"),
    "delete": ("DELETE", ""),
    "list the input": ("GET", "/input_items"),
}


async def asked(
    served: Served, key: str, method: str, end: str = "", response: str = "resp_1", base: str = "/v1", **more: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await served.client.request(method, f"{base}/responses/{response}{end}", headers=headers, **more)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("base", ["", "/v1", "/openai/v1"])
async def test_a_key_reaches_the_responses_that_it_created_and_no_other_key_does(
    name: str, base: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    method, end = REQUESTS[name]
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        before = await asked(served, ALICE, method, end, base=base)
        await sent(served, ALICE, input="x")
        others = [await asked(served, key, method, end, base=base) for key in (BOB, ADMIN, WITHOUT_KEY)]
        own = await asked(served, ALICE, method, end, base=base)
        unknown = await asked(served, ALICE, method, end, "resp_2", base=base)
        received = [(request.method, request.target, request.body) for request in up.requests]

    assert [before.status_code, *(each.status_code for each in others), unknown.status_code] == [404] * 5
    assert {each.content for each in others} == {before.content}
    assert unknown.content.replace(b"resp_2", b"resp_1") == before.content
    assert (own.status_code, own.json()) == (200, RESPONSE)
    assert received[1:] == [(method, f"/b/v1/responses/resp_1{end}", b"")]


async def test_a_request_is_sent_with_the_providers_credential_and_its_response_has_the_public_model_id(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        is_b = exchange.request.target.startswith("/b/")
        await replies({**RESPONSE, "model": "own-m"}, 200 if is_b else 503)(exchange)

    async with proxying(fetch, clock, script) as (served, up):
        await sent(served, ALICE, model="m", input="x")
        answer = await asked(served, ALICE, "GET")

    assert answer.json() == {**RESPONSE, "model": "m"}
    assert up.requests[-1].headers["authorization"] == "Bearer sk-canary-of-b"
    assert ALICE.encode() not in up.requests[-1].head


async def test_a_stored_response_of_a_virtual_model_does_not_show_which_model_it_stands_for(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.method == "DELETE":
            await replies({"error": {"message": "only-b-2026-01-01 is busy"}}, 429)(exchange)
        else:
            await replies({**RESPONSE, "model": "only-b-2026-01-01"})(exchange)

    async with proxying(fetch, clock, script) as (served, up):
        await sent(served, ALICE, model="smart", input="x")
        answer, refusal = await asked(served, ALICE, "GET"), await asked(served, ALICE, "DELETE")
        await sent(served, ALICE, model="smart", previous_response_id="resp_1")

    assert answer.json() == {**RESPONSE, "model": "smart"}
    assert refusal.json()["error"]["message"] == "smart is busy"
    assert up.requests[-1].json == {"model": "only-b", "previous_response_id": "resp_1"}


async def test_a_stored_stream_continues_after_the_last_event_that_was_received(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, streamed) as (served, up):
        await sent(served, ALICE, input="x")
        answer = await asked(served, ALICE, "GET", params={"stream": "true", "starting_after": "1"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"response.completed" in answer.content
    assert up.requests[-1].target == "/b/v1/responses/resp_1?stream=true&starting_after=1"


async def test_a_stored_stream_can_begin_with_the_failure_of_its_response(fetch: FakeFetch, clock: FakeClock) -> None:
    failed = b'data: {"type":"response.failed","response":{"id":"resp_1","error":{"code":"server_error"}}}\n\n'
    async with proxying(fetch, clock, in_sequence(streamed, streams(failed))) as (served, _):
        await sent(served, ALICE, input="x")
        answer = await asked(served, ALICE, "GET", params={"stream": "true", "starting_after": "1"})

    assert (answer.status_code, answer.content) == (200, failed)


@pytest.mark.parametrize(
    ("query", "forwarded"),
    [
        (
            "include[]=a&include[]=b&limit=2&order=asc&after=msg_1",
            "include[]=a&include[]=b&limit=2&order=asc&after=msg_1",
        ),
        ("limit=2&api_base=http%3A%2F%2Fevil.example&model=n&limit=&x", "limit=2"),
        ("", ""),
    ],
)
async def test_documented_parameters_are_forwarded_and_no_others(
    query: str, forwarded: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        await sent(served, ALICE, input="x")
        answer = await asked(served, ALICE, "GET", f"/input_items?{query}")
        many = await asked(served, ALICE, "GET", "?" + "&".join(["include=a"] * 51))

    assert (answer.status_code, many.status_code) == (200, 400)
    expected = "/b/v1/responses/resp_1/input_items" + f"?{forwarded}" * bool(forwarded)
    assert up.requests[-1].target.replace("%5B%5D", "[]") == expected


async def test_the_items_of_a_response_in_the_background_belong_to_the_key_that_polls_it(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        is_done = exchange.request.method == "GET"
        await replies({**RESPONSE, "output": ITEMS if is_done else [], "background": True})(exchange)

    item: Mapping[str, Any] = {"input": [{"type": "item_reference", "id": "rs_1"}]}
    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, ALICE, input="x", background=True)
        before = await sent(served, ALICE, **item)
        await asked(served, ALICE, "GET")
        after = {key: (await sent(served, key, **item)).status_code for key in (ALICE, BOB, ADMIN, WITHOUT_KEY)}

    assert (before.status_code, after) == (400, {ALICE: 200, BOB: 400, ADMIN: 400, WITHOUT_KEY: 400})


async def test_ids_in_the_input_of_a_response_which_the_caller_chose_do_not_become_its_own(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        is_input = exchange.request.target.endswith("/input_items")
        listed = {
            "id": "msg_of_bob",
            "object": "list",
            "data": [{"id": "msg_of_bob"}],
            "output": [{"id": "msg_of_bob"}],
        }
        await replies(listed if is_input else RESPONSE)(exchange)

    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, ALICE, input="x")
        listed = await asked(served, ALICE, "GET", "/input_items")
        answer = await sent(served, ALICE, previous_response_id="msg_of_bob")

    assert (listed.status_code, answer.status_code) == (200, 400)


async def test_a_deleted_response_is_forgotten_and_one_that_could_not_be_deleted_is_not(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    statuses = [200, 503, 200]

    async def script(exchange: Exchange) -> None:
        await replies(RESPONSE, statuses.pop(0))(exchange)

    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, ALICE, input="x")
        answers = [(await asked(served, ALICE, "DELETE")).status_code for _ in range(3)]

    assert answers == [503, 200, 404]


async def test_a_response_that_the_provider_does_not_have_any_more_is_404_with_its_message(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        missing = {"error": {"message": "Response with id 'resp_1' not found.", "type": "invalid_request_error"}}
        await (replies(RESPONSE) if exchange.request.method == "POST" else replies(missing, 404))(exchange)

    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, ALICE, input="x")
        answer = await asked(served, ALICE, "GET")

    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Response with id 'resp_1' not found.")


async def test_errors_of_the_provider_are_those_of_calls(fetch: FakeFetch, clock: FakeClock) -> None:
    statuses = [200, 401, 429, 500]

    async def script(exchange: Exchange) -> None:
        await replies(RESPONSE, statuses.pop(0))(exchange)

    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, ALICE, input="x")
        answers = [(await asked(served, ALICE, "GET")).status_code for _ in range(3)]

    assert answers == [502, 429, 502]


async def test_a_response_of_a_model_that_the_provider_does_not_list_any_more_is_404(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        await sent(served, ALICE, input="x")
        fetch.lists("b", "own-m")
        await clock.advance(300)
        answer = await asked(served, ALICE, "GET")

    assert (answer.status_code, len(up.requests)) == (404, 1)


@pytest.mark.parametrize("response", ["..", "%2e%2e", "a%2Fb", "a%20b", "%00", "a%3Fb", "x" * 2000])
async def test_an_id_that_is_no_segment_of_a_path_is_never_requested(
    response: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    plain = httpx.URL(f"http://x/{response}").path.removeprefix("/") or ".."
    async with proxying(fetch, clock, replies({**RESPONSE, "id": plain})) as (served, up):
        await sent(served, ALICE, input="x")
        answer = await asked(served, ALICE, "GET", "", response)

    assert (answer.status_code, len(up.requests)) == (404, 1)


async def test_a_body_is_read_and_not_forwarded(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        await sent(served, ALICE, input="x")
        answers = [await asked(served, ALICE, "POST", "/cancel", json={"model": "n"}) for _ in range(2)]

    assert [(each.status_code, request.body) for each, request in zip(answers, up.requests[1:], strict=True)] == [
        (200, b""),
        (200, b""),
    ]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/responses/resp_1", "DELETE, GET"),
        ("PUT", "/v1/responses/resp_1/cancel", "POST"),
        ("HEAD", "/v1/responses/resp_1", "DELETE, GET"),
        *(("GET", path, "POST") for path in CALLS if path.startswith("/v1/responses")),
    ],
)
async def test_other_methods_are_405(method: str, path: str, allow: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, _):
        answer = await served.client.request(method, path, headers={"Authorization": f"Bearer {ALICE}"})

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_the_tokens_of_a_response_are_counted_once(fetch: FakeFetch, clock: FakeClock) -> None:
    usage: Mapping[str, int] = {"input_tokens": 3, "output_tokens": 5}
    async with proxying(fetch, clock, replies({**RESPONSE, "usage": usage})) as (served, _):
        await sent(served, ALICE, input="x")
        for _ in range(2):
            await asked(served, ALICE, "GET")
        counted = [(counts.outcomes, counts.output_tokens) for _, counts in served.attempts]

    assert counted == [({"ok": 3}, 5)]

"""Ids of responses, items, files and containers: a key can reference those that it received, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies

pytestmark = pytest.mark.anyio

ALICE, BOB, ADMIN, WITHOUT_KEY = "sk-canary-alice", "sk-canary-bob", "sk-canary-admin", ""
CONFIG = """
providers:
  - {{name: a, base_url: "{url}/a/v1", api_key: sk-canary-of-a}}
  - {{name: b, base_url: "{url}/b/v1", api_key: sk-canary-of-b, aliases: {{m: own-m}}, {more}}}
models: [{{id: smart, targets: [only-b]}}]
groups: {{default: {{models: ["*"], call: true}}}}
keys:
  - {{name: alice, hash: "{alice}", models: ["*"]}}
  - {{name: bob, hash: "{bob}", models: ["*"]}}
  - {{name: admin, hash: "{admin}", models: ["*"], admin: true}}
"""


@asynccontextmanager
async def proxying(
    fetch: FakeFetch, clock: FakeClock, script: Script, more: str = ""
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy with two providers of the model `m`; `b` has it under another id, and alone has `only-b`.

    The virtual model `smart` stands for `only-b`.
    """
    fetch.lists("a", "m")
    fetch.lists("b", "own-m", "only-b")
    async with fake_provider(script) as up:
        text = CONFIG.format(
            url=up.url, more=more or "stateful: false", alice=digest(ALICE), bob=digest(BOB), admin=digest(ADMIN)
        )
        async with serving(config_of(text), fetch, clock) as served:
            yield served, up


async def sent(
    served: Served, key: str, path: str = "/v1/responses", headers: Mapping[str, str] | None = None, **body: object
) -> httpx.Response:
    credentials = {"Authorization": f"Bearer {key}"} if key else {}
    return await served.client.post(path, json={"model": "only-b", **body}, headers={**credentials, **(headers or {})})


ITEMS: Sequence[Any] = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
    {
        "type": "message",
        "id": "msg_1",
        "content": [{"type": "output_text", "text": "", "annotations": [{"type": "file_path", "file_id": "file_1"}]}],
    },
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "only-b",
    "output": ITEMS,
    "conversation": {"id": "conv_1"},
    "tools": [{"type": "function", "name": "f", "parameters": {"id": "resp_echo"}}],
}


class Reference(NamedTuple):
    """A request that references an id."""

    path: str
    fields: Mapping[str, Any]


def reference(kind: str, object_id: str) -> Reference:
    messages, responses = "/v1/messages", "/v1/responses"
    item: Mapping[str, Any] = {"type": "item_reference", "id": object_id}
    file = {"type": "input_file", "file_id": object_id}
    return {
        "previous_response_id": Reference(responses, {"previous_response_id": object_id}),
        "extra_body": Reference(responses, {"extra_body": {"previous_response_id": object_id}}),
        "conversation": Reference(responses, {"conversation": object_id}),
        "conversation object": Reference(responses, {"conversation": {"id": object_id}}),
        "item_reference": Reference(responses, {"input": [item]}),
        "untyped item": Reference(responses, {"input": [{"id": object_id}]}),
        "file_id": Reference(responses, {"input": [{"role": "user", "content": [file]}]}),
        "file in a chat": Reference(
            "/v1/chat/completions", {"messages": [{"content": [{"type": "file", "file": {"file_id": object_id}}]}]}
        ),
        "file_ids": Reference(
            responses, {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [object_id]}}]}
        ),
        "container of a tool": Reference(responses, {"tools": [{"type": "code_interpreter", "container": object_id}]}),
        "container_id": Reference(responses, {"input": [{"type": "code_interpreter_call", "container_id": object_id}]}),
        "container": Reference(messages, {"container": object_id}),
        "container object": Reference(messages, {"container": {"id": object_id}}),
        "container_upload": Reference(
            messages, {"messages": [{"content": [{"type": "container_upload", "file_id": object_id}]}]}
        ),
    }[kind]


KINDS = {
    "previous_response_id": "resp_1", "extra_body": "resp_1", "conversation": "conv_1", "conversation object": "conv_1",
    "item_reference": "rs_1", "untyped item": "msg_1", "file_id": "file_1", "file in a chat": "file_1",
    "file_ids": "file_1", "container of a tool": "cntr_1", "container_id": "cntr_1", "container": "cntr_1",
    "container object": "cntr_1", "container_upload": "file_1",
}  # fmt: skip
"""Kind of reference -> an id of this kind."""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_can_reference_the_ids_that_it_received_and_no_other_key_can(
    kind: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    path, fields = reference(kind, KINDS[kind])
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        before = await sent(served, ALICE, path, **fields)
        await sent(served, ALICE, input="x")
        answers = {key: (await sent(served, key, path, **fields)) for key in (ALICE, BOB, ADMIN, WITHOUT_KEY)}
        calls = [(request.target, request.json) for request in up.requests]

    assert [before.status_code, *(answer.status_code for answer in answers.values())] == [400, 200, 400, 400, 400]
    assert {answer.content for key, answer in answers.items() if key != ALICE} == {before.content}
    assert "`store: false`" in before.json()["error"]["message"]
    assert calls[1:] == [(f"/b{path}", {"model": "only-b", **fields})]


async def streamed(exchange: Exchange) -> None:
    events = [
        {"type": "response.created", "response": {**RESPONSE, "output": []}},
        *({"type": "response.output_item.done", "item": item} for item in ITEMS),
        {"type": "response.completed", "response": RESPONSE},
    ]
    await streams(*(b"data: %b\n\n" % msgspec.json.encode(event) for event in events))(exchange)


async def test_the_ids_in_a_stream_belong_to_the_key_too(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxying(fetch, clock, streamed) as (served, _):
        await sent(served, ALICE, input="x", stream=True)
        references = [reference(kind, object_id) for kind, object_id in KINDS.items()]
        statuses = {
            key: {(await sent(served, key, path, **fields)).status_code for path, fields in references}
            for key in (ALICE, BOB, ADMIN, WITHOUT_KEY)
        }

    assert statuses == {ALICE: {200}, BOB: {400}, ADMIN: {400}, WITHOUT_KEY: {400}}


@pytest.mark.parametrize("script", [replies(RESPONSE), streamed], ids=["JSON", "a stream"])
async def test_ids_in_the_response_to_a_long_request_belong_to_the_key_except_those_it_has_sent(
    script: Script, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = f"{'x' * 100_000} rs_1 {'x' * 500_000}"
    async with proxying(fetch, clock, script) as (served, _):
        answer = await sent(served, ALICE, input=text, stream=script is streamed)
        statuses = [
            (await sent(served, ALICE, input=[{"type": "item_reference", "id": each}])).status_code
            for each in ("rs_1", "resp_1", "ci_1", "msg_1")
        ]

    assert answer.status_code == 200
    assert statuses == [400, 200, 200, 200]


async def test_ids_in_a_long_response_belong_to_the_key(fetch: FakeFetch, clock: FakeClock) -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "result": "A" * 700_000}
    async with proxying(fetch, clock, replies({**RESPONSE, "output": [image, *ITEMS]})) as (served, _):
        await sent(served, ALICE, input="x")
        ids = ("resp_1", "ig_1", "msg_1", "resp_echo")
        statuses = [
            (await sent(served, ALICE, input=[{"type": "item_reference", "id": each}])).status_code for each in ids
        ]

    assert statuses == [200, 200, 200, 400]


async def test_ids_that_a_caller_without_a_key_received_cannot_be_referenced(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, _):
        await sent(served, WITHOUT_KEY, input="x")
        statuses = [
            (await sent(served, key, previous_response_id="resp_1")).status_code for key in (WITHOUT_KEY, ALICE, ADMIN)
        ]

    assert statuses == [400, 400, 400]


async def test_a_call_that_continues_a_response_is_sent_to_its_provider_only(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    failing: list[str] = ["/a/"]

    async def script(exchange: Exchange) -> None:
        status = 503 if exchange.request.target.startswith(tuple(failing)) else 200
        await replies({**RESPONSE, "model": "own-m"}, status)(exchange)

    async with proxying(fetch, clock, script) as (served, up):
        first = await sent(served, ALICE, model="m", input="x")
        failing[:] = ["/b/"]
        again = await sent(served, ALICE, model="m", previous_response_id="resp_1")
        other = await sent(served, ALICE, model="m", input="x")
        targets = [request.target for request in up.requests]

    assert [first.status_code, again.status_code, other.status_code] == [200, 503, 200]
    assert targets == ["/a/v1/responses", "/b/v1/responses", "/b/v1/responses", "/a/v1/responses"]


async def test_the_bytes_of_a_call_that_continues_a_response_do_not_change(fetch: FakeFetch, clock: FakeClock) -> None:
    body = b'{ "model":"only-b",\n "input" : [{"type":"item_reference","id":"rs\\u005f1"}] , "x":1e2}'
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, up):
        await sent(served, ALICE, input="x")
        headers = {"Authorization": f"Bearer {ALICE}", "Content-Type": "application/json"}
        await served.client.post("/v1/responses", content=body, headers=headers)

    assert up.requests[-1].body == body


async def test_ids_of_two_providers_in_one_call_are_rejected(fetch: FakeFetch, clock: FakeClock) -> None:
    async def script(exchange: Exchange) -> None:
        await replies({**RESPONSE, "id": f"resp_{exchange.request.target[1]}"})(exchange)

    async with proxying(fetch, clock, script) as (served, up):
        for model in ("m", "only-b"):
            await sent(served, ALICE, model=model, input="x")
        items = [{"type": "item_reference", "id": f"resp_{name}"} for name in "ab"]
        answer = await sent(served, ALICE, model="m", input=items)

    assert (answer.status_code, len(up.requests)) == (400, 2)
    assert "must be stored at the same provider" in answer.json()["error"]["message"]


# -- Ids that callers choose -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"metadata": {"a": "resp_1"}}, {}),
        ({"request_id": "resp_1"}, {}),
        ({"input": [{"type": "message", "role": "user", "id": "resp_1", "content": "x"}]}, {}),
        ({}, {"x-session-id": "resp_1"}),
    ],
)
async def test_an_id_that_the_caller_has_sent_does_not_become_its_own(
    fields: Mapping[str, Any], headers: Mapping[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, _):
        await sent(served, BOB, headers=headers, **fields)
        answer = await sent(served, BOB, previous_response_id="resp_1")

    assert answer.status_code == 400


async def test_an_id_that_the_provider_made_from_a_header_does_not_become_the_callers_own(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        await replies({**RESPONSE, "id": f"resp_{exchange.request.headers['x-request-id']}"})(exchange)

    async with proxying(fetch, clock, script) as (served, _):
        await sent(served, BOB, headers={"x-request-id": "0123456789abcdef"})
        answer = await sent(served, BOB, previous_response_id="resp_0123456789abcdef")

    assert answer.status_code == 400


@pytest.mark.parametrize("query", ["trace=0123456789abcdef", "trace=%301234567%389abcdef", "0123456789abcdef"])
async def test_an_id_that_the_provider_made_from_the_query_does_not_become_the_callers_own(
    query: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies({**RESPONSE, "id": "resp_0123456789abcdef"})) as (served, _):
        await sent(served, BOB, f"/v1/responses?{query}")
        answer = await sent(served, BOB, previous_response_id="resp_0123456789abcdef")

    assert answer.status_code == 400


async def test_an_id_that_a_response_repeats_from_the_request_cannot_be_referenced(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxying(fetch, clock, replies(RESPONSE)) as (served, _):
        await sent(served, BOB, input="x")
        answer = await sent(served, BOB, previous_response_id="resp_echo")

    assert answer.status_code == 400


async def test_providers_with_shared_state_take_references_to_any_id(fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxying(fetch, clock, replies(RESPONSE), more="stateful: true") as (served, up):
        await sent(served, ALICE, input="x")
        statuses = [
            (await sent(served, key, model="m", previous_response_id=each)).status_code
            for key in (ALICE, BOB, WITHOUT_KEY)
            for each in ("resp_1", "resp_2")
        ]

    assert (statuses, {request.target for request in up.requests}) == ([200] * 6, {"/b/v1/responses"})

"""`503 model_list_incomplete` instead of `404`, while a list is missing that may contain the requested model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.listening import serving

pytestmark = pytest.mark.anyio

KEY = "mp-canary-of-a-key-0123456789"
HEADERS = {"Authorization": f"Bearer {KEY}"}
MAX_START = 600
SERVER = "server: {default_models: {moderations: smart}}"


def config_text(rules: Sequence[str] = ("*",), more: str = "", models: str = "[]") -> str:
    return f"""
cache: {{ttl: 100s, max_stale: 1000s, initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1"}}
{more}
models: {models}
keys: [{{name: alice, hash: "{digest(KEY)}", models: {list(rules)}}}]
"""


def incomplete(model: str, seconds: int) -> dict[str, Any]:
    return {
        "error": {
            "message": (
                f"The model '{model}' is not in the model list, which is incomplete: the list of a provider is "
                f"missing; retry after {seconds} s."
            ),
            "type": "service_unavailable_error",
            "param": "model",
            "code": "model_list_incomplete",
        }
    }


async def test_an_unknown_id_is_503_until_every_provider_has_returned_a_list(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with started(config_of(config_text()), fetch, clock) as app:
        listed = await reply_to(app, "/v1/models/m", HEADERS)
        unknown = await reply_to(app, "/v1/models/x", HEADERS)
        fetch.lists("b")  # an empty list is a list
        await clock.advance(5)
        after = await reply_to(app, "/v1/models/x", HEADERS)

    assert (listed.status, unknown.status, after.status) == (200, 503, 404)
    assert (unknown.header("retry-after"), unknown.json) == ("5", incomplete("x", 5))


async def test_an_unknown_id_is_404_from_10_minutes_after_the_start(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with started(config_of(config_text()), fetch, clock) as app:
        await clock.advance(MAX_START - 1)
        before = await reply_to(app, "/v1/models/x", HEADERS)
        await clock.advance(1)
        after = await reply_to(app, "/v1/models/x", HEADERS)

    assert (before.status, after.status) == (503, 404)


async def test_a_request_that_waits_for_the_first_lists_gets_503_when_one_fails(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.hangs("a")
    fetch.lists("b", "m")
    async with started(config_of(config_text(["x"])), fetch, clock) as app:
        waiting = asyncio.create_task(reply_to(app, "/v1/models/x", HEADERS))
        await clock.advance(4)
        reply = await waiting

    assert (reply.status, reply.header("retry-after"), reply.json) == (503, "1", incomplete("x", 1))


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (["*"], 503),
        (["m"], 503),
        (["owner:openai"], 503),
        (["provider:b"], 503),
        (["provider:a"], 404),
        (["*", "!provider:b"], 404),
        (["*", "!*"], 404),
        ([], 404),
    ],
)
async def test_only_providers_that_the_key_may_use_are_waited_for(
    rules: Sequence[str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with started(config_of(config_text(rules)), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models/x", HEADERS)

    assert reply.status == status


async def test_skipped_disabled_and_declared_providers_are_not_waited_for(fetch: FakeFetch, clock: FakeClock) -> None:
    more = """
  - {name: away, base_url: "http://127.0.0.1/c/v1", api_key: "${ABSENT_KEY}", optional: true}
  - {name: paused, base_url: "http://127.0.0.1/d/v1", disabled: true}
  - {name: lab, kind: static, models: [{id: own}]}"""
    fetch.lists("a", "m")
    fetch.lists("b", "n")
    async with started(config_of(config_text(more=more)), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models/x", HEADERS)

    assert reply.status == 404


rules_of_a_key = st.lists(
    st.sampled_from(
        ["*", "m", "hidden", "hid*", "!hidden", "!h*", "provider:a", "provider:b", "!provider:b", "owner:o"]
    ),
    max_size=4,
)
answers = st.sampled_from(["lists", "fails", "is empty"])


@settings(max_examples=60, deadline=None)
@given(rules_of_a_key, answers, answers, st.floats(0, 2 * MAX_START))
def test_a_forbidden_id_and_an_unknown_id_get_the_same_response_while_a_list_is_missing(
    rules: Sequence[str], first: str, second: str, seconds: float
) -> None:
    async def responses() -> list[tuple[int, str | None, bytes]]:
        fetch, clock = FakeFetch(), FakeClock()
        for name, answer in (("a", first), ("b", second)):
            models = [{"id": model, "owned_by": "o"} for model in ("m", "hidden")]
            fetch.fails(name) if answer == "fails" else fetch.lists(name, *(models if answer == "lists" else ()))
        async with started(config_of(config_text(rules)), fetch, clock) as app:
            await clock.advance(seconds)
            visible = (await reply_to(app, "/v1/models", HEADERS)).body
            replies = [await reply_to(app, f"/v1/models/{model}", HEADERS) for model in ("hidden", "hibben")]
        if b'"hidden"' in visible:
            return []
        return [(reply.status, reply.header("retry-after"), reply.body.replace(b"bb", b"dd")) for reply in replies]

    assert len(set(asyncio.run(responses()))) <= 1


async def test_ids_of_an_expired_list_are_503_for_keys_whose_rules_allow_them(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "gone", "denied", "both")
    async with started(config_of(config_text(["*", "!denied"])), fetch, clock) as app:
        fetch.fails("b")
        await clock.advance(999)
        still = await reply_to(app, "/v1/models/gone", HEADERS)
        await clock.advance(1)
        expired = {
            model: (await reply_to(app, f"/v1/models/{model}", HEADERS)).status
            for model in ("m", "gone", "models/gone", "denied", "unknown")
        }
        fetch.lists("b", "new")
        await clock.advance(400)
        back = {
            model: (await reply_to(app, f"/v1/models/{model}", HEADERS)).status for model in ("new", "gone", "denied")
        }

    assert still.status == 200
    assert expired == {"m": 200, "gone": 503, "models/gone": 503, "denied": 404, "unknown": 404}
    assert back == {"new": 200, "gone": 404, "denied": 404}


async def test_a_virtual_model_whose_targets_have_expired_is_503_for_keys_whose_rules_allow_it(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    models = "[{id: smart, targets: [gone]}, {id: other, targets: [denied]}, {id: replaced, targets: [absent]}]"
    fetch.lists("a", "m")
    fetch.lists("b", "gone", "denied", "replaced")
    async with started(config_of(config_text(["*", "!denied"], models=models)), fetch, clock) as app:
        fetch.fails("b")
        await clock.advance(1000)
        statuses = {
            model: (await reply_to(app, f"/v1/models/{model}", HEADERS)).status
            for model in ("smart", "other", "replaced")
        }

    assert statuses == {"smart": 503, "other": 404, "replaced": 404}


async def test_calls_get_503_in_the_format_of_their_path(fetch: FakeFetch, clock: FakeClock) -> None:
    message = incomplete("x", 5)["error"]["message"]
    fetch.lists("a", "m")
    fetch.fails("b")
    async with serving(config_of(config_text()), fetch, clock) as served:
        body = {"model": "x", "messages": []}
        openai = await served.client.post("/v1/chat/completions", json=body, headers=HEADERS)
        anthropic = await served.client.post("/v1/messages", json=body, headers=HEADERS)

    assert (openai.status_code, openai.headers["retry-after"], openai.json()) == (503, "5", incomplete("x", 5))
    assert (anthropic.status_code, anthropic.headers["retry-after"]) == (503, "5")
    assert anthropic.json() == {"type": "error", "error": {"type": "overloaded_error", "message": message}}


async def test_a_reload_starts_no_new_10_minutes_and_keeps_the_ids_of_an_expired_list(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def statuses() -> tuple[int, int]:
        replies = [await reply_to(app, f"/v1/models/{model}", HEADERS) for model in ("gone", "unknown")]
        return replies[0].status, replies[1].status

    fetch.lists("a", "m")
    fetch.lists("b", "gone")
    async with started(config_of(config_text()), fetch, clock) as app:
        await app.replace(config_of(config_text(["*", "!x"])))
        with_lists = await statuses()
        fetch.fails("b")
        await clock.advance(1000)
        await app.replace(config_of(config_text(["*", "!y"])))
        expired = await statuses()

    assert (with_lists, expired) == ((200, 404), (503, 404))


async def test_a_reload_does_not_prolong_the_10_minutes_after_the_start(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with started(config_of(config_text()), fetch, clock) as app:
        await clock.advance(MAX_START - 1)
        await app.replace(config_of(config_text(["*", "!x"])))
        before = await reply_to(app, "/v1/models/unknown", HEADERS)
        await clock.advance(1)
        after = await reply_to(app, "/v1/models/unknown", HEADERS)

    assert (before.status, after.status) == (503, 404)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        pytest.param(
            "/v1/moderations",
            {"input": "a"},
            "The model 'smart' is not in the model list, which is incomplete: the list of a provider is missing; retry "
            "after 5 s.",
            id="the default of its path",
        ),
        pytest.param(
            "/v1/chat/completions",
            {"model": "other", "messages": []},
            "The model 'other' cannot be called in this way yet: the list of a provider is missing; retry after 5 s.",
            id="in another API than its other target",
        ),
    ],
)
async def test_calls_of_a_virtual_model_are_503_while_the_list_of_a_target_is_missing(
    path: str, body: dict[str, Any], message: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.fails("a")
    fetch.lists("b", "n")
    text = config_text(models="[{id: smart, targets: [m]}, {id: other, targets: [m, n]}]")
    text = text.replace('/b/v1"', '/b/v1", speaks: [anthropic]').replace("cache:", f"{SERVER}\ncache:")
    async with serving(config_of(text), fetch, clock) as served:
        early = await served.client.post(path, json=body, headers=HEADERS)
        fetch.lists("a", "x")
        await clock.advance(5)
        after = await served.client.post(path, json=body, headers=HEADERS)

    assert (early.status_code, early.json()["error"]["message"]) == (503, message)
    assert (early.headers["retry-after"], early.json()["error"]["code"]) == ("5", "model_list_incomplete")
    assert after.status_code == 400

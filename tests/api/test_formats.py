"""Model lists in the formats of all clients: what is listed, retrieved, paged and cached, and for which caller."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping

import pytest

from proxy.wire import FORMATS
from tests.fakes import VARY, FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

ALICE, BOB = "sk-canary-alice", "sk-canary-bob"
CONFIG = f"""
cache: {{initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1", speaks: [openai]}}
  - {{name: c, base_url: "http://127.0.0.1/c/v1", call: false}}
keys:
  - {{name: alice, hash: "{digest(ALICE)}", models: ["*"]}}
  - {{name: bob, hash: "{digest(BOB)}", models: ["claude-*", "gpt-*"]}}
"""
VERSION = {"anthropic-version": "2023-06-01"}


def anthropic(key: str = ALICE, **headers: str) -> dict[str, str]:
    return {"x-api-key": key, **VERSION, **headers}


def offered(fetch: FakeFetch) -> None:
    """Let `a` offer models with and without facts, `b` one that only OpenAI's API reaches, `c` one that none does."""
    fetch.lists(
        "a",
        {
            "id": "claude-opus-5",
            "created": 1750000000,
            "display_name": "Claude Opus 5",
            "context_length": 200000,
            "max_output_tokens": 64000,
        },
        {"id": "vendor/model:free", "deprecated": True, "shutdown_at": 1900000000},
    )
    fetch.lists("b", "gpt-5")
    fetch.lists("c", "listed-only")


OPUS = {
    "type": "model",
    "id": "claude-opus-5",
    "display_name": "Claude Opus 5",
    "created_at": "2025-06-15T15:06:40Z",
    "lifecycle": "active",
    "max_input_tokens": 200000,
    "max_tokens": 64000,
}
FREE = {
    "type": "model",
    "id": "vendor/model:free",
    "display_name": "vendor/model:free",
    "created_at": "1970-01-01T00:00:00Z",
    "lifecycle": "deprecated",
    "retires_at": "2030-03-17T17:46:40Z",
}


# -- Anthropic ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/", "//v1/models"])
async def test_the_header_anthropic_version_selects_the_list_of_models_with_that_api(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        await clock.advance(7)
        reply = await reply_to(app, path, anthropic())

    assert (reply.status, reply.json) == (
        200,
        {"data": [OPUS, FREE], "has_more": False, "first_id": "claude-opus-5", "last_id": "vendor/model:free"},
    )
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"etag": f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'.encode(),
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"age": b"7",
        b"x-request-id": dict(reply.headers)[b"x-request-id"],
    }
    assert b"Anthropic-Version" in VARY
    assert b"X-Goog-Api-Key" in VARY


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("", range(20), True),
        ("limit=3", range(3), True),
        ("limit=1000", range(50), False),
        ("limit=3&after_id=m02", range(3, 6), True),
        ("after_id=m45", range(46, 50), False),
        ("after_id=m49", (), False),
        ("limit=2&after_id=m025", (3, 4), True),
        ("limit=3&before_id=m10", (7, 8, 9), True),
        ("limit=3&before_id=m02", (0, 1), False),
        ("before_id=m00", (), False),
        ("limit=3&other=1&beta=true", range(3), True),
    ],
)
async def test_anthropics_pages_are_parts_of_the_list(
    query: str, ids: tuple[int, ...], has_more: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{n:02}" for n in range(50)))
    expected = [f"m{n:02}" for n in ids]
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = (await reply_to(app, f"/v1/models?{query}", anthropic())).json

    assert [model["id"] for model in reply.pop("data")] == expected
    assert reply == {
        "has_more": has_more,
        "first_id": expected[0] if expected else None,
        "last_id": expected[-1] if expected else None,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit must be between 1 and 1000."),
        ("limit=1001", "limit must be between 1 and 1000."),
        ("limit=-1", "limit must be between 1 and 1000."),
        ("limit=many", "limit must be a whole number."),
        ("limit=" + "9" * 5000, "limit has more than 1,024 characters."),
        ("after_id=a&before_id=b", "after_id and before_id are mutually exclusive."),
    ],
)
async def test_an_invalid_page_is_an_error_in_anthropics_format(
    query: str, message: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, f"/v1/models?{query}", anthropic())

    error = {"type": "invalid_request_error", "message": message}
    assert (reply.status, reply.json) == (400, {"type": "error", "error": error})


async def test_one_model_in_anthropics_format_equals_the_listed_one(fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        cold = await reply_to(app, "/v1/models/claude-opus-5", anthropic())
        replies = {
            model: await reply_to(app, f"/v1/models/{model}", anthropic())
            for model in ("claude-opus-5", "vendor/model:free", "vendor%2Fmodel%3Afree", "gpt-5", "listed-only", "none")
        }

    assert (cold.status, cold.json) == (200, OPUS)
    assert {model: reply.status for model, reply in replies.items()} == {
        "claude-opus-5": 200,
        "vendor/model:free": 200,
        "vendor%2Fmodel%3Afree": 200,
        "gpt-5": 404,  # cannot be called through that API
        "listed-only": 404,
        "none": 404,
    }
    assert replies["vendor%2Fmodel%3Afree"].json == FREE
    assert replies["gpt-5"].json == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "The model 'gpt-5' does not exist or you do not have access to it.",
        },
    }


async def test_capabilities_in_anthropics_form_are_shown_as_they_are(fetch: FakeFetch, clock: FakeClock) -> None:
    capabilities = {"batch": {"supported": True}, "thinking": {"supported": False, "types": {}}}
    fetch.lists(
        "a",
        {"id": "m1", "capabilities": capabilities},
        {"id": "m2", "capabilities": {"vision": True}},
        {"id": "m3", "capabilities": {"vision": {"levels": 3}}},
    )
    async with started(config_of(CONFIG), fetch, clock) as app:
        listed = (await reply_to(app, "/v1/models", anthropic())).json["data"]

    assert [model.get("capabilities") for model in listed] == [capabilities, None, None]


# -- all formats -------------------------------------------------------------------------------------------------------

REQUESTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "openai": ("/v1/models", {}),
    "anthropic": ("/v1/models", VERSION),
}
"""Format -> the path of its list, and the headers that select it."""
every_format = pytest.mark.parametrize("name", [row.name for row in FORMATS if row.lists])


def with_key(name: str, key: str = ALICE, **headers: str) -> tuple[str, dict[str, str]]:
    path, selecting = REQUESTS[name]
    return path, {"authorization": f"Bearer {key}", **selecting, **headers}


@every_format
async def test_every_list_is_cached_compressed_and_revalidated(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        first, again = await reply_to(app, path, headers), await reply_to(app, path, headers)
        packed = await reply_to(app, path, {**headers, "accept-encoding": "gzip"})
        packed_again = await reply_to(app, path, {**headers, "accept-encoding": "gzip"})
        tags = {"if-none-match": first.header("etag") or ""}
        unchanged = await reply_to(app, path, {**headers, **tags})
        head = await reply_to(app, path, headers, method="HEAD")
        await clock.advance(1)
        later = await reply_to(app, path, headers)
        fetch.lists("a", "another")
        await clock.advance(600)
        changed = await reply_to(app, path, {**headers, **tags})

    assert first.status == 200
    assert first.body is again.body is later.body
    assert packed.body is packed_again.body
    assert gzip.decompress(packed.body) == first.body
    assert (packed.header("content-encoding"), packed.header("etag")) == (
        "gzip",
        (first.header("etag") or "")[:-1] + '-gzip"',
    )
    assert (unchanged.status, unchanged.body, unchanged.header("etag")) == (304, b"", first.header("etag"))
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-length") == str(len(first.body))
    assert (changed.status, "another" in changed.body.decode()) == (200, True)


@every_format
async def test_every_list_waits_for_the_first_refresh_and_is_503_without_any(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    for provider in "abc":
        fetch.hangs(provider)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        waiting = [asyncio.create_task(reply_to(app, path, headers)) for _ in range(3)]
        await clock.advance(3.9)
        assert not any(task.done() for task in waiting)
        await clock.advance(0.2)
        replies = [task.result() for task in waiting]

    assert {reply.status for reply in replies} == {503}
    assert {reply.header("retry-after") is None for reply in replies} == {False}


@every_format
async def test_every_format_needs_a_key(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    path, headers = with_key(name, "sk-canary-of-nobody")
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, path, headers)

    assert (reply.status, "claude" in reply.body.decode()) == (401, False)

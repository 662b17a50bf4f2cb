"""Calls: paths, permissions, rejected requests, and what is forwarded and relayed."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from backports import zstd

from proxy.api.paths import other_paths, request_paths
from tests.fakes import KEY_HEADERS, FakeClock, FakeFetch, config_of, digest, holding
from tests.listening import Served, post, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies
from tests.providers.server import response_head

pytestmark = pytest.mark.anyio

UP = "sk-canary-of-the-provider-1"
ALICE, BOB, LISTER = "sk-canary-alice", "sk-canary-bob", "sk-canary-lister"
ALICES, BOBS, LISTERS = ({"Authorization": f"Bearer {key}"} for key in (ALICE, BOB, LISTER))

CONFIG = """
server: {{max_request: 64KiB}}
providers:
  - name: a
    base_url: "{url}/v1"
    api_key: {up}
    aliases: {{short: a/very-long-own-id}}
    {more}
  - {{name: b, base_url: "{url}/b/v1", api_key: {up}-b, prefix: "b/"}}
  - {{name: listed, base_url: "{url}/listed/v1", call: false}}
groups:
  staff: {{models: ["*"]}}
  listing: {{models: ["*"], call: false}}
keys:
  - {{name: alice, hash: "{alice}", group: staff}}
  - {{name: bob, hash: "{bob}", models: ["m"]}}
  - {{name: lister, hash: "{lister}", group: listing}}
"""
ORIGINAL = "a/very-long-own-id"

FOUR_PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"]


PATHS = request_paths()
BASES = ("", "/v1", "/models", "/v1/models")
"""Base paths of clients."""


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, script: Script | None = None, *, more: str = "", config: str = CONFIG
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy whose providers are all the same fake server."""
    fetch.lists("a", "m", "n", ORIGINAL)
    fetch.lists("b", "m", "p")
    fetch.lists("listed", "only-listed")
    async with fake_provider(script or replies(completion("m"))) as up:
        names = {"alice": digest(ALICE), "bob": digest(BOB), "lister": digest(LISTER)}
        text = config.format(url=up.url, up=UP, more=more, **names)
        async with serving(config_of(text), fetch, clock) as served:
            yield served, up


async def called(served: Served, body: object, path: str = FOUR_PATHS[0], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await served.client.post(
        path, content=content, headers={"Content-Type": "application/json", **ALICES, **named}
    )


def multipart(*fields: tuple[str, bytes], boundary: bytes = b"xYz") -> bytes:
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(), value)
        for name, value in fields
    ]
    return b"".join(parts) + b"--%b--\r\n" % boundary


FORM = {"Content-Type": "multipart/form-data; boundary=xYz"}


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", KEY_HEADERS)
async def test_calls_accept_a_key_in_any_header_and_reject_an_invalid_one(
    header: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    default = CONFIG.replace("groups:\n", 'groups:\n  default: {{models: ["*"], call: true}}\n')
    async with calling(fetch, clock, config=default) as (served, up):
        answers = [
            await served.client.post(FOUR_PATHS[0], json={"model": model}, headers=headers)
            for model, headers in (
                ("n", {}),
                ("m", holding(header, BOB)),
                ("n", holding(header, BOB)),
                ("n", holding(header, "sk-canary-unknown")),
                ("m", {"X-Api-Key": ALICE, "Api-Key": ALICE, **holding(header, BOB)}),
            )
        ]

    assert [reply.status_code for reply in answers] == [200, 200, 404, 401, 401]
    assert BOB not in str([request.headers for request in up.requests]), "a caller's key is not forwarded"


# -- paths -------------------------------------------------------------------------------------------------------------


def test_the_table_has_every_inference_path_below_every_base_path() -> None:
    below = {
        *("/chat/completions", "/completions", "/fim/completions", "/embeddings", "/moderations", "/rerank"),
        *("/responses", "/responses/compact", "/responses/input_tokens", "/score", "/ocr", "/tokenize"),
        *("/images/generations", "/images/edits", "/images/variations"),
        *("/audio/speech", "/audio/transcriptions", "/audio/translations"),
        *("/messages", "/messages/count_tokens"),
    }
    assert PATHS.keys() == {*(prefix + path for prefix in BASES for path in below), "/v2/rerank"}


async def test_every_path_is_forwarded_to_the_same_path_below_the_providers_base_url(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        answers = [(await called(served, {"model": "m"}, path)).status_code for path in PATHS]
        assert answers == [200] * len(PATHS)
        assert [(request.method, request.target) for request in up.requests] == [
            ("POST", call.path) for call in PATHS.values()
        ]


async def test_rerank_of_version_2_and_tokenize_without_a_version_are_called_next_to_the_providers_base_url(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        for path in ("/v2/rerank", "/tokenize", "/v1/tokenize", "/models/tokenize"):
            await called(served, {"model": "b/m"}, path)
        targets = [request.target for request in up.requests]
        assert targets == ["/b/v2/rerank", "/b/tokenize", "/b/v1/tokenize", "/b/v1/tokenize"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_methods_other_than_post_are_405_with_an_allow_header(
    method: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        for path in PATHS:
            if path.removeprefix("/v1").startswith("/models/"):
                continue  # GET retrieves the model with this id
            answer = await served.client.request(method, path, headers=ALICES)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
            if method != "HEAD":
                payload = answer.json()
                assert "use POST" in payload["error"]["message"]
        assert up.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/c-1",
        "/v1/chat//completions%2F",
        "/openai/deployments/m/chat",
        "/v2/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions%0A",
        "/v1/chat/completions%2F",
        "/v1/chat/..%2Fcompletions",
        "/v1/files",
        "/v1/batches",
        "/v1/fine_tuning/jobs",
        "/v1/realtime",
        "/v1/images",
        "/v1/audio/voices",
        "/chat",
        "/",
    ],
)
async def test_paths_outside_the_table_are_not_forwarded(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, {"model": "m"}, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert answer.headers["connection"] == "close"
        assert up.requests == []


async def test_a_path_that_is_longer_than_any_other_is_not_corrected() -> None:
    assert list(other_paths(b"/v1" + b"/" * 16_384 + b"chat/completions")) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *(
            (path, "all callers share the objects that a provider stores for its account")
            for path in (
                "/v1/files", "/files/file-1/content", "/v1/batches", "/v1/messages/batches", "/v1/conversations/conv_1",
                "/v1/containers", "/v1/vector_stores/vs_1/search", "/v1/uploads", "/v1/chat/completions/chatcmpl-1",
                "/v1/responses/resp_1/other", "/v1/threads/t/runs",
            )
        ),
        ("/v1/realtime", "calls over WebSocket are not supported"),
        ("/v1/realtime/client_secrets", "calls over WebSocket are not supported"),
    ],
)  # fmt: skip
async def test_paths_of_stored_objects_and_realtime_are_404_with_the_reason(
    path: str, reason: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, _):
        for method in ("GET", "POST", "DELETE"):
            answer = await served.client.request(method, path, headers=ALICES)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (404, "not_found")
            assert error["message"] == f"{path} is not served: {reason}."


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/v1/v1/chat/completions", "/v1/chat/completions"),
        ("///v1//v1/chat//completions//", "/v1/chat/completions"),
        ("//chat/completions", "/v1/chat/completions"),
        ("/models//embeddings/", "/v1/embeddings"),
        ("/v1/models//embeddings", "/v1/embeddings"),
        ("/v1//messages/count_tokens/", "/v1/messages/count_tokens"),
        ("/v2/rerank/", "/v2/rerank"),
        ("/v1/v2/rerank", "/v2/rerank"),
        ("//tokenize", "/tokenize"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/openai/responses?api-version=2025-04-01-preview", "/v1/responses"),
        ("/openai//v1/images/generations", "/v1/images/generations"),
    ],
)
async def test_a_path_with_extra_slashes_versions_or_openai_is_the_path_that_it_means(
    path: str, call: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        async with served.raw(post(b'{"model":"m"}', path, Connection="close", **ALICES)) as (reader, _):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert [request.target for request in up.requests] == [call]


@pytest.mark.parametrize(
    "path", ["/v1//messages", "/v1/messages/", "/v1/v1/messages", "//messages", "/openai/messages"]
)
@pytest.mark.parametrize("headers", [ALICES, {"Authorization": "Bearer sk-canary-unknown"}, {}])
async def test_errors_under_another_spelling_of_a_path_are_those_of_the_path(
    path: str, headers: Mapping[str, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    named = {**headers, "x-request-id": "mine"}
    async with calling(fetch, clock) as (served, _):
        for method in ("POST", "GET"):
            meant, spelled = [
                await served.client.request(method, served.url + each, content=b"{}", headers=named)
                for each in ("/v1/messages", path)
            ]
            assert (spelled.status_code, spelled.content) == (meant.status_code, meant.content)
            assert spelled.headers == meant.headers
            assert spelled.json()["type"] == "error"
            assert spelled.headers["request-id"] == "mine"


@pytest.mark.parametrize(
    ("path", "model", "call"),
    [
        ("/openai/deployments/m/chat/completions?api-version=2024-10-21", "m", "/v1/chat/completions"),
        ("/openai/deployments/m/completions", "m", "/v1/completions"),
        ("/openai/deployments/m/embeddings/", "m", "/v1/embeddings"),
        ("//openai/deployments//m/audio/speech", "m", "/v1/audio/speech"),
        ("/openai/deployments/a%2Fvery-long-own-id/responses", "a/very-long-own-id", "/v1/responses"),
        ("/openai/deployments/a/very-long-own-id/images/generations", "a/very-long-own-id", "/v1/images/generations"),
        ("/openai/v1/deployments/m/chat/completions", "m", "/v1/chat/completions"),
    ],
)
async def test_the_model_of_an_azure_deployment_is_in_the_path(
    path: str, model: str, call: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    key = {"api-key": ALICE}
    aliases = CONFIG.replace("    aliases: {{short: a/very-long-own-id}}\n", "")
    async with calling(fetch, clock, config=aliases) as (served, up):
        for body in ({"input": "x"}, {"model": model, "input": "x"}):
            answer = await served.client.post(served.url + path, json=body, headers=key)
            assert answer.status_code == 200
        assert [request.target for request in up.requests] == [call, call]
        assert [msgspec.json.decode(request.body)["model"] for request in up.requests] == [model, model]


async def test_a_form_gets_the_model_of_the_azure_deployment(fetch: FakeFetch, clock: FakeClock) -> None:
    form = multipart(("file", b"RIFF"))
    async with calling(fetch, clock) as (served, up):
        path = "/openai/deployments/short/audio/transcriptions"
        answer = await served.client.post(path, content=form, headers={**FORM, "api-key": ALICE})
        assert answer.status_code == 200
        assert b'name="model"\r\n\r\n%b\r\n' % ORIGINAL.encode() in up.requests[0].body


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        pytest.param("/openai/deployments/m/chat/completions", {"model": "n"}, ALICES, 400, id="two models"),
        pytest.param("/openai/deployments/n/chat/completions", {}, BOBS, 404, id="a forbidden model in the path"),
        pytest.param(
            "/openai/deployments/n/chat/completions", {"model": "m"}, BOBS, 400, id="an allowed one in the body"
        ),
        pytest.param(
            "/openai/deployments/m/chat/completions", {"model": "n"}, BOBS, 400, id="an allowed one in the path"
        ),
        pytest.param("/openai/deployments/m/chat/completions", {}, {}, 401, id="no key"),
        pytest.param("/openai/deployments/m/chat/completions", {}, LISTERS, 403, id="a key that cannot call"),
        pytest.param("/openai/deployments/%FF/chat/completions", {}, ALICES, 404, id="not UTF-8"),
    ],
)
async def test_a_deployment_gives_no_access_to_another_model(
    path: str, body: object, headers: Mapping[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await served.client.post(path, json=body, headers=headers)
        assert answer.status_code == status
        assert up.requests == []


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/v1/v3/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/api/completions", "/v1/completions"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/azure/deployments/m/embeddings", "/v1/embeddings"),
    ],
)
async def test_an_unknown_path_that_ends_with_a_call_gets_the_path_of_the_call(
    path: str, call: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, _):
        answer = await called(served, {"model": "m"}, path)
        assert answer.json()["error"]["message"] == (
            f"Unknown path {path}; this call is at {call}: check the client's base URL."
        )


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v1/chat/completions?base_url=http://evil&deployment=evil", id="a query"),
        pytest.param("http://evil.example/v1/chat/completions", id="an absolute URL"),
        pytest.param("/v1/chat/%63ompletions", id="percent-encoded letters"),
    ],
)
async def test_client_input_cannot_change_the_upstream(target: str, fetch: FakeFetch, clock: FakeClock) -> None:
    evil = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Prefix": "/evil",
        "Forwarded": "host=evil.example",
        "X_Original_URL": "/evil",
        "X_HTTP_Method_Override": "DELETE",
        "Connection": "close",
        **ALICES,
    }
    async with calling(fetch, clock) as (served, up):
        async with served.raw(post(b'{"model":"m"}', target, **evil)) as (reader, _):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        (request,) = up.requests
        assert (request.target, request.headers["host"]) == ("/v1/chat/completions", up.url.removeprefix("http://"))
        assert b"evil" not in request.head


async def test_a_call_in_an_api_that_the_provider_does_not_support_is_a_400_in_the_format_of_the_call(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, more="speaks: [openai]") as (served, up):
        chat, messages = [await called(served, {"model": "n"}, path) for path in ("/v1/responses", "/v1/messages")]
        both = await called(served, {"model": "b/m"}, "/v1/messages/count_tokens")
        assert (chat.status_code, messages.status_code, both.status_code) == (200, 400, 200)
        assert messages.json() == {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "The model 'n' cannot be called through the Anthropic API (/v1/messages); "
                "use the OpenAI API (/v1/chat/completions).",
            },
        }
        assert [request.target for request in up.requests] == ["/v1/responses", "/b/v1/messages/count_tokens"]


EXTRA = CONFIG.replace("server: {{", "server: {{extra_paths: [/v1/translate, /v3/parse, /detokenize], ")


async def test_extra_paths_are_calls_with_the_same_checks(fetch: FakeFetch, clock: FakeClock) -> None:
    paths = [
        "/v1/translate",
        "/translate",
        "/v1//translate/",
        "/openai/deployments/m/translate",
        "/v3/parse",
        "/detokenize",
    ]
    async with calling(fetch, clock, config=EXTRA) as (served, up):
        answers = [await called(served, {"model": "m", "text": "x"}, served.url + path) for path in paths]
        refused = [
            (await called(served, {"model": "m", **more}, "/v1/translate")).status_code
            for more in ({"api_base": "http://evil.example"}, {"file_id": "file-1"}, {"model": "unknown"})
        ]
        forbidden = await served.client.post("/v1/translate", json={"model": "n"}, headers=BOBS)
        got = await served.client.get("/v1/translate", headers=ALICES)
        unknown = await called(served, {"model": "m"}, "/v1/parse")
        assert [answer.status_code for answer in answers] == [200] * len(paths)
        assert [request.target for request in up.requests] == [*["/v1/translate"] * 4, "/v3/parse", "/detokenize"]
        assert (refused, forbidden.status_code) == ([400, 400, 404], 404)
        assert (got.status_code, got.headers["allow"], unknown.status_code) == (405, "POST", 404)


DEFAULTS = CONFIG.replace("server: {{", "server: {{default_models: {{moderations: m, embeddings: n}}, ")


@pytest.mark.parametrize(
    ("path", "config", "model"),
    [
        ("/v1/moderations", CONFIG, "omni-moderation-latest"),
        ("/v1/images/generations", CONFIG, "dall-e-2"),
        ("/v1/images/edits", CONFIG, "dall-e-2"),
        ("/images/variations", CONFIG, "dall-e-2"),
        ("/v1/moderations", DEFAULTS, "m"),
        ("/v1/embeddings", DEFAULTS, "n"),
        ("/v1/embeddings", CONFIG, ""),
        ("/v1/chat/completions", DEFAULTS, ""),
    ],
)
async def test_a_call_without_a_model_has_the_default_of_its_path(
    path: str, config: str, model: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    form = multipart(("prompt", b"x"))
    async with calling(fetch, clock, config=config) as (served, up):
        fetch.lists("a", "m", "n", "omni-moderation-latest", "dall-e-2")
        await clock.advance(300)
        answers = [
            await called(served, {"input": "x"}, path),
            await served.client.post(path, content=form, headers={**FORM, **ALICES}),
        ]
        if not model:
            assert [answer.json()["error"]["param"] for answer in answers] == ["model", "model"]
            return
        json, multi = [request.body for request in up.requests]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert msgspec.json.decode(json) == {"model": model, "input": "x"}
        assert b'name="model"\r\n\r\n%b\r\n' % model.encode() in multi


async def test_a_default_model_that_the_key_cannot_see_is_not_used(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, config=DEFAULTS) as (served, up):
        hidden = await served.client.post("/v1/embeddings", json={"input": "x"}, headers=BOBS)
        unlisted = await called(served, {"prompt": "x"}, "/v1/images/generations")
        named = await called(served, {"model": "n", "input": "x"}, "/v1/moderations")
        for answer in (hidden, unlisted):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
        assert named.status_code == 200
        assert [msgspec.json.decode(request.body)["model"] for request in up.requests] == ["n"]


# -- bodies ------------------------------------------------------------------------------------------------------------


async def test_a_content_length_above_the_limit_is_rejected_without_reading_the_body(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        request = post(b"", Content_Length="65537", Expect="100-continue", **ALICES)
        # No body is sent: the response must arrive without it, and the connection must be closed.
        async with served.raw(request.replace(b"Content-Length: 0\r\n", b"")) as (reader, _):
            top, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close" in top
        assert msgspec.json.decode(body) == {
            "error": {
                "message": "The request body exceeds the limit of 65,536 bytes.",
                "type": "invalid_request_error",
                "param": None,
                "code": "request_too_large",
            }
        }
        assert up.requests == []


async def test_a_chunked_body_is_rejected_once_it_exceeds_the_limit(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        top = post(b"", Transfer_Encoding="chunked", **ALICES).replace(b"Content-Length: 0\r\n", b"")
        async with served.raw(top + b"10001\r\n" + b" " * 65_537) as (reader, _):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b'"code":"request_too_large"}}')
        assert up.requests == []


async def test_a_body_of_the_maximum_length_is_forwarded_with_a_length_or_in_chunks(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    body = b'{"model":"m"%b}' % (b" " * (65_536 - 13))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with calling(fetch, clock) as (served, up):
        whole = await called(served, body)
        chunked = await served.client.post(FOUR_PATHS[0], content=pieces(), headers=ALICES)
        assert (whole.status_code, chunked.status_code) == (200, 200)
        assert [request.body for request in up.requests] == [body, body]
        assert [request.headers["content-length"] for request in up.requests] == ["65536", "65536"]


async def test_a_compressed_body_is_forwarded_decompressed(fetch: FakeFetch, clock: FakeClock) -> None:
    form = multipart(("model", b"short"), ("file", b"x" * 60_000))
    async with calling(fetch, clock) as (served, up):
        for body, coding in ((gzip.compress(BODY), "gzip"), (zstd.compress(BODY), "zstd"), (BODY, "identity")):
            assert (await called(served, body, Content_Encoding=coding)).status_code == 200
        answer = await called(served, gzip.compress(form), "/v1/audio/transcriptions", **FORM, Content_Encoding="gzip")
        assert answer.status_code == 200
        renamed = BODY.replace(b'"model":"short", "x"', b'"model":"a/very-long-own-id", "x"')
        assert [request.body for request in up.requests] == [renamed] * 3 + [form.replace(b"short", ORIGINAL.encode())]
        assert [request.headers.get("content-encoding") for request in up.requests] == [None] * 4


@pytest.mark.parametrize("is_bomb", [True, False], ids=["decompressed", "compressed"])
async def test_a_compressed_body_above_the_limit_is_413(is_bomb: bool, fetch: FakeFetch, clock: FakeClock) -> None:
    body = gzip.compress(bytes(65_537), 9 if is_bomb else 0)
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, body, Content_Encoding="gzip")
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert up.requests == []


@pytest.mark.parametrize("coding", ["br", "gzip, zstd"])
async def test_a_body_with_another_content_encoding_is_415_in_the_format_of_the_path(
    coding: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "The content-encoding of the request body is not supported; use gzip, zstd or none."
    async with calling(fetch, clock) as (served, up):
        answers = [await called(served, b"x", path, Content_Encoding=coding) for path in FOUR_PATHS]
        assert [(answer.status_code, answer.headers["accept-encoding"]) for answer in answers] == [
            (415, "gzip, zstd")
        ] * 4
        assert "connection" not in answers[0].headers, "the body was read, so the connection can be reused"
        openai, anthropic = answers[0].json(), answers[-1].json()
        assert openai == {
            "error": {
                "message": text,
                "type": "invalid_request_error",
                "param": None,
                "code": "unsupported_media_type",
            }
        }
        assert anthropic == {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
        assert up.requests == []


async def test_a_content_encoding_in_two_lines_is_one_list(fetch: FakeFetch, clock: FakeClock) -> None:
    lines = [(b"content-encoding", b"gzip"), (b"content-encoding", b"identity")]
    headers = [(b"authorization", ALICES["Authorization"].encode()), *lines]
    async with calling(fetch, clock) as (served, _):
        answer = await served.client.post(FOUR_PATHS[0], content=b'{"model":"m"}', headers=headers)
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"model":null}', id="null"),
        pytest.param(b'{"model":""}', id="an empty string"),
        pytest.param(b'{"model":[]}', id="an empty list"),
        pytest.param(b'{"models":["m"]}', id="only models"),
        pytest.param(b'{"messages":[{"model":"m"}]}', id="nested"),
    ],
)
async def test_a_body_without_a_model_is_400_for_the_parameter_model(
    body: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
        assert "model" in answer.json()["error"]["message"]
        assert up.requests == []


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"m"', b"{", b'{"model":"m"}{}', b"\xff", b"[" * 9000])
async def test_a_body_other_than_a_json_object_is_rejected(body: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert "connection" not in answer.headers, "the body was read, so the connection can be reused"
        assert up.requests == []


BODY = (
    b' {"messages" : [ {"role":"user","content":"caf\\u00e9 \xe4\xb8\xad \\ud83d half: \\ud83d\\n"} ],\r\n\t'
    b'"temperature":1.0e0, "seed":12345678901234567890123, "model":"short", "x":{"model":"short"}, "n":0.10 } \n'
)


async def test_only_the_model_of_a_body_is_replaced(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        for path in FOUR_PATHS:
            assert (await called(served, BODY, path)).status_code == 200
        renamed = BODY.replace(b'"model":"short", "x"', b'"model":"a/very-long-own-id", "x"')
        assert [request.body for request in up.requests] == [renamed] * len(FOUR_PATHS)


async def test_a_body_with_an_unchanged_model_id_is_forwarded_byte_for_byte(fetch: FakeFetch, clock: FakeClock) -> None:
    body = BODY.replace(b'"model":"short", "x"', b'"\\u006dodel" : "\\u006d" , "x"')
    async with calling(fetch, clock) as (served, up):
        assert (await called(served, body)).status_code == 200
        assert up.requests[0].body == body


async def test_only_the_model_of_a_form_is_replaced(fetch: FakeFetch, clock: FakeClock) -> None:
    sound = bytes(range(256)) * 20
    form = multipart(("file", sound), ("model", b"b/p"), ("prompt", b"model"))
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, form, "/v1/audio/transcriptions", **FORM)
        assert answer.status_code == 200
        (request,) = up.requests
        assert request.body == multipart(("file", sound), ("model", b"p"), ("prompt", b"model"))
        assert request.headers["content-type"] == 'multipart/form-data; boundary="xYz"'
        assert request.target == "/b/v1/audio/transcriptions"


@pytest.mark.parametrize("boundary", ['"\xff"', '"a\tb"', '""', "xYz; boundary=other", "x y"])
async def test_an_invalid_boundary_is_400_and_does_not_trip_the_circuit_breaker(
    boundary: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    inner = boundary.strip('"').encode("latin-1")
    form = multipart(("model", b"m"), boundary=inner)
    async with calling(fetch, clock) as (served, _):
        request = post(form, "/v1/audio/transcriptions", Connection="close", **ALICES).replace(
            b"application/json", b"multipart/form-data; boundary=%b" % boundary.encode("latin-1")
        )
        for _ in range(6):  # five consecutive failures would open the circuit breaker
            async with served.raw(request) as (reader, _):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        assert (await called(served, {"model": "m"})).status_code == 200


# -- models that may be called -----------------------------------------------------------------------------------------


async def test_unknown_and_forbidden_models_get_the_same_response(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        answers = []
        for model, key in (("nope", ALICES), ("n", BOBS), ("only-listed", BOBS), ("b/p", BOBS), (ORIGINAL, ALICES)):
            answer = await called(served, {"model": model}, **key, X_Request_Id="same")
            body = answer.content.replace(f"'{model}'".encode(), b"'*'")
            answers.append((answer.status_code, answer.headers, body))
        first = answers[0]
        assert first[0] == 404
        assert first[2] == (
            b'{"error":{"message":"The model \'*\' does not exist or you do not have access to it.",'
            b'"type":"invalid_request_error","param":"model","code":"model_not_found"}}'
        )
        lengths = [dict(headers).pop("content-length") for _, headers, _ in answers]
        assert len(lengths) == 5
        for status, headers, body in answers[1:]:
            assert (status, body) == (404, first[2])
            assert {**headers, "content-length": ""} == {**first[1], "content-length": ""}
        assert up.requests == []


async def test_a_key_can_call_exactly_the_models_it_lists(fetch: FakeFetch, clock: FakeClock) -> None:
    everything = {"m", "n", "short", ORIGINAL, "b/m", "b/p", "p", "only-listed"}
    async with calling(fetch, clock) as (served, _):
        for key, callable_models in ((ALICES, {"m", "n", "short", "b/m", "b/p"}), (BOBS, {"m"})):
            listed = {model["id"] for model in (await served.client.get("/v1/models", headers=key)).json()["data"]}
            statuses = {model: (await called(served, {"model": model}, **key)).status_code for model in everything}
            assert {model for model, status in statuses.items() if status == 200} == callable_models
            assert {model for model, status in statuses.items() if status != 404} == listed


@pytest.mark.parametrize(
    ("model", "own_id"),
    [
        pytest.param("m:online", "m:online", id="accepted"),
        pytest.param("tagged", "tagged", id="without latest"),
        pytest.param("models/bare", "bare", id="as the provider writes it"),
        pytest.param("other-name", "other-name", id="an alias of the entry"),
        pytest.param("c-9", "claude-9", id="accepted through an alias pattern"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_name_that_is_not_listed_is_called_by_the_providers_own_name(
    model: str, own_id: str, is_stream: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    more = 'aliases: {{short: a/very-long-own-id, "c-*": "claude-*"}}\n    accept: ["claude-*", "*:online"]'
    config = CONFIG.replace("aliases: {{short: a/very-long-own-id}}", more)
    script = streams(chunk_event(own_id, "hi"), DONE) if is_stream else replies(completion(own_id))
    async with calling(fetch, clock, script, config=config) as (served, up):
        fetch.lists("a", "tagged:latest", "models/bare", {"id": "m", "aliases": ["other-name"]})
        await clock.advance(300)
        retrieved = await served.client.get(f"/v1/models/{model}", headers=ALICES)
        answer = await called(served, {"model": model, "stream": is_stream})

    assert (retrieved.status_code, answer.status_code) == (200, 200)
    assert msgspec.json.decode(up.requests[0].body)["model"] == own_id
    assert f'"model":"{model}"' in answer.text
    assert own_id == model or f'"model":"{own_id}"' not in answer.text


@pytest.mark.parametrize("path", FOUR_PATHS)
async def test_an_unknown_model_gets_similar_ids_in_every_format(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, _):
        retrieved = await served.client.get("/v1/models/Short", headers=ALICES)
        answer = await called(served, {"model": "Short"}, path)

    message = "The model 'Short' does not exist or you do not have access to it. Did you mean 'short'?"
    assert (retrieved.status_code, retrieved.json()["error"]["message"]) == (404, message)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, message)


async def test_a_call_of_a_list_only_model_is_400(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, {"model": "only-listed"})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            {
                "message": "The model 'only-listed' is list-only: it cannot be called through this proxy.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_callable",
            },
        )
        assert up.requests == []


async def test_a_call_of_a_list_only_kind_is_400(fetch: FakeFetch, clock: FakeClock) -> None:
    config = """
providers:
  - {{name: a, kind: pangu, base_url: "{url}", workspace_id: w, model_ids: [m], api_key: {up}}}
groups: {{default: {{models: ["*"], call: true}}}}
"""
    async with calling(fetch, clock, config=config) as (served, up):
        answer = await called(served, {"model": "m"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_not_callable")
        assert up.requests == []


# -- the view cannot be bypassed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"m","model":"n"}', id="a second model"),
        pytest.param(b'{"model":"m","\\u006dodel":"m"}', id="a second model, escaped"),
        pytest.param(b'{"model":"m","Model":"n"}', id="a model in another case"),
        pytest.param(b'{"model":"m","MODELS":["n"]}', id="models in another case"),
        pytest.param(b'{"model":"m","api_base":"http://evil"}', id="api_base"),
        pytest.param(b'{"model":"m","base_url":"http://evil"}', id="base_url"),
        pytest.param(b'{"model":"m","api_key":"sk"}', id="api_key"),
        pytest.param(b'{"model":"m","custom_llm_provider":"x"}', id="custom_llm_provider"),
        pytest.param(b'{"model":"m","models":["n","b/p"]}', id="models of two providers"),
        pytest.param(b'{"model":["m","b/p"]}', id="a list of models of two providers"),
        pytest.param(b'{"model":"m","route":"b/p"}', id="a route to another provider"),
        pytest.param(b'{"model":"m","fallbacks":[{"model":"b/p"}]}', id="fallbacks that are objects"),
        pytest.param(b'{"model":"m","previous_response_id":"resp_1"}', id="an earlier response"),
        pytest.param(b'{"model":"m","conversation":"conv_1"}', id="a conversation"),
        pytest.param(b'{"model":"m","conversation":{"id":"conv_1"}}', id="a conversation as an object"),
    ],
)
async def test_bodies_that_select_another_model_upstream_or_state_are_rejected(
    body: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        for path in FOUR_PATHS:
            answer = await called(served, body, path)
            assert answer.status_code in (400, 404)
            assert answer.json()["error"]["message"]
        assert up.requests == []


@pytest.mark.parametrize("field", ["models", "fallbacks", "model"])
async def test_additional_models_must_be_allowed_and_are_renamed(
    field: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        named = {"model": ["m", "short"]} if field == "model" else {"model": "m", field: ["short"]}
        assert (await called(served, named)).status_code == 200
        own = {"model": ["m", ORIGINAL]} if field == "model" else {"model": "m", field: [ORIGINAL]}
        assert up.requests[0].json == own
        rejected = await called(served, named, **BOBS)
        assert (rejected.status_code, rejected.json()["error"]["code"]) == (404, "model_not_found")
        assert len(up.requests) == 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("model", b"m"), ("model", b"n")], id="a second model"),
        pytest.param([("model", b"m"), ("models", b"n")], id="models"),
        pytest.param([("model", b"m"), ("models[]", b"n")], id="models, as a list"),
        pytest.param([("model", b"m"), ("MODEL", b"n")], id="a model in another case"),
        pytest.param([("model", b"m"), ("base_url", b"http://evil")], id="base_url"),
        pytest.param([("model", b"m"), ("previous_response_id", b"r")], id="an earlier response"),
        pytest.param([("file", b"m")], id="no model"),
        pytest.param([("model", b"\xff")], id="a model in invalid UTF-8"),
    ],
)
async def test_forms_that_select_another_model_upstream_or_state_are_rejected(
    fields: list[tuple[str, bytes]], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, multipart(*fields), "/v1/images/edits", **FORM)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert up.requests == []


async def test_calls_with_state_are_sent_only_to_stateful_providers(fetch: FakeFetch, clock: FakeClock) -> None:
    config = """
providers:
  - {{name: a, base_url: "{url}/a/v1"}}
  - {{name: b, base_url: "{url}/b/v1", stateful: true}}
  - {{name: listed, base_url: "{url}/c/v1", stateful: true}}
groups: {{default: {{models: ["*"], call: true}}}}
"""
    async with calling(fetch, clock, replies({}, 503), config=config) as (served, up):
        fresh = await called(served, {"model": "m"})
        again = await called(served, {"model": "m", "previous_response_id": "resp_1"}, "/v1/responses")
        assert (fresh.status_code, again.status_code) == (503, 503)
        assert [request.target for request in up.requests] == [
            "/a/v1/chat/completions",
            "/b/v1/chat/completions",
            "/b/v1/responses",
        ]


# -- permissions -------------------------------------------------------------------------------------------------------

OPEN = """
providers: [{{name: a, base_url: "{url}/v1"}}]
groups: {{default: {{models: ["*"]{call}}}}}
{keys}
"""
KEYS = f'keys: [{{name: alice, hash: "{digest(ALICE)}", models: ["*"]}}]'


@pytest.mark.parametrize(
    ("call", "keys", "status", "code"),
    [
        pytest.param("", KEYS, 401, "invalid_api_key", id="with keys"),
        pytest.param(", call: false", KEYS, 401, "invalid_api_key", id="with keys, and call: false"),
        pytest.param(", call: true", KEYS, 200, None, id="with keys, and call: true"),
        pytest.param("", "", 403, "insufficient_permissions", id="without keys"),
        pytest.param(", call: true", "", 200, None, id="without keys, and call: true"),
    ],
)
async def test_requests_without_a_key_can_list_and_can_call_only_with_call_true(
    call: str, keys: str, status: int, code: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with fake_provider(replies(completion("m"))) as up:
        config = config_of(OPEN.format(url=up.url, call=call, keys=keys))
        async with serving(config, fetch, clock) as served:
            assert (await served.client.get("/v1/models")).status_code == 200
            answer = await served.call()
            assert (answer.status_code, answer.json().get("error", {}).get("code")) == (status, code)
            assert answer.headers.get("connection") == (None if status == 200 else "close")
            assert len(up.requests) == (status == 200)


async def test_a_call_to_a_proxy_without_keys_is_403_with_the_reason_whether_or_not_a_key_is_sent(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    config = config_of(OPEN.format(url="http://127.0.0.1:9", call="", keys=""))
    async with serving(config, fetch, clock) as served:
        for answer in (await served.call(), await called(served, {"model": "m"})):
            assert (answer.status_code, answer.json()["error"]["message"]) == (
                403,
                "This proxy has no API keys configured, so clients can list models but cannot call them; "
                "its administrator can add `keys:`, or set `call: true` in the group `default`.",
            )


async def test_a_key_in_a_group_with_call_false_can_list_but_not_call(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        assert (await served.client.get("/v1/models", headers=LISTERS)).status_code == 200
        for model in ("m", "nope"):
            answer = await called(served, {"model": model}, **LISTERS)
            assert (answer.status_code, answer.json()["error"]) == (
                403,
                {
                    "message": "This API key can list models but cannot call them.",
                    "type": "permission_error",
                    "param": None,
                    "code": "insufficient_permissions",
                },
            )
        assert up.requests == []


async def test_an_invalid_key_is_rejected_before_the_body_is_read(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock) as (served, up):
        request = post(b"", Content_Length="1000", Authorization="Bearer nobody").replace(b"Content-Length: 0\r\n", b"")
        async with served.raw(request) as (reader, _):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close" in answer
        assert up.requests == []


# -- requests ----------------------------------------------------------------------------------------------------------


async def test_only_listed_headers_are_forwarded_and_no_credential_of_the_caller(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    sent = {
        "Accept": "text/event-stream",
        "OpenAI_Beta": "assistants=v2",
        "Idempotency_Key": "stainless-1",
        "Traceparent": "00-1-2-01",
        "Anthropic_Version": "2023-06-01",
        "Anthropic_Beta": "tools-1",
        "X_Request_Id": "mine-1",
        "OpenAI_Organization": "org-callers",
        "OpenAI_Project": "proj-callers",
        "Cookie": f"session={ALICE}",
        "User_Agent": f"agent {ALICE}",
        "X_Stainless_Lang": "python",
        "X_Forwarded_For": "10.0.0.1",
        "Referer": f"http://{ALICE}",
        "Accept_Encoding": "gzip, br",
        "TE": "trailers",
        "Proxy_Authorization": f"Basic {ALICE}",
        "X_Api_Key": ALICE,
        "X_Auth_Token": ALICE,
        "Api_Key": ALICE,
        "Expect": "100-continue",
    }
    async with calling(fetch, clock) as (served, up):
        assert (await called(served, {"model": "m"}, **sent)).status_code == 200
        (request,) = up.requests
        version = request.headers["user-agent"]
        assert re.fullmatch(r"models-proxy/[0-9.]+\S*", version)
        assert request.headers == {
            "host": up.url.removeprefix("http://"),
            "accept": "text/event-stream",
            "openai-beta": "assistants=v2",
            # Two callers with the same idempotency key must not share a response.
            "idempotency-key": hashlib.sha256(b"alice stainless-1").hexdigest(),
            "traceparent": "00-1-2-01",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "tools-1",
            "x-request-id": "mine-1",
            "authorization": f"Bearer {UP}",
            "accept-encoding": "identity",
            "user-agent": version,
            "content-type": "application/json",
            "content-length": "13",
        }
        assert ALICE.encode() not in request.head + request.body


STYLES = [
    pytest.param("bearer", {"authorization": f"Bearer {UP}"}, "", id="bearer"),
    pytest.param("{{header: api-key}}", {"api-key": UP}, "", id="a custom header"),
    pytest.param("basic", {"authorization": "Basic c2stY2FuYXJ5LW9mLXRoZS1wcm92aWRlci0x"}, "", id="basic"),
    pytest.param("{{query: key}}", {}, f"?key={UP}", id="the query"),
    pytest.param("none", {}, "", id="none"),
]


@pytest.mark.parametrize(("auth", "headers", "query"), STYLES)
async def test_the_providers_credential_is_sent_in_the_configured_style(
    auth: str, headers: Mapping[str, str], query: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = """
providers: [{{name: a, base_url: "http://127.0.0.1:1", api_key: {up}, call: {{base_url: "{url}/x", auth: AUTH}}}}]
groups: {{default: {{models: ["*"], call: true}}}}
""".replace("AUTH", auth)
    async with calling(fetch, clock, config=config) as (served, up):
        answer = await called(served, {"model": "m"}, **ALICES, X_Api_Key="sk-canary-other")
        assert answer.status_code == 200
        (request,) = up.requests
        assert request.target == f"/x/chat/completions{query}"
        forwarded = {
            name: request.headers[name] for name in ("authorization", "api-key", "x-api-key") if name in request.headers
        }
        assert forwarded == headers


async def test_the_query_is_forwarded_without_what_selects_a_model_or_belongs_to_the_url(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        for path in (
            "/v1/messages?beta=true&model=n",
            "/v1/chat/completions?api-version=preview",
            "/openai/deployments/m/chat/completions?api-version=2024-10-21&x=%20",
            "/openai/responses?api-version=2024-10-21",
        ):
            await called(served, {"model": "m"}, path)
        assert [request.target for request in up.requests] == [
            "/v1/messages?beta=true",
            "/v1/chat/completions?api-version=preview",
            "/v1/chat/completions?x=%20",
            "/v1/responses",
        ]


@pytest.mark.parametrize(
    "query", ["beta=1", "beta=1&signed-by=theirs", "SIGNED-BY=theirs&beta=1", "%73igned-by=x&beta=1"]
)
async def test_the_query_does_not_replace_the_providers_credential(
    query: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = """
providers: [{{name: a, base_url: "http://127.0.0.1:1", api_key: {up}, call: {{base_url: "{url}/x", auth: AUTH}}}}]
groups: {{default: {{models: ["*"], call: true}}}}
""".replace("AUTH", "{{query: signed-by}}")
    async with calling(fetch, clock, config=config) as (served, up):
        answer = await called(served, {"model": "m"}, f"/v1/chat/completions?{query}", **ALICES)
        assert answer.status_code == 200
        assert [request.target for request in up.requests] == [f"/x/chat/completions?signed-by={UP}&beta=1"]


async def test_configured_headers_are_sent_and_callers_cannot_replace_them(fetch: FakeFetch, clock: FakeClock) -> None:
    more = "headers: {X-Team: t-1, X-Title: ours, User-Agent: us}"
    async with calling(fetch, clock, more=more) as (served, up):
        await called(served, {"model": "m"}, X_Team="theirs", X_Title="theirs", User_Agent="theirs")
        headers = up.requests[0].headers
        assert (headers["x-team"], headers["x-title"], headers["user-agent"]) == ("t-1", "ours", "us")


@pytest.mark.parametrize("name", ["OpenAI-Beta", "anthropic-beta", "Baggage", "tracestate"])
async def test_a_configured_list_is_joined_with_the_callers(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, more=f'headers: {{{name}: "ours,a"}}') as (served, up):
        for first, second in ((b"a , theirs,", b"more"), (b"a", b"ours"), (None, None)):
            lines = [(name.encode(), value) for value in (first, second) if value is not None]
            content = msgspec.json.encode({"model": "m"})
            headers = [(b"authorization", ALICES["Authorization"].encode()), *lines]
            await served.client.post(FOUR_PATHS[0], content=content, headers=headers)
        assert [request.headers[name.lower()] for request in up.requests] == [
            "ours, a, theirs, more",
            "ours, a",
            "ours,a",
        ]


async def test_forward_headers_adds_headers_in_both_directions_at_this_provider_only(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    sent = {"X-Conversation": "c-2", "X_Conversation_Id": "c-3", "X-Ray": "r-1"}
    async with calling(
        fetch, clock, replies(completion("m"), headers=sent), more="forward_headers: [X-Conv*, x_conv*, x-title]"
    ) as (served, up):
        for model in ("m", "b/p"):
            lines = [(b"x-conversation", b"c-1"), (b"x-conversation", b"c-2"), (b"x_conv", b"c"), (b"x-ray", b"r"),
                     (b"x-converted", b"caf\xe9"), (b"x-title", b"App")]  # fmt: skip
            headers = [(b"authorization", ALICES["Authorization"].encode()), *lines]
            content = msgspec.json.encode({"model": model})
            answer = await served.client.post(FOUR_PATHS[0], content=content, headers=headers)
            names = [name for name in answer.headers if name.startswith("x")]
            if model == "m":
                assert names == ["x-conversation", "x_conversation_id", "x-request-id"]
            else:
                assert names == ["x-request-id"]
        first, second = ({n: v for n, v in request.headers.items() if n.startswith("x")} for request in up.requests)
        assert {**first, "x-request-id": ""} == {
            "x-conversation": "c-1, c-2", "x_conv": "c", "x-title": "App", "x-request-id": ""
        }  # fmt: skip
        assert second.keys() == {"x-title", "x-request-id"}


async def test_a_pattern_for_all_headers_does_not_forward_private_ones(fetch: FakeFetch, clock: FakeClock) -> None:
    private = {
        **dict.fromkeys(KEY_HEADERS, ALICE),
        "authorization": f"Bearer {ALICE}",
        "Cookie": "evil",
        "X-Odd-Key": "evil",
        "Proxy-Authorization": "evil",
        "OpenAI-Organization": "evil",
        "OpenAI-Project": "evil",
        "X-Forwarded-For": "evil",
        "X_Forwarded_Host": "evil",
        "X-Original-URL": "/evil",
        "X-HTTP-Method-Override": "DELETE",
        "AzureML-Model-Deployment": "evil",
        "Accept-Encoding": "evil",
        "Idempotency-Key": "evil",
        "Idempotency_Key": "evil",
    }
    back = {
        "Set-Cookie": "evil=1",
        "WWW-Authenticate": "evil",
        "OpenAI-Organization": "evil",
        "Access-Control-Allow-Origin": "evil",
        "X-Accel-Redirect": "/evil",
        "Location": "/evil",
        "Server": "evil",
        "X-Request-Id": f"evil {UP}",
        "X-Echo": f"evil {UP}",
        "X-Ray": "r-1",
        "X-RateLimit-Limit": "5",
        "Content-Type": "application/json",
    }
    config = """
providers:
  - name: a
    base_url: "{url}/v1"
    api_key: {up}
    forward_headers: ["*"]
    headers: {{X-Team: ours}}
    call: {{base_url: "{url}/v1", auth: {{header: X-Odd-Key}}}}
keys: [{{name: alice, hash: "{alice}", models: ["*"]}}]
"""
    async with calling(fetch, clock, replies(completion("m"), headers=back), config=config) as (served, up):
        headers = {**private, "X-Team": "theirs", "User-Agent": "client/1"}
        answer = await served.client.post(FOUR_PATHS[0], json={"model": "m"}, headers=headers)
        assert answer.status_code == 200
        (request,) = up.requests
        assert b"evil" not in request.head
        assert ALICE.encode() not in request.head
        hashed = hashlib.sha256(b"alice evil").hexdigest()
        assert {name: value for name, value in request.headers.items() if name not in ("host", "content-length")} == {
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "idempotency-key": hashed,
            "user-agent": "client/1",
            "x-odd-key": UP,
            "x-request-id": answer.headers["x-request-id"],
            "x-team": "ours",
        }
        assert "evil" not in str(answer.headers)
        assert dict(answer.headers) == {
            "content-type": "application/json",
            "x-ray": "r-1",
            "x-ratelimit-limit": "5",
            "x-request-id": answer.headers["x-request-id"],
            "content-length": str(len(answer.content)),
        }


@pytest.mark.parametrize("path", ["/v1/messages", "/messages"])
async def test_anthropic_version_is_the_default_of_the_kind_or_the_clients(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = """
providers: [{{name: a, kind: anthropic, base_url: "{url}", api_key: {up}}}]
groups: {{default: {{models: ["*"], call: true}}}}
"""
    async with calling(fetch, clock, config=config) as (served, up):
        await called(served, {"model": "m"}, path)
        await called(served, {"model": "m"}, path, Anthropic_Version="2099-01-01")
        sent = [
            (request.target, request.headers["anthropic-version"], request.headers["x-api-key"])
            for request in up.requests
        ]
        assert sent == [("/v1/messages", "2023-06-01", UP), ("/v1/messages", "2099-01-01", UP)]


# -- responses ---------------------------------------------------------------------------------------------------------


async def test_only_listed_response_headers_are_relayed(fetch: FakeFetch, clock: FakeClock) -> None:
    sent = {
        "Content-Type": "application/json; charset=utf-8",
        "OpenAI-Processing-Ms": "12",
        "X-RateLimit-Remaining-Tokens": "99",
        "OpenAI-Model": ORIGINAL,
        "X-Codex-Turn-State": "t-1",
        "OpenAI-Organization": "org-canary",
        "OpenAI-Project": "proj-canary",
        "Set-Cookie": "a=b",
        "Server": "cloudflare",
        "X-Request-Id": "req_canary",
        "X-Echo": UP,
        "Strict-Transport-Security": "max-age=1",
        "Access-Control-Allow-Origin": "*",
        "Link": "<http://evil>",
        "Connection": "keep-alive",
    }
    async with calling(fetch, clock, replies(completion("m"), headers=sent)) as (served, _):
        answer = await called(served, {"model": "short"}, X_Request_Id="mine-1")
        assert dict(answer.headers) == {
            "content-type": "application/json; charset=utf-8",
            "openai-processing-ms": "12",
            "x-ratelimit-remaining-tokens": "99",
            "openai-model": "short",
            "x-codex-turn-state": "t-1",
            "x-request-id": "mine-1",
            "x-upstream-request-id": "req_canary",
            "content-length": str(len(answer.content)),
        }


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(("expose", "seen_by_bob"), [("false", None), ("true", "b")])
async def test_only_admin_keys_see_the_provider_unless_it_is_exposed(
    expose: str, seen_by_bob: str | None, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = (
        CONFIG.replace("64KiB", f"64KiB, expose_provider: {expose}")
        .replace('hash: "{alice}"', 'hash: "{alice}", admin: true')
        .replace('models: ["m"]', 'models: ["b/m"]')
    )
    script = replies(completion("m") if status == 200 else {"error": {"message": "no"}}, status)
    async with calling(fetch, clock, script, config=config) as (served, _):
        answers = [await called(served, {"model": "b/m"}, **headers) for headers in (ALICES, BOBS)]
        unknown = await called(served, {"model": "nope"})

    assert [answer.headers.get("x-served-by") for answer in answers] == ["b", seen_by_bob]
    assert "x-served-by" not in unknown.headers


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/messages/count_tokens", "/v1/responses"])
async def test_a_request_id_is_generated_and_returned_in_the_headers_of_both_apis(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock) as (served, up):
        answer = await called(served, {"model": "m"}, path, X_Request_Id="not ours")
        made = answer.headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", made)
        assert up.requests[0].headers["x-request-id"] == made
        assert answer.headers.get("request-id") == (made if "messages" in path else None)


async def test_the_model_of_a_response_becomes_the_requested_id_and_nothing_else_changes(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    payload = (
        b' {"id": "c\\u002d1",\n "model" : "a/very-long-own-id", "x": {"model":"a/very-long-own-id"}, "n": 1.00}\n'
    )
    async with calling(fetch, clock, replies(payload)) as (served, _):
        answer = await called(served, {"model": "short"})
        assert answer.content == payload.replace(b'"a/very-long-own-id", "x"', b'"short", "x"')
        assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("model", [f"{ORIGINAL}-2024-08-06", "other", "", None, 7])
async def test_a_different_model_id_in_the_response_is_unchanged(
    model: Any, fetch: FakeFetch, clock: FakeClock
) -> None:
    payload = msgspec.json.encode({"model": model, "usage": {}})
    async with calling(fetch, clock, replies(payload)) as (served, _):
        assert (await called(served, {"model": "short"})).content == payload


async def test_the_model_of_each_stream_event_becomes_the_requested_id(fetch: FakeFetch, clock: FakeClock) -> None:
    events = [
        chunk_event(ORIGINAL, "one"),
        chunk_event(f"{ORIGINAL}-2024-08-06", "two"),
        b'event: response.created\r\ndata: {"response": {"model": "a/very-long-own-id"}}\r\n\r\n',
        b": a comment of the provider\n\n",
        chunk_event(ORIGINAL, 'say "model":"a/very-long-own-id"'),
        DONE,
    ]
    async with calling(fetch, clock, streams(*events)) as (served, _):
        answer = await called(served, {"model": "short", "stream": True})
        assert answer.content == b"".join(
            [
                chunk_event("short", "one"),
                chunk_event(f"{ORIGINAL}-2024-08-06", "two"),
                b'event: response.created\r\ndata: {"response": {"model": "short"}}\r\n\r\n',
                b": a comment of the provider\n\n",
                chunk_event("short", 'say "model":"a/very-long-own-id"'),
                DONE,
            ]
        )
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"


TYPES = ["application/json", "text/plain; charset=utf-8", "application/octet-stream", "text/html", ""]
OCTETS = "application/octet-stream"


def relayed(kind: str) -> str:
    """The type with which a response is relayed."""
    return OCTETS if kind in ("text/html", "") else kind


@pytest.mark.parametrize("kind", [*TYPES, "text/event-stream; charset=utf-8"])
async def test_events_are_streamed_renamed_and_kept_alive_under_any_type(
    kind: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type=kind)
        await exchange.chunk(b"\xef\xbb\xbf" + chunk_event(ORIGINAL, "one"))
        await go_on.wait()
        await exchange.chunk(DONE)
        await exchange.end()

    config = CONFIG.replace("max_request: 64KiB", "sse_keepalive: 20ms")
    async with (
        calling(fetch, clock, script, config=config) as (served, _),
        served.client.stream("POST", FOUR_PATHS[0], json={"model": "short"}, headers=ALICES) as answer,
    ):
        body = answer.aiter_raw()
        assert await anext(body) == b"\xef\xbb\xbf" + chunk_event("short", "one")
        assert await anext(body) == b": keep-alive\n\n"
        go_on.set()
        assert b"".join([part async for part in body]).endswith(DONE)
        assert answer.headers["content-type"] == relayed(kind)
        assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n", b"\xef\xbb\xbf\n\n"], ids=repr)
@pytest.mark.parametrize("kind", TYPES)
async def test_json_is_renamed_under_any_type(kind: str, before: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    payload = before + msgspec.json.encode(completion(ORIGINAL))
    async with calling(fetch, clock, replies(payload, headers={"Content-Type": kind})) as (served, _):
        answer = await called(served, {"model": "short"})
        assert answer.content == payload.replace(ORIGINAL.encode(), b"short")
        assert answer.headers["content-type"] == relayed(kind)
        assert answer.headers["content-length"] == str(len(answer.content))
        assert [counts.output_tokens for _, counts in served.attempts] == [5]


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b'"own-id"', b"17", b" 1.5e3 ", b"null", b"-1", b"hello", b"\xef\xbb\xbf", b"\xff\x00", b"[]",
     b'[{"model":"a/very-long-own-id"}]', b"d", b"{}\n# a comment", b"<xml/>", b"[music] hello", b"<"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("kind", TYPES)
async def test_other_content_is_relayed_byte_for_byte(
    kind: str, body: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(body, headers={"Content-Type": kind})) as (served, _):
        for _ in range(6):  # five failures open the circuit breaker
            answer = await called(served, {"model": "short"})
            assert (answer.status_code, answer.content) == (200, body)
        assert [counts.outcomes for _, counts in served.attempts] == [{"ok": 6}]


async def test_blank_lines_before_json_are_sent_as_they_arrive(fetch: FakeFetch, clock: FakeClock) -> None:
    go_on = asyncio.Semaphore(0)
    payload = msgspec.json.encode(completion(ORIGINAL))

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="application/json")
        for part in (b"\n", b" \n", payload[:40], payload[40:]):
            await exchange.chunk(part)
            await go_on.acquire()
        await exchange.end()

    async with (
        calling(fetch, clock, script) as (served, _),
        served.client.stream("POST", FOUR_PATHS[0], json={"model": "short"}, headers=ALICES) as answer,
    ):
        body = answer.aiter_raw()
        for blank in (b"\n", b" \n"):
            assert await anext(body) == blank
            go_on.release()
        for _ in range(2):
            go_on.release()
        assert b"".join([part async for part in body]) == payload.replace(ORIGINAL.encode(), b"short")
    assert [counts.output_tokens for _, counts in served.attempts] == [5]


async def test_events_after_blank_lines_are_renamed(fetch: FakeFetch, clock: FakeClock) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="")
        await exchange.chunk(b"\n")
        await asyncio.sleep(0.05)
        await exchange.chunk(chunk_event(ORIGINAL, "one") + DONE)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        assert (await called(served, {"model": "short"})).content == b"\n" + chunk_event("short", "one") + DONE


async def test_an_interruption_after_blank_lines_closes_the_clients_connection(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="application/json")
        await exchange.chunk(b"\n")
        await asyncio.sleep(0.05)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await called(served, {"model": "short"})
        assert [counts.outcomes for _, counts in served.attempts] == [{"interrupted": 1}]


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json", ""])
async def test_each_line_of_json_lines_is_renamed_and_sent_as_it_arrives(
    kind: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    go_on = asyncio.Semaphore(0)

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type=kind)
        for number in range(3):
            await exchange.chunk(b'{"model":"a/very-long-own-id","n":%d}\n' % number)
            await go_on.acquire()
        await exchange.end()

    async with (
        calling(fetch, clock, script) as (served, _),
        served.client.stream("POST", FOUR_PATHS[0], json={"model": "short"}, headers=ALICES) as answer,
    ):
        body = answer.aiter_raw()
        for number in range(3):
            assert await anext(body) == b'{"model":"short","n":%d}\n' % number
            go_on.release()
        assert [part async for part in body] == []


async def test_audio_is_relayed_unchanged_with_its_length(fetch: FakeFetch, clock: FakeClock) -> None:
    sound = bytes(range(256)) * 1000
    lines = {"Content-Type": "audio/mpeg", "Content-Disposition": 'attachment; filename="a.mp3"'}
    async with calling(fetch, clock, replies(sound, headers=lines)) as (served, _):
        answer = await called(served, {"model": "m"}, "/v1/audio/speech")
        assert answer.content == sound
        assert answer.headers["content-length"] == str(len(sound))
        assert answer.headers["content-disposition"] == 'attachment; filename="a.mp3"'


@pytest.mark.parametrize("own", [ORIGINAL, "m"], ids=["renamed", "unchanged"])
async def test_a_response_too_long_to_buffer_is_streamed(own: str, fetch: FakeFetch, clock: FakeClock) -> None:
    requested = "short" if own == ORIGINAL else own
    begin, image = b'{"data":[{"b64_json":"', b"A" * (33 * 1024**2)
    end = b'"}],"model":"%b","usage":{"input_tokens":7}}'
    payload = begin + image + end % own.encode()
    async with calling(fetch, clock, replies(payload)) as (served, _):
        answer = await called(served, {"model": requested}, "/v1/images/generations")
        assert answer.content == begin + image + end % requested.encode()
        assert answer.headers.get("content-length") == (None if requested == "short" else str(len(payload)))
        assert [counts.input_tokens for _, counts in served.attempts] == [7]


async def test_an_unrequested_gzip_response_is_decompressed(fetch: FakeFetch, clock: FakeClock) -> None:
    lines = {"Content-Encoding": "gzip"}
    plain = msgspec.json.encode(completion(ORIGINAL, "x" * 200_000))
    async with calling(fetch, clock, replies(gzip.compress(plain), headers=lines)) as (served, _):
        answer = await called(served, {"model": "short"})
        assert answer.content == plain.replace(b"a/very-long-own-id", b"short")
        assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("coding", ["UTF-8", "none", "aws-chunked", "gzip", "X-Gzip"])
async def test_a_response_that_is_not_compressed_is_relayed_whatever_its_content_encoding_says(
    coding: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async def streamed(exchange: Exchange) -> None:
        await exchange.stream(**{"Content-Encoding": coding})
        await exchange.chunk(chunk_event(ORIGINAL, "x"))
        await exchange.chunk(DONE)
        await exchange.end()

    plain = msgspec.json.encode(completion(ORIGINAL, "x"))
    renamed = ORIGINAL.encode(), b"short"
    for script, wanted in (
        (replies(plain, headers={"Content-Encoding": coding}), plain.replace(*renamed)),
        (streamed, (chunk_event(ORIGINAL, "x") + DONE).replace(*renamed)),
    ):
        async with calling(fetch, clock, script) as (served, _):
            answer = await called(served, {"model": "short"})
            assert (answer.status_code, answer.content) == (200, wanted)
            assert "content-encoding" not in answer.headers


async def test_a_response_of_several_gzip_members_is_decompressed(fetch: FakeFetch, clock: FakeClock) -> None:
    plain = msgspec.json.encode(completion("m", "x"))
    body = gzip.compress(plain[:40]) + gzip.compress(plain[40:])
    async with calling(fetch, clock, replies(body, headers={"Content-Encoding": "gzip"})) as (served, _):
        assert (await called(served, {"model": "m"})).content == plain


async def test_a_response_shorter_than_its_content_length_closes_the_clients_connection(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def cut_off(exchange: Exchange) -> None:
        await exchange.send(response_head(200, {"Content-Type": "audio/mpeg", "Content-Length": "1000"}) + b"x" * 10)
        exchange.keep = False

    async with calling(fetch, clock, cut_off) as (served, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await called(served, {"model": "m"}, "/v1/audio/speech")


async def test_a_call_of_another_spelling_is_sent_with_the_first_one(fetch: FakeFetch, clock: FakeClock) -> None:
    config = "merge: {{ignore_case: true}}" + CONFIG
    async with calling(fetch, clock, more="models: [M]", config=config) as (served, up):
        for spelling in ("M", "m"):
            response = await called(served, {"model": spelling, "messages": []})
            assert (response.status_code, msgspec.json.decode(up.requests[-1].body)["model"]) == (200, "M")

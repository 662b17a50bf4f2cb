"""The real `openai` and `anthropic` clients, with a new base_url, and two providers that record their requests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest
from openai.types.responses import ResponseCompletedEvent, ResponseCreatedEvent

from tests import processes
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving, until
from tests.paths import ROOT
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies

pytestmark = pytest.mark.anyio

KEY, UP, CLAUDES = "sk-canary-alice", "sk-canary-of-openai", "sk-canary-of-anthropic"
README = ROOT / "README.md"
OWN = "own/gpt-x"
"""The provider's id of the model `gpt-x`."""

CONFIG = """
providers:
  - {{name: oa, base_url: "{oa}/v1", api_key: {up}, aliases: {{gpt-x: own/gpt-x}}}}
  - {{name: claude, kind: anthropic, base_url: "{claude}", api_key: {claudes}, prefix: "claude/"}}
keys:
  - {{name: alice, hash: "{key}", models: ["*"]}}
"""

MESSAGES: list[Any] = [{"role": "user", "content": "café 中 \U0001f600"}]


@dataclass
class Clients:
    """Clients of the proxy, and its two providers."""

    served: Served
    oa: FakeProvider
    claude: FakeProvider
    sync: openai.OpenAI
    aio: openai.AsyncOpenAI
    messages: anthropic.Anthropic
    aio_messages: anthropic.AsyncAnthropic

    def with_retries(self, retries: int) -> openai.AsyncOpenAI:
        return self.aio.with_options(max_retries=retries)


@asynccontextmanager
async def clients(fetch: FakeFetch, clock: FakeClock, script: Script, server: str = "{}") -> AsyncIterator[Clients]:
    """`script`: the responses of both providers; `server`: settings."""
    fetch.lists("oa", OWN, "plain")
    fetch.lists("claude", "claude-x")
    async with fake_provider(script) as oa, fake_provider(script) as claude:
        text = CONFIG.format(oa=oa.url, claude=claude.url, up=UP, claudes=CLAUDES, key=digest(KEY))
        config = config_of(f"{text}server: {server}\n")
        async with serving(config, fetch, clock) as served:
            base = f"{served.url}/v1"
            direct = {"trust_env": False, "timeout": 10}
            sync = openai.OpenAI(base_url=base, api_key=KEY, max_retries=0, http_client=httpx.Client(**direct))  # type: ignore[arg-type]
            aio = openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=30)
            messages = anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0, timeout=30)
            aio_messages = anthropic.AsyncAnthropic(base_url=served.url, api_key=KEY, max_retries=0, timeout=30)
            try:
                yield Clients(served, oa, claude, sync, aio, messages, aio_messages)
            finally:
                sync.close()
                messages.close()
                await aio.close()
                await aio_messages.close()


async def sent_directly(script: Script, ask: Any) -> bytes:
    """The body that a client sends without the proxy."""
    async with fake_provider(script) as provider:
        client = openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="direct", max_retries=0)
        async with client:
            await ask(client)
        return provider.requests[0].body


# -- the openai package ------------------------------------------------------------------------------------------------


async def test_an_openai_chat_call_needs_only_a_new_base_url(fetch: FakeFetch, clock: FakeClock) -> None:
    async with clients(fetch, clock, replies(completion(OWN))) as c:
        answer = await asyncio.to_thread(c.sync.chat.completions.create, model="gpt-x", messages=MESSAGES)
        assert answer.choices[0].message.content == "hello"
        assert answer.model == "gpt-x"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 8
        assert (await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES)) == answer
        for request in c.oa.requests:
            assert request.headers["authorization"] == f"Bearer {UP}"
            assert KEY.encode() not in request.head + request.body


@pytest.mark.parametrize("stream", [False, True])
async def test_the_body_is_forwarded_unchanged_except_for_the_model(
    stream: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = streams(DONE) if stream else replies(completion(OWN))

    async def ask(client: openai.AsyncOpenAI) -> None:
        await client.chat.completions.create(
            model="gpt-x", messages=MESSAGES, temperature=0.1, stream=stream, extra_body={"top_k": 5}
        )

    async with clients(fetch, clock, script) as c:
        await ask(c.aio)
        direct = await sent_directly(script, ask)
        assert c.oa.requests[0].body == direct.replace(b'"gpt-x"', b'"own/gpt-x"')


async def test_streamed_chunks_are_relayed_as_they_arrive(fetch: FakeFetch, clock: FakeClock) -> None:
    go_on = asyncio.Semaphore(0)

    async def step_by_step(exchange: Exchange) -> None:
        await exchange.stream()
        for word in ("one", "two", "three"):
            await go_on.acquire()
            await exchange.chunk(chunk_event(OWN, word))
        await exchange.chunk(DONE)
        await exchange.end()

    async with clients(fetch, clock, step_by_step) as c:
        go_on.release()  # the head arrives with the first output
        pieces = await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)
        for word in ("one", "two", "three"):
            got = await asyncio.wait_for(anext(pieces), 5)
            assert (got.model, got.choices[0].delta.content) == ("gpt-x", word)
            go_on.release()
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_a_streamed_chat_call_works_with_the_synchronous_client(fetch: FakeFetch, clock: FakeClock) -> None:
    def ask(client: openai.OpenAI) -> list[tuple[str, str | None]]:
        with client.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True) as pieces:
            return [(piece.model, piece.choices[0].delta.content) for piece in pieces]

    async with clients(fetch, clock, streams(chunk_event(OWN, "one"), chunk_event(OWN, "two"), DONE)) as c:
        assert await asyncio.to_thread(ask, c.sync) == [("gpt-x", "one"), ("gpt-x", "two")]


async def test_raw_responses_have_the_request_id_that_the_provider_received(fetch: FakeFetch, clock: FakeClock) -> None:
    async with clients(fetch, clock, replies(completion(OWN), headers={"OpenAI-Processing-Ms": "5"})) as c:
        raw = await c.aio.chat.completions.with_raw_response.create(model="gpt-x", messages=MESSAGES)
        assert raw.request_id == c.oa.requests[0].headers["x-request-id"]
        assert raw.headers["openai-processing-ms"] == "5"
        assert raw.parse().model == "gpt-x"


async def test_embeddings_are_returned(fetch: FakeFetch, clock: FakeClock) -> None:
    # The client requests base64 by default, and decodes it.
    data = [{"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}]
    payload = {"object": "list", "model": OWN, "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    async with clients(fetch, clock, replies(payload)) as c:
        answer = await c.aio.embeddings.create(model="gpt-x", input=["one"])
        assert (answer.model, answer.data[0].embedding) == ("gpt-x", [1.0, 2.0])
        assert c.oa.requests[0].json == {"input": ["one"], "model": OWN, "encoding_format": "base64"}


@pytest.mark.parametrize("deployment", [None, "gpt-x"])
async def test_the_azure_client_calls_models_as_deployments(
    deployment: str | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, replies(completion(OWN))) as c:
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=c.served.url,
            azure_deployment=deployment,
            api_key=KEY,
            api_version="2024-10-21",
            max_retries=0,
        )
        async with azure:
            answer = await azure.chat.completions.create(model="gpt-x", messages=MESSAGES)
            listed = await azure.models.list()
    assert (answer.model, answer.choices[0].message.content) == ("gpt-x", "hello")
    assert [model.id for model in listed.data] == ["claude/claude-x", "gpt-x", "plain"]
    assert [request.target for request in c.oa.requests] == ["/v1/chat/completions"]


async def test_an_audio_file_is_forwarded_unchanged(fetch: FakeFetch, clock: FakeClock) -> None:
    sound = os.urandom(2_000_000)
    async with clients(fetch, clock, replies({"text": "hello"})) as c:
        answer = await c.aio.audio.transcriptions.create(
            model="gpt-x", file=("a.wav", sound, "audio/wav"), language="en", timestamp_granularities=["word"]
        )
        assert answer.text == "hello"
        (request,) = c.oa.requests
        assert request.target == "/v1/audio/transcriptions"
        boundary = request.headers["content-type"].removeprefix('multipart/form-data; boundary="').removesuffix('"')
        parts = request.body.split(b"--" + boundary.encode())
        assert parts[0] == b""
        assert parts[-1] == b"--\r\n"
        fields = [part.partition(b"\r\n\r\n") for part in parts[1:-1]]
        assert {content.removesuffix(b"\r\n") for _, _, content in fields} == {OWN.encode(), b"en", b"word", sound}


async def test_speech_is_relayed_unchanged(fetch: FakeFetch, clock: FakeClock) -> None:
    sound = os.urandom(500_000)
    async with clients(fetch, clock, replies(sound, headers={"Content-Type": "audio/mpeg"})) as c:
        answer = await c.aio.audio.speech.create(model="gpt-x", voice="alloy", input="hello")
        assert answer.content == sound


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": OWN,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}


def event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **fields}) + b"\n\n"


async def test_the_responses_api_works_with_and_without_streaming(fetch: FakeFetch, clock: FakeClock) -> None:
    events = streams(
        event("response.created", sequence_number=0, response={**RESPONSE, "output": []}),
        event(
            "response.output_text.delta",
            sequence_number=1,
            item_id="msg_1",
            output_index=0,
            content_index=0,
            delta="hello",
            logprobs=[],
        ),
        event("response.completed", sequence_number=2, response=RESPONSE),
    )
    async with clients(fetch, clock, in_sequence(replies(RESPONSE), events)) as c:
        answer = await c.aio.responses.create(model="gpt-x", input="hello")
        assert (answer.model, answer.output_text) == ("gpt-x", "hello")
        seen = [event async for event in await c.aio.responses.create(model="gpt-x", input="hello", stream=True)]
        assert [event.type for event in seen] == [
            "response.created",
            "response.output_text.delta",
            "response.completed",
        ]
        whole = [event for event in seen if isinstance(event, ResponseCreatedEvent | ResponseCompletedEvent)]
        assert [event.response.model for event in whole] == ["gpt-x", "gpt-x"]
        ((_, counts),) = c.served.attempts
        assert (counts.input_tokens, counts.output_tokens) == (6, 10)


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [("nope", openai.NotFoundError, "model_not_found"), ("", openai.BadRequestError, "invalid_request")],
)
async def test_the_proxys_errors_raise_the_clients_exceptions(
    model: str, error: type[openai.APIStatusError], code: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, replies({})) as c:
        with pytest.raises(error) as caught:
            await c.aio.chat.completions.create(model=model, messages=MESSAGES)
        assert (caught.value.code, caught.value.param) == (code, "model")
        assert caught.value.request_id
        with pytest.raises(openai.AuthenticationError):
            await c.aio.with_options(api_key="nobody").chat.completions.create(model="gpt-x", messages=MESSAGES)


@pytest.mark.parametrize(
    ("status", "error", "attempts"),
    [
        (400, openai.BadRequestError, 1),
        (413, openai.APIStatusError, 1),
        (422, openai.UnprocessableEntityError, 1),
        (401, openai.InternalServerError, 1),
        (403, openai.InternalServerError, 1),
        (402, openai.InternalServerError, 1),
        (404, openai.NotFoundError, 1),
        (409, openai.ConflictError, 3),
        (424, openai.APIStatusError, 3),
        (302, openai.InternalServerError, 1),
        (429, openai.RateLimitError, 3),
        (500, openai.InternalServerError, 3),
        (504, openai.InternalServerError, 3),
    ],
)
async def test_the_client_retries_only_retryable_errors(
    status: int, error: type[openai.APIError], attempts: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, replies({"error": {"message": "no"}}, status)) as c:
        impatient = c.with_retries(2)
        # By default the client waits at least half a second between attempts; `x-should-retry` takes precedence.
        impatient._calculate_retry_timeout = lambda *args, **named: 0.0  # type: ignore[method-assign]
        with pytest.raises(error):
            await impatient.chat.completions.create(model="gpt-x", messages=MESSAGES)
        assert len(c.oa.requests) == attempts


FLAGGED = {"error": {"code": 403, "message": "input flagged", "metadata": {"reasons": ["violence"]}}}


@pytest.mark.parametrize(
    ("body", "status", "error", "words"),
    [
        ([{"error": {"code": 400, "message": "Cannot find field."}}], 400, openai.BadRequestError, "Cannot find field"),
        (b"Input validation error", 422, openai.UnprocessableEntityError, "Input validation error"),
        ({"error": {"message": f"no model `{OWN}`"}}, 404, openai.NotFoundError, "no model `gpt-x`"),
        (b'data: {"error":{"message":"slow down"}}\n\n', 429, openai.RateLimitError, "slow down"),
        (FLAGGED, 403, openai.PermissionDeniedError, "input flagged"),
        ({"error": {"code": 400, "message": "too long"}}, 200, openai.BadRequestError, "too long"),
    ],
)
async def test_the_clients_exception_has_the_providers_message(
    body: object, status: int, error: type[openai.APIStatusError], words: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, replies(body, status, {"x-request-id": "req_up"})) as c:
        with pytest.raises(error, match=words) as caught:
            await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES)
        assert caught.value.response.headers["x-upstream-request-id"] == "req_up"


async def test_an_interrupted_stream_raises_an_error_in_the_client(fetch: FakeFetch, clock: FakeClock) -> None:
    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event(OWN, "one"))
        await exchange.chunk(b'data: {"id":"half a li')
        exchange.reset()

    async with clients(fetch, clock, interrupts) as c:
        pieces = await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)
        assert (await anext(pieces)).choices[0].delta.content == "one"
        with pytest.raises(openai.APIError, match="closed the connection mid-response") as caught:
            await anext(pieces)
        assert caught.value.code == "provider_failed"


async def test_an_interrupted_stream_of_responses_raises_an_error_in_the_client(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(event("response.created", sequence_number=0, response={**RESPONSE, "output": []}))
        exchange.reset()

    async with clients(fetch, clock, interrupts) as c:
        events = await c.aio.responses.create(model="gpt-x", input="hello", stream=True)
        assert (await anext(events)).type == "response.created"
        with pytest.raises(openai.APIError, match="closed the connection mid-response") as caught:
            await anext(events)
        assert caught.value.code == "provider_failed"


async def test_closing_a_stream_closes_the_providers_connection(fetch: FakeFetch, clock: FakeClock) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(chunk_event(OWN, "one"))
        await exchange.closed()

    async with clients(fetch, clock, endless) as c:
        pieces = await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)
        await anext(pieces)
        await pieces.close()
        await until(lambda: c.oa.open == 0, 1)


# -- refusals before the first output ----------------------------------------------------------------------------------

LIMITED = {"error": {"message": "slow down", "code": "own"}}
QUICK = "{sse_keepalive: 20ms}"
"""Comments are sent after 40 ms without a response."""


async def refuses_late(exchange: Exchange) -> None:
    await asyncio.sleep(0.2)
    await replies(LIMITED, 429)(exchange)


async def test_a_rejection_after_comments_raises_an_api_error_with_its_status(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, refuses_late, QUICK) as c:
        pieces = await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="slow down") as caught:
            await anext(pieces)
        events = await c.aio.responses.create(model="gpt-x", input="hello", stream=True)
        with pytest.raises(openai.APIError, match="slow down") as of_responses:
            await anext(events)
        for error in (caught.value, of_responses.value):
            assert type(error) is openai.APIError
            assert isinstance(error.body, dict)
            assert (error.code, error.body["status"]) == ("own", 429)
        stream = await c.aio_messages.messages.create(**ASKED, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="slow down") as of_messages:
            await anext(stream)
        assert isinstance(of_messages.value.body, dict)
        assert of_messages.value.body["error"] == {"type": "rate_limit_error", "message": "slow down", "status": 429}


async def test_an_error_as_the_first_event_raises_the_exception_of_its_status(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    busy = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    async with clients(fetch, clock, streams(STARTED, busy)) as c:
        with pytest.raises(anthropic.InternalServerError) as overloaded:
            await c.aio_messages.messages.create(**ASKED, stream=True)
        assert overloaded.value.status_code == 503
    limited = streams(b"data: %b\n\n" % msgspec.json.encode({"error": {"message": "slow down", "code": 429}}))
    async with clients(fetch, clock, limited) as c:
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await c.aio.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)


# -- the anthropic package ---------------------------------------------------------------------------------------------

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
ASKED: dict[str, Any] = {"model": "claude/claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
STARTED = event("message_start", message={**MESSAGE, "content": [], "stop_reason": None})
TEXT = [
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"}),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
]


async def test_the_anthropic_client_creates_messages(fetch: FakeFetch, clock: FakeClock) -> None:
    async with clients(fetch, clock, replies(MESSAGE)) as c:
        answer = await asyncio.to_thread(lambda: c.messages.messages.create(**ASKED))
        assert (answer.model, answer.content[0].type) == ("claude/claude-x", "text")
        assert answer._request_id == c.claude.requests[0].headers["x-request-id"]
        assert (await c.aio_messages.messages.create(**ASKED)).content == answer.content
        for request in c.claude.requests:
            assert (request.target, request.headers["x-api-key"]) == ("/v1/messages", CLAUDES)
            assert request.headers["anthropic-version"] == c.messages.default_headers["anthropic-version"]
            assert request.json == {**ASKED, "model": "claude-x"}
            assert KEY.encode() not in request.head + request.body


async def test_the_anthropic_client_streams_messages(fetch: FakeFetch, clock: FakeClock) -> None:
    async with clients(fetch, clock, streams(STARTED, *TEXT, event("message_stop"))) as c:
        async with c.aio_messages.messages.stream(**ASKED) as stream:
            assert "".join([text async for text in stream.text_stream]) == "hello"
            final = await stream.get_final_message()
        assert (final.model, final.usage.output_tokens) == ("claude/claude-x", 5)
        ((_, counts),) = c.served.attempts
        assert (counts.input_tokens, counts.output_tokens) == (3, 5)


async def test_interrupted_streams_and_errors_raise_in_the_anthropic_client(fetch: FakeFetch, clock: FakeClock) -> None:
    async def interrupts(exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(STARTED)
        exchange.reset()

    async with clients(fetch, clock, interrupts) as c:
        async with c.aio_messages.messages.stream(**ASKED) as stream:
            with pytest.raises(anthropic.APIStatusError, match="closed the connection mid-response"):
                await stream.get_final_message()
        with pytest.raises(anthropic.NotFoundError, match="does not exist") as caught:
            await c.aio_messages.messages.create(**{**ASKED, "model": "nope"})
        assert caught.value.request_id
        with pytest.raises(anthropic.AuthenticationError):
            await c.aio_messages.with_options(api_key="nobody").messages.create(**ASKED)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("Input validation error", 400, anthropic.BadRequestError),
        (b"Input validation error", 409, anthropic.ConflictError),
        ([{"error": {"message": "Input validation error"}}], 404, anthropic.NotFoundError),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "Input validation error"}}, 200,
         anthropic.RateLimitError),
    ],
)  # fmt: skip
async def test_the_anthropic_clients_exception_has_the_providers_message(
    body: object, status: int, error: type[anthropic.APIStatusError], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with clients(fetch, clock, replies(body, status)) as c:
        with pytest.raises(error) as caught:
            await c.aio_messages.with_options(max_retries=0).messages.create(**ASKED)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"]["message"] == "Input validation error"


# -- the process, on uvloop --------------------------------------------------------------------------------------------


async def test_the_process_forwards_calls_and_cancels_them_on_disconnect(tmp_path: Path) -> None:
    listing = replies({"data": [{"id": OWN}]})

    async def script(exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await listing(exchange)
        elif exchange.request.json.get("stream"):
            await exchange.stream()
            await exchange.chunk(chunk_event(OWN, "one"))
            await exchange.closed()
        else:
            await replies(completion(OWN, "x" * 100_000))(exchange)

    async with fake_provider(script) as provider:
        text = f"""
providers: [{{name: oa, base_url: "{provider.url}/v1", api_key: "${{UP}}", aliases: {{gpt-x: {OWN}}}}}]
keys: [{{name: alice, key: "${{KEY}}", models: ["*"]}}]
"""
        with processes.serving(tmp_path / "config.yaml", text, env={"UP": UP, "KEY": KEY}) as process:
            url = await asyncio.to_thread(lambda: process.url)
            async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=30) as client:
                assert [model.id async for model in client.models.list()] == ["gpt-x"]
                answer = await client.chat.completions.create(model="gpt-x", messages=MESSAGES)
                assert answer.choices[0].message.content == "x" * 100_000
                await until(lambda: provider.open <= 1)
                before = provider.open
                streams_begun = [
                    await client.chat.completions.create(model="gpt-x", messages=MESSAGES, stream=True)
                    for _ in range(20)
                ]
                for pieces in streams_begun:
                    assert (await anext(pieces)).model == "gpt-x"
                assert provider.open >= 20
                for pieces in streams_begun:
                    await pieces.close()
                await until(lambda: provider.open <= before, 1)
            await asyncio.to_thread(process.stop)
            output = "\n".join([*process.out, *process.err])
            assert "canary" not in output
            assert "Traceback" not in output

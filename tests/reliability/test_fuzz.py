"""Random heads, bodies, forms and events, and mutated real ones. The long form of the run sets `FUZZ_EXAMPLES`."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.inference.request.body import Body
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.opening import Opening
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
KEY = "sk-fake-alice"
BOUNDARY = b"XyZ"
many = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

LINES = [
    b"GET /v1/models HTTP/1.1\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\n",
    b"HEAD /v1/models/m HTTP/1.0\r\n",
    b"GET http://evil.example/v1/models HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"Host: evil.example\r\n",
    b"Authorization: Bearer " + KEY.encode() + b"\r\n",
    b"x-api-key: sk-fake-other\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: close\r\n",
    b" folded\r\n",
    b"\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"{}x",
    b"\0",
    b"\n",
]
JSON_PARTS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"model"', b'"m"', b'"messages"', b'"tools"', b'"file_id"', b'"type"',
    b'"previous_response_id"', b'"\\u006dodel"', b"null", b"true", b"1e999", b'"\\ud800"', b" ", b"\xff",
    b'"extra_body"',
]  # fmt: skip
FORM_PARTS = [
    b"--XyZ\r\n", b"--XyZ--\r\n", b"--XyZ", b"\r\n", b"\n", b'Content-Disposition: form-data; name="model"\r\n',
    b"Content-Disposition: form-data; name=model; name=file\r\n", b"Content-Type: text/plain; charset=utf-7\r\n",
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n', b"m", b"Content-Transfer-Encoding: base64\r\n",
]  # fmt: skip
EVENT_PARTS = [
    b"data: ", b"data:", b"event: error", b"\n", b"\r", b"\r\n", b"\n\n", b": comment", b"[DONE]", b"\xef\xbb\xbf",
    b'{"model":"own","choices":[{"delta":{"content":"a"}}]}', b'{"error":{"message":"no"}}', b"{}",
    b'{"type":"response.created"}',
    b'{"usage":{"prompt_tokens":1}}', b'{"model":', b'"own"}', b"\xff", b"id: 1", b"retry: 5",
]  # fmt: skip


def texts(parts: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Texts of these parts and of random bytes."""
    return st.lists(st.one_of(st.sampled_from(parts), st.binary(max_size=12)), max_size=24).map(b"".join)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A proxy in a thread, because each example is synchronous."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Callable[[], object]) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine(), loop).result(30)  # type: ignore[arg-type]

    fetch, stack = FakeFetch(), AsyncExitStack()
    fetch.lists("a", "m")
    text = f"""
providers: [{{name: a, base_url: "http://127.0.0.1:9/v1"}}]
keys: [{{name: alice, hash: "{digest(KEY)}", models: [m]}}]
"""

    async def start() -> Served:
        return await stack.enter_async_context(serving(config_of(text), fetch, FakeClock()))

    running = run(start)
    assert isinstance(running, Served)
    yield running
    run(stack.aclose)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def received(port: int, data: bytes) -> bytes:
    """All that the proxy sends for these bytes, after which the client sends nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := client.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass  # the proxy closed the connection before it had read everything
    return b"".join(parts)


@pytest.mark.usefixtures("own_protocol")
@many
@given(data=texts(LINES))
def test_any_bytes_get_only_responses_of_this_proxy_and_never_an_internal_error(served: Served, data: bytes) -> None:
    replies = received(served.port, data)

    statuses = [int(status) for status in re.findall(rb"(?:\A|\r\n\r\n|[}\]])HTTP/1\.1 (\d{3}) ", replies)]
    assert not any(status == 500 for status in statuses)
    assert len(statuses) <= len(re.findall(rb"[A-Z]+ ", data)) + 1
    assert b"sk-fake" not in replies


@pytest.mark.usefixtures("own_protocol")
def test_after_all_of_them_the_next_client_gets_its_list(served: Served) -> None:
    request = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"

    assert b'"id":"m"' in received(served.port, request.encode())


def read(make: Callable[[], Body]) -> None:
    """A body is read, and the provider's ids can be written into it, or it is rejected."""
    with suppress(BadRequest):
        body = make()
        body.with_ids(dict.fromkeys(body.models, "own"))


@many
@given(body=texts(JSON_PARTS))
def test_any_json_body_is_read_or_rejected(body: bytes) -> None:
    read(lambda: JsonBody(body))
    read(lambda: JsonBody(b'{"model":"m",' + body))


@many
@given(body=texts(FORM_PARTS))
def test_any_form_is_read_or_rejected(body: bytes) -> None:
    content_type = b"multipart/form-data; boundary=" + BOUNDARY
    read(lambda: FormBody(body, content_type))
    read(lambda: FormBody(b"--XyZ\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n" + body, content_type))


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(each for each in at if each < len(stream))})
    return [stream[start:end] for start, end in pairwise(edges)]


@many
@given(stream=texts(EVENT_PARTS), at=st.lists(st.integers(0, 300), max_size=8))
def test_any_stream_is_relayed_byte_for_byte_if_nothing_is_renamed(stream: bytes, at: list[int]) -> None:
    renamer = EventStreamRenamer("own", "own")

    sent = b"".join(map(renamer.feed, cut(stream, at))) + renamer.rest()

    assert sent == stream
    assert renamer.end.next_number >= 0


@many
@given(stream=texts(EVENT_PARTS), at=st.lists(st.integers(0, 300), max_size=8))
def test_no_byte_of_the_beginning_of_any_stream_is_lost(stream: bytes, at: list[int]) -> None:
    opening = Opening()
    comments = b""
    pieces = cut(stream, at)
    while pieces and opening.kind == "lead_in":
        comments += opening.feed(pieces.pop(0))

    assert sorted(comments + opening.release() + b"".join(pieces)) == sorted(stream)

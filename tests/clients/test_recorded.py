"""Requests of clients that the gate does not run: Open WebUI and Cursor.

Open WebUI 0.12.4 ran with the README's lines against the proxy, without its optional libraries for local models (with
them, it has several GB); these are the requests that it sent. Cursor is a closed program whose requests come
from its own servers: these are as its users and other gateways report them.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tests.clients.apis import EMBEDDING, GPT, LISTED
from tests.clients.running import KEY, UPSTREAM_KEY, Setup
from tests.docs.pages import DOCS, lines_to_paste, text_of

OPEN_WEBUI = {
    "Authorization": f"Bearer {KEY}",
    "X-OpenWebUI-Auth-Type": "jwt",
    "X-OpenWebUI-User-Name": "User",
    "X-OpenWebUI-User-Id": "1bb41499-c706-4ca3-9bbb-82202e453042",
    "X-OpenWebUI-User-Email": "admin@localhost",
    "X-OpenWebUI-User-Role": "admin",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br",
    "User-Agent": "Python/3.11 aiohttp/3.14.5",
}
"""With `ENABLE_FORWARD_USER_INFO_HEADERS`; without it, those that begin with `X-` are missing."""
CURSOR = {"Authorization": f"Bearer {KEY}", "User-Agent": "Go-http-client/2.0", "Accept-Encoding": "gzip"}
HELLO = [{"role": "user", "content": "Hello"}]


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def send(proxy: Setup, headers: Mapping[str, str], path: str, payload: object = None) -> Reply:
    """The response to a request with exactly these headers, uncompressed."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    body = None if payload is None else msgspec.json.encode(payload)
    sent = {**headers, "Accept-Encoding": "identity", **({"Content-Type": "application/json"} if body else {})}
    connection.request("POST" if body else "GET", path, body, sent)
    with connection.getresponse() as response:
        reply = Reply(response.status, response.headers["content-type"], response.read())
    connection.close()
    return reply


def test_open_webui_lists_calls_streams_and_embeds(proxy: Setup) -> None:
    call = {"model": GPT, "messages": HELLO}

    listed = send(proxy, OPEN_WEBUI, "/v1/models")
    assert [model["id"] for model in listed.json["data"]] == LISTED
    answered = send(proxy, OPEN_WEBUI, "/v1/chat/completions", {**call, "stream": False})
    assert answered.json["choices"][0]["message"]["content"] == "hello"
    streamed = send(proxy, OPEN_WEBUI, "/v1/chat/completions", {**call, "stream": True})
    # It decides by this header whether it relays a stream.
    assert "text/event-stream" in streamed.content_type
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    embedded = send(proxy, OPEN_WEBUI, "/v1/embeddings", {"model": EMBEDDING, "input": "x"})
    assert embedded.json["data"][0]["embedding"] == [0.5]


def test_open_webui_shows_why_its_connection_is_not_verified(proxy: Setup) -> None:
    wrong = send(proxy, {**OPEN_WEBUI, "Authorization": "Bearer wrong"}, "/v1/models")
    assert (wrong.status, wrong.json["error"]["code"]) == (401, "invalid_api_key")


def test_open_webui_does_not_tell_the_provider_who_its_users_are(proxy: Setup) -> None:
    send(proxy, OPEN_WEBUI, "/v1/chat/completions", {"model": GPT, "messages": HELLO})
    sent = proxy.calls[-1].headers
    assert sent["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert [name for name in sent if name.startswith("x-openwebui")] == []


def test_open_webui_reads_the_documented_variables() -> None:
    lines = lines_to_paste()["Open WebUI"].text
    assert lines.startswith("export OPENAI_API_BASE_URL=http://127.0.0.1:8000/v1\nexport OPENAI_API_KEY=mp-...\n")
    assert "OPENAI_API_BASE_URL=http://host.docker.internal:8000/v1" in text_of(DOCS / "clients.md")


def test_cursor_verifies_its_settings_and_streams(proxy: Setup) -> None:
    assert send(proxy, CURSOR, "/v1/models").status == 200
    test = [{"role": "system", "content": "You are a test assistant."}, *HELLO]
    verified = send(proxy, CURSOR, "/v1/chat/completions", {"messages": test, "model": GPT})
    assert verified.json["choices"][0]["message"]["content"] == "hello"
    options = {"stream": True, "stream_options": {"include_usage": True}, "user": "google-oauth2|1", "tools": []}
    streamed = send(proxy, CURSOR, "/v1/chat/completions", {"messages": test, "model": GPT, **options})
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_cursors_request_in_the_format_of_another_api_reaches_the_provider_unchanged(proxy: Setup) -> None:
    body = {
        "model": GPT,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "medium", "summary": "auto"},
        "text": {"verbosity": "low"},
        "stream_options": {"include_usage": True},
        "tools": [{"type": "custom", "name": "ApplyPatch", "format": {"type": "grammar", "syntax": "lark"}}],
    }
    rejected = send(proxy, CURSOR, "/v1/chat/completions", body)
    assert (rejected.status, rejected.json["error"]["message"]) == (400, "Missing required parameter: 'messages'.")
    assert proxy.calls[-1].json == body

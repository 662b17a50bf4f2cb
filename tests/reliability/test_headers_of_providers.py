"""Headers of providers: none lets a browser run content from this origin, none has invisible characters."""

from __future__ import annotations

import pytest

from proxy.inference.response.headers import relayed_error_headers, relayed_headers
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving
from tests.providers.scripted import Exchange, Script, fake_provider

pytestmark = pytest.mark.anyio

OCTETS = "application/octet-stream"
ACCEPTED = [
    "application/json", "APPLICATION/JSON; charset=utf-8", "application/problem+json", "application/x-ndjson",
    "application/jsonl", "text/event-stream", "text/event-stream; charset=utf-8", "text/plain", "audio/mpeg",
    'audio/ogg; codecs="opus,vorbis"', "image/png", "video/mp4", OCTETS, 'multipart/mixed; boundary="a,b"',
]  # fmt: skip
REPLACED = [
    "text/html", "TEXT/HTML; charset=utf-8", "text/javascript", "application/javascript", "text/css", "text/xml",
    "application/xml", "application/xhtml+xml", "image/svg+xml", "IMAGE/SVG", "application/pdf", "text/vtt",
    "application/x-shockwave-flash", "multipart/x-mixed-replace; boundary=a", "message/rfc822",
    # Browsers use the last valid type of a list, and ignore what is no type.
    "text/plain, text/html", "text/plain; charset=utf-8, text/html", 'text/plain; a="b", text/html', "json", "*/*", "",
    "audio/", "image/png text/html", "audio/x-\"text/html", 'text/plain; a="b',
]  # fmt: skip
INVISIBLE = [b"a\x01b", b"a\x1b[31mb", b"a\x7fb", b"a\x85b", "a\u202eb".encode(), "a\u2066b".encode(), b"a\tb", b"\xff"]


def sends(*lines: bytes, body: bytes = b"<script>") -> Script:
    async def script(exchange: Exchange) -> None:
        head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines, b"", body]
        await exchange.send(b"\r\n".join(head))

    return script


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_type_that_browsers_do_not_run_is_relayed(kind: str) -> None:
    assert list(relayed_headers([(b"content-type", kind.encode())], own_id="o", model="m")) == [
        (b"content-type", kind.encode())
    ]


@pytest.mark.parametrize("kind", REPLACED)
def test_any_other_type_is_replaced(kind: str) -> None:
    assert list(relayed_headers([(b"content-type", kind.encode())], own_id="o", model="m")) == [
        (b"content-type", OCTETS.encode())
    ]


def test_an_unreadable_type_is_replaced() -> None:
    assert list(relayed_headers([(b"content-type", b"text/html\xff")], own_id="o", model="m")) == [
        (b"content-type", OCTETS.encode())
    ]


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/javascript"])
async def test_a_script_of_a_provider_has_no_type_that_browsers_run(
    kind: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    script = sends(b"Content-Type: " + kind.encode(), b"Content-Type: text/html", body=b"alert(1)")
    async with fake_provider(script) as provider:
        fetch.lists("a", "m")
        config = config_of(
            f"groups: {{default: {{models: ['*'], call: true}}}}\nproviders: [{{name: a, base_url: '{provider.url}'}}]"
        )
        async with serving(config, fetch, clock) as served:
            answer = await served.call()

    assert (answer.status_code, answer.content) == (200, b"alert(1)")
    assert set(answer.headers.get_list("content-type")) == {OCTETS}


@pytest.mark.parametrize("value", INVISIBLE, ids=repr)
@pytest.mark.parametrize(
    "name",
    [b"content-type", b"content-disposition", b"x-ratelimit-limit", b"openai-version", b"x-ray", b"x-request-id"],
)
async def test_no_header_of_a_response_has_control_or_bidirectional_characters(
    name: bytes, value: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with fake_provider(sends(name + b": " + value, body=b"text")) as provider:
        fetch.lists("a", "m")
        text = "groups: {default: {models: ['*'], call: true}}\nproviders:\n"
        text += f"  - {{name: a, base_url: '{provider.url}', forward_headers: ['x-ray*']}}"
        async with serving(config_of(text), fetch, clock) as served:
            answer = await served.call()

    assert answer.status_code == 200
    values = [each for _, each in answer.headers.raw]
    assert all(each.isascii() and each.decode().isprintable() for each in values)


@pytest.mark.parametrize("value", INVISIBLE, ids=repr)
@pytest.mark.parametrize("name", [b"retry-after", b"x-ratelimit-limit", b"x-should-retry"])
def test_no_header_of_an_error_has_them(name: bytes, value: bytes) -> None:
    assert list(relayed_error_headers([(name, value)], own_id="o", model="m")) == []

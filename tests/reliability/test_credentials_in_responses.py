"""A provider that repeats the proxy's credential: no client receives it, and no other byte changes or is delayed."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.masking import Mask, mask_of
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, serving
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies

pytestmark = [pytest.mark.anyio]

KEY = "sk-canary-4f7Gq+Zx/9e=8zW1"
PLAIN_KEY = "sk-canary-4f7GqZx9e8zW1"
HEADER = "canary-of-a-header-7"
STREAM = "text/event-stream"


def base64_within(secret: str, before: int, encode: object = b64encode) -> str:
    """What is always the same in the Base64 of a text with `before` bytes before the secret."""
    encoder = urlsafe_b64encode if encode is urlsafe_b64encode else b64encode
    texts = [encoder(edge * before + secret.encode() + edge * 3).decode() for edge in (b"\0", b"\xff")]
    same = "".join(a if a == b else " " for a, b in zip(*texts, strict=True))
    return max(same.split(), key=len)


def forms(secret: str) -> dict[str, str]:
    """Name -> a form in which programs write a secret."""
    return {
        "raw": secret,
        "percent-encoded": quote(secret, safe=""),
        "in a path": quote(secret),
        "in a form": quote_plus(secret),
        "in lower-case hexadecimal": re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
        "JSON": json.dumps(secret)[1:-1],
        "JSON with escaped slashes": json.dumps(secret)[1:-1].replace("/", r"\/"),
        "JSON of .NET": secret.replace("+", r"\u002B"),
        "JSON of Java": secret.replace("=", r"\u003d"),
        **{f"Base64 after {n} bytes": base64_within(secret, n) for n in (0, 1, 2)},
        **{f"Base64 of URLs after {n} bytes": base64_within(secret, n, urlsafe_b64encode) for n in (0, 1, 2)},
        "JSON of Base64": base64_within(secret, 0).replace("/", r"\/"),
    }


FORMS = forms(KEY)


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, script: Script, key: str = KEY
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    async with fake_provider(script) as provider:
        fetch.lists("a", "m")
        text = "groups: {default: {models: ['*'], call: true}}\nproviders:\n"
        text += f"  - {{name: a, base_url: '{provider.url}/v1', api_key: '{key}', forward_headers: [x-ray],\n"
        text += f"     headers: {{X-Gateway-Token: '{HEADER}', X-Env: production, X-Flag: 'true'}}}}\n"
        async with serving(config_of(text), fetch, clock) as served:
            yield served, provider


async def whole(served: Served, **fields: object) -> httpx.Response:
    return await served.client.post("/v1/chat/completions", json={"model": "m", **fields})


def sends(body: bytes, kind: str, **more: str) -> Script:
    """A response whose body has a known length."""
    return replies(body, headers={"Content-Type": kind, **more})


async def events(exchange: Exchange, *batch: bytes) -> None:
    await exchange.stream()
    for event in batch:
        await exchange.chunk(event)
    await exchange.end()


# -- every form, status, content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
async def test_no_form_of_the_key_is_in_json(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    form = FORMS[name]
    body = json.dumps(completion("m", "CANARY")).replace("CANARY", f"your key: {form}!").encode()
    async with calling(fetch, clock, sends(body, "application/json")) as (served, _):
        answer = await whole(served)

    assert answer.content == body.replace(form.encode(), b"*" * len(form))


@pytest.mark.parametrize("name", FORMS)
async def test_no_form_of_the_key_is_in_an_event(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    form = FORMS[name]
    event = chunk_event("m", "CANARY").replace(b"CANARY", form.encode())

    async def script(exchange: Exchange) -> None:
        await events(exchange, event, event, DONE)

    async with calling(fetch, clock, script) as (served, _):
        answer = await whole(served, stream=True)

    assert answer.content == event.replace(form.encode(), b"*" * len(form)) * 2 + DONE


@pytest.mark.parametrize("name", FORMS)
async def test_no_form_of_the_key_is_in_an_error(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    form = FORMS[name]
    body = b'{"error":{"message":"wrong: %b","detail":"%b"}}' % (form.encode(), form.encode())
    async with calling(fetch, clock, replies(body, 400)) as (served, _):
        answer = await whole(served)

    assert answer.status_code == 400
    assert "***" in answer.json()["error"]["message"]
    assert form not in answer.text
    assert json.loads(b'"%b"' % form.encode()) not in answer.text


@pytest.mark.parametrize("secret", [KEY, HEADER])
@pytest.mark.parametrize("kind", ["text/plain", "audio/mpeg", "application/octet-stream", "application/json", ""])
async def test_a_body_of_any_type_keeps_its_length(kind: str, secret: str, fetch: FakeFetch, clock: FakeClock) -> None:
    body = b"\xff\0" + b"x" * 100_000 + secret.encode() + b"y" * 100_000 + secret.encode()
    async with calling(fetch, clock, sends(body, kind)) as (served, _):
        answer = await whole(served)

    assert answer.content == body.replace(secret.encode(), b"*" * len(secret))
    assert answer.headers["content-length"] == str(len(body))


async def test_a_compressed_body_is_masked(fetch: FakeFetch, clock: FakeClock) -> None:
    body = b"x" * 100_000 + KEY.encode()
    script = sends(gzip.compress(body), "text/plain", **{"Content-Encoding": "gzip"})
    async with calling(fetch, clock, script) as (served, _):
        answer = await whole(served)

    assert answer.content == body.replace(KEY.encode(), b"*" * len(KEY))


async def test_an_error_event_within_a_stream_is_masked(fetch: FakeFetch, clock: FakeClock) -> None:
    error = b'data: {"error":{"message":"key %b is blocked"}}\n\n' % KEY.encode()

    async def script(exchange: Exchange) -> None:
        await events(exchange, chunk_event("m", "one"), error)

    async with calling(fetch, clock, script) as (served, _):
        answer = await whole(served, stream=True)

    assert answer.content == chunk_event("m", "one") + error.replace(KEY.encode(), b"*" * len(KEY))


@pytest.mark.parametrize("status", [200, 400])
async def test_headers_with_a_credential_are_removed_and_trailers_are_not_relayed(
    status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    names = ("Content-Disposition", "X-RateLimit-Limit", "X-Ray", "X-Request-Id", "X-Codex-Turn-State", "Cf-Ray")

    async def script(exchange: Exchange) -> None:
        headers = dict.fromkeys(names, f"a {KEY} b {HEADER}")
        await exchange.head(status, {"Trailer": "X-Ray", **headers})
        await exchange.chunk(b"text")
        await exchange.send(b"0\r\nX-Ray: %b\r\n\r\n" % KEY.encode())

    async with calling(fetch, clock, script) as (served, _):
        answer = await whole(served)

    assert answer.status_code == status
    assert [value for _, value in answer.headers.raw if KEY.encode() in value or HEADER.encode() in value] == []
    assert not {name.lower() for name in names if name != "X-Request-Id"} & set(answer.headers)
    assert "x-upstream-request-id" not in answer.headers


async def test_the_token_of_a_login_is_masked(fetch: FakeFetch, clock: FakeClock) -> None:
    token = "canary-token-8zW1"

    async def echo(exchange: Exchange) -> None:
        await exchange.reply(json.dumps(completion("m", exchange.request.headers["authorization"])).encode())

    async with fake_provider(replies({"access_token": token})) as granting, fake_provider(echo) as provider:
        fetch.lists("a", "m")
        login = f"{{url: '{granting.url}/token', id: us, secret: sk-canary-secret}}"
        text = f"providers: [{{name: a, base_url: '{provider.url}/v1', oauth: {login}}}]\n"
        text += "groups: {default: {models: ['*'], call: true}}"
        async with serving(config_of(text), fetch, clock) as served:
            answer = await whole(served)

    assert answer.json()["choices"][0]["message"]["content"] == "Bearer " + "*" * len(token)


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        pytest.param(
            "kind: custom, list: {path: /models, auth: basic}, call: {base_url: URL, auth: basic}, "
            "api_key: 'canary-user:canary-password'",
            ["canary-password"],
            id="basic",
        ),
        pytest.param("headers: {Authorization: 'Bearer canary-bearer'}", ["canary-bearer"], id="a header of its own"),
        pytest.param(
            "headers: {X-Org: canary-long-value-without-a-digit}", ["canary-long-value-without-a-digit"], id="long"
        ),
    ],
)
async def test_every_credential_that_is_sent_is_masked(
    settings: str, secrets: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with fake_provider(sends(" ".join(secrets).encode(), "text/plain")) as provider:
        fetch.lists("a", "m")
        text = f"providers: [{{name: a, base_url: '{provider.url}/v1', {settings.replace('URL', provider.url)}}}]\n"
        text += "groups: {default: {models: ['*'], call: true}}"
        async with serving(config_of(text), fetch, clock) as served:
            answer = await whole(served)

    assert answer.text == " ".join("*" * len(secret) for secret in secrets)


async def test_ordinary_words_of_headers_and_short_keys_are_not_masked(fetch: FakeFetch, clock: FakeClock) -> None:
    body = b"true production short-k"
    async with calling(fetch, clock, sends(body, "text/plain"), key="short-k") as (served, _):
        answer = await whole(served)

    assert answer.content == body


# -- pieces ------------------------------------------------------------------------------------------------------------


async def test_only_the_beginning_of_the_key_waits_for_the_next_piece(fetch: FakeFetch, clock: FakeClock) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="text/plain")
        await exchange.chunk(b"before " + KEY[:9].encode())
        await go_on.wait()
        await exchange.chunk(KEY[9:].encode() + b" after")
        await exchange.end()

    async with (
        calling(fetch, clock, script) as (served, _),
        served.client.stream("POST", "/v1/chat/completions", json={"model": "m"}) as answer,
    ):
        body = answer.aiter_raw()
        assert await anext(body) == b"before "
        go_on.set()
        assert b"".join([part async for part in body]) == b"*" * len(KEY) + b" after"


async def test_what_was_held_is_sent_at_the_end(fetch: FakeFetch, clock: FakeClock) -> None:
    body = b"the end is " + KEY[:9].encode()
    script = replies(body, headers={"Content-Type": "text/plain"})
    async with calling(fetch, clock, script) as (served, _):
        answer = await whole(served)

    assert answer.content == body


def in_pieces(mask: Mask, *pieces: bytes) -> list[bytes]:
    """What is passed on after each piece, and at the end."""
    out, held = [], b""
    for piece in filter(None, pieces):
        passed, held = mask.split(held + piece)
        out.append(passed)
    return [*out, held]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_masked_wherever_it_is_cut(name: str) -> None:
    form = FORMS[name].encode()
    mask = mask_of((KEY,))
    assert mask is not None
    text = b"<" + form + b">"
    for cut in range(len(text) + 1):
        *passed, held = in_pieces(mask, text[:cut], text[cut:])
        assert (b"".join(passed), held) == (b"<" + b"*" * len(form) + b">", b"")
    bytewise = in_pieces(mask, *(text[at : at + 1] for at in range(len(text))))
    assert b"".join(bytewise) == b"<" + b"*" * len(form) + b">"


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"aba", b"abacabad", b" "]), max_size=40))
def test_no_byte_is_lost_and_only_a_beginning_is_held(pieces: list[bytes]) -> None:
    secret = "abacabad"
    mask = mask_of((secret,))
    assert mask is not None
    out, held = b"", b""
    for piece in pieces:
        passed, held = mask.split(held + piece)
        out += passed
        assert secret.encode().startswith(held)
        assert len(held) < len(secret)
    whole_text = b"".join(pieces)
    assert len(out + held) == len(whole_text)
    assert all(a in (b, ord("*")) for a, b in zip(out + held, whole_text, strict=True))
    assert secret.encode() not in out + held


def test_a_body_without_the_key_is_passed_on_without_a_copy() -> None:
    mask = mask_of((PLAIN_KEY,))
    assert mask is not None
    body = b"x" * 1_000_000 + b"\n"
    passed, held = mask.split(body)
    assert passed is body
    assert held == b""


def test_each_form_of_a_plain_key_is_one_search() -> None:
    mask = mask_of((PLAIN_KEY,))
    assert mask is not None
    assert len(mask.needles) == 4, "raw, and in Base64 after 0, 1 and 2 bytes"


def test_a_mask_shows_no_secret() -> None:
    assert PLAIN_KEY not in repr(mask_of((PLAIN_KEY,)))


def test_short_secrets_are_not_searched() -> None:
    assert mask_of(("1234567", "")) is None


def test_values_of_every_length_have_a_mask() -> None:
    cases: Mapping[str, str] = {"8 characters": "a/b+c=d%", "long": "ab/" * 3000, "not ASCII": "schlüssel-ß-1"}
    for secret in cases.values():
        mask = mask_of((secret,))
        assert mask is not None
        assert in_pieces(mask, b"(" + secret.encode() + b")")[0] == b"(" + b"*" * len(secret.encode()) + b")"

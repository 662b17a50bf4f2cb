"""`Upgrade` is ignored; websockets on the path of a call and CONNECT are rejected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import FakeProvider, fake_provider, replies

pytestmark = pytest.mark.anyio

KEY = "sk-fake-alice"
OTHER = "sk-fake-other"
FIELDS = f"Host: localhost\r\nAuthorization: Bearer {KEY}\r\nX-Request-Id: mine\r\n"
CALL = msgspec.json.encode({"model": "m", "messages": []})
FORGED = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: {OTHER}\r\n\r\n".encode()
"""A body that would list another key's models if it were parsed as a request."""
LAST = f"GET /v1/models/m HTTP/1.1\r\n{FIELDS}Connection: close\r\n\r\n".encode()
"""The next request on the connection, and the last one."""
OFFERS: Mapping[str, str] = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "websocket": "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
}


def announced(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (body[:half], body[half:], b""))
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks


FRAMINGS = {"Content-Length": announced, "chunked": chunked}


def post(offer: str, rest: bytes, version: str = "HTTP/1.1") -> bytes:
    """A call. `rest`: the framing headers, an empty line, and the body."""
    start = f"POST /v1/chat/completions {version}\r\n{FIELDS}Content-Type: application/json\r\n{offer}"
    return start.encode() + rest


def get(offer: str, path: str = "/v1/models") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{FIELDS}{offer}\r\n".encode()


def bytewise(data: bytes, rest: bytes = b"") -> Sequence[bytes]:
    """One byte per segment, `rest` with the last one: data after the close would reset the connection."""
    return [*(data[at : at + 1] for at in range(len(data) - 1)), data[-1:] + rest]


@asynccontextmanager
async def proxied(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy with two keys, each with one model, and the provider of the first."""
    async with fake_provider(replies(completion("m"))) as provider:
        fetch.lists("a", "m")
        fetch.lists("b", "hidden")
        text = f"""
providers: [{{name: a, base_url: "{provider.url}/v1"}}, {{name: b, base_url: "{provider.url}/v1"}}]
keys:
  - {{name: alice, hash: "{digest(KEY)}", models: [m]}}
  - {{name: other, hash: "{digest(OTHER)}", models: [hidden]}}
"""
        async with serving(config_of(text), fetch, clock) as served:
            yield served, provider


async def answer(served: Served, *segments: bytes) -> bytes:
    """All data of a connection until the proxy closes it. The proxy reads each segment before the next is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    reading = asyncio.create_task(reader.read())
    for segment in segments:
        writer.write(segment)
        for _ in range(3):
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        received = await reading
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
async def test_a_call_with_upgrade_gets_the_same_response_for_every_segmentation(
    offer: str, framing: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    rest = FRAMINGS[framing](CALL)
    request = post(OFFERS[offer], rest)
    async with proxied(fetch, clock) as (served, provider):
        expected = await answer(served, post("", rest) + LAST)
        whole = await answer(served, request + LAST)
        apart = await answer(served, *bytewise(request, LAST))
        split = {await answer(served, request[:at], request[at:] + LAST) for at in range(1, len(request) + 1)}

    assert statuses(expected) == [200, 200]
    assert [whole, apart, split] == [expected, expected, {expected}]
    assert {received.body for received in provider.requests} == {CALL}
    assert len(provider.requests) == 3 + len(request)
    assert not {"upgrade", "http2-settings"} & provider.requests[-1].headers.keys()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
async def test_a_body_that_looks_like_a_request_is_never_parsed_as_one(
    offer: str, framing: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    rest = FRAMINGS[framing](FORGED)
    request = post(OFFERS[offer], rest)
    head = request.index(b"\r\n\r\n") + 4
    async with proxied(fetch, clock) as (served, provider):
        forged = await answer(served, FORGED + LAST)
        expected = await answer(served, post("", rest) + LAST)
        whole = await answer(served, request + LAST)
        apart = await answer(served, *bytewise(request, LAST))
        split = {await answer(served, request[:at], request[at:] + LAST) for at in range(head - 4, len(request) + 1)}

    assert b"hidden" in forged
    assert statuses(expected) == [400, 200]
    assert [whole, apart, split] == [expected, expected, {expected}]
    assert provider.requests == []


H2C = OFFERS["h2c"]
SPACES = b" " * 300_000
TWO = "Upgrade: h2c, websocket\r\nUpgrade: x/1\r\nConnection: keep-alive\r\nConnection: upgrade\r\n"
ODD = "X-A:\r\nX-B: \t b \r\nX-C: \u6a21\r\n"
WAITING = "Expect: 100-continue\r\n"
CLOSING = "Connection: close\r\n"
SAME: Mapping[str, tuple[bytes, bytes]] = {
    "no body": (get(""), get(H2C)),
    "another path": (get("", "/nothing"), get(H2C, "/nothing")),
    "an empty body": (post("", announced(b"")), post(H2C, announced(b""))),
    "several in a row": (get("") * 3, get(H2C) * 3),
    "several with and without bodies": (
        post("", announced(CALL)) + get("") + post("", chunked(CALL)),
        post(H2C, announced(CALL)) + get(H2C) + post(H2C, chunked(CALL)),
    ),
    "several protocols": (post("", announced(CALL)), post(TWO, announced(CALL))),
    "Upgrade alone": (post("", announced(CALL)), post("Upgrade: h2c\r\n", announced(CALL))),
    "Connection alone": (post("", announced(CALL)), post("Connection: upgrade\r\n", announced(CALL))),
    "an empty Upgrade": (post("", announced(CALL)), post("Connection: upgrade\r\nUPGRADE:\r\n", announced(CALL))),
    "unusual values": (post(ODD, announced(CALL)), post(ODD + H2C + ODD, announced(CALL))),
    "Expect: 100-continue": (post(WAITING, announced(CALL)), post(H2C + WAITING, announced(CALL))),
    "Connection: close": (post(CLOSING, announced(CALL)), post(CLOSING + H2C, announced(CALL))),
    "HTTP/1.0": (post("", announced(CALL), "HTTP/1.0"), post(H2C, announced(CALL), "HTTP/1.0")),
    "a long body": (post("", announced(CALL + SPACES)), post(H2C, announced(CALL + SPACES))),
}


@pytest.mark.parametrize("name", SAME)
async def test_upgrade_changes_nothing(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    without, with_offer = SAME[name]
    async with proxied(fetch, clock) as (served, provider):
        expected = await answer(served, without + LAST)
        bodies = [received.body for received in provider.requests]
        whole = await answer(served, with_offer + LAST)
        apart = await answer(served, *bytewise(with_offer[:1500], with_offer[1500:] + LAST))
    assert statuses(expected)
    assert [whole, apart] == [expected, expected]
    assert [received.body for received in provider.requests] == bodies * 3


WEBSOCKET = "Sec-WebSocket-Version: 13\r\n" + OFFERS["websocket"]


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/responses", "/v1/chat/completions", "/v1/models/messages", "//v1/responses/"]
)
async def test_a_websocket_for_calls_gets_426_and_the_next_requests_their_own_responses(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    request = get(WEBSOCKET, path)
    async with proxied(fetch, clock) as (served, provider):
        last = await answer(served, LAST)
        call = await answer(served, post(CLOSING, announced(CALL)))
        whole = await answer(served, request + post("", announced(CALL)) + LAST)
        apart = await answer(served, *bytewise(request, post("", announced(CALL)) + LAST))
        split = {await answer(served, request[:at], request[at:] + LAST) for at in range(1, len(request) + 1)}

    assert statuses(whole) == [426, 200, 200]
    assert whole.endswith(last)
    assert (apart, split) == (whole, {whole[: whole.index(b"HTTP/1.1 200")] + last})
    assert len(provider.requests) == 3
    assert statuses(call) == [200]
    head, _, body = whole.partition(b"\r\n\r\n")
    assert {b"upgrade: HTTP/1.1", b"connection: Upgrade", b"x-request-id: mine"} <= set(head.split(b"\r\n"))
    assert b"Calls over WebSocket are not supported; send them with POST." in body


async def test_a_body_after_a_websocket_handshake_is_not_parsed_as_a_request(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    head = f"GET /v1/responses HTTP/1.1\r\n{FIELDS}{WEBSOCKET}".encode()
    async with proxied(fetch, clock) as (served, _):
        received = [await answer(served, head + frame(FORGED)) for frame in FRAMINGS.values()]

    assert [statuses(response) for response in received] == [[426], [426]]
    assert all(b"\r\nconnection: close\r\n" in response for response in received)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(get(WEBSOCKET), 200, id="the list of models"),
        pytest.param(get(WEBSOCKET, "/nowhere"), 404, id="an unknown path"),
        pytest.param(get("", "/v1/responses"), 405, id="GET without a handshake"),
        pytest.param(get(OFFERS["h2c"], "/v1/responses"), 405, id="another protocol"),
        pytest.param(post(WEBSOCKET, announced(CALL)), 200, id="POST"),
        pytest.param(get("Sec-WebSocket-Key: AAAA\r\n", "/v1/responses"), 426, id="a handshake without Upgrade"),
        pytest.param(
            f"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\n{WEBSOCKET}\r\n".encode(),
            401,
            id="a handshake without a key",
        ),
        pytest.param(
            f"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\napi-key: wrong\r\n{WEBSOCKET}\r\n".encode(),
            401,
            id="a handshake with a wrong key",
        ),
    ],
)
async def test_only_handshakes_with_a_valid_key_on_paths_of_calls_get_426(
    request_: bytes, status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with proxied(fetch, clock) as (served, _):
        received = await answer(served, request_ + LAST)

    assert statuses(received) == [status, 200]


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"Transfer-Encoding: gzip\r\n", id="no length"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="two lengths"),
        pytest.param(b"Content-Length: 5\r\nContent-Length: 6\r\n", id="two values"),
        pytest.param(b"Content-Length: +5\r\n", id="not a number"),
        pytest.param(b"Transfer-Encoding:\r\n chunked\r\n", id="a folded line"),
    ],
)
async def test_invalid_framing_is_rejected_with_upgrade_too(framing: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with proxied(fetch, clock) as (served, provider):
        received = [
            await answer(served, *segments)
            for head in (post(offer, framing + b"\r\n") for offer in ("", *OFFERS.values()))
            for segments in ([head + FORGED + LAST], bytewise(head, FORGED + LAST))
        ]

    assert [statuses(response) for response in received] == [[400]] * 6
    assert provider.requests == []


@pytest.mark.parametrize("offer", ["", *OFFERS.values()], ids=["alone", *OFFERS])
@pytest.mark.parametrize("target", ["host:443", "/v1/models"])
async def test_connect_is_rejected_and_following_data_is_not_parsed(
    target: str, offer: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    request = f"CONNECT {target} HTTP/1.1\r\n{FIELDS}{offer}\r\n".encode()
    async with proxied(fetch, clock) as (served, _):
        received = [
            await answer(served, request),
            await answer(served, request + FORGED + LAST),
            await answer(served, *bytewise(request, FORGED + LAST)),
        ]

    assert [statuses(response) for response in received] == [[400]] * 3
    assert all(b"Method CONNECT is not supported" in response for response in received)

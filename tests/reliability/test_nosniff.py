"""No response can be given another type by a browser than the one that it has."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

import pytest

from tests.fakes import digest
from tests.processes import Process, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProviders, replies

KEY = b"Authorization: Bearer sk-fake-alice\r\n"
CALL = b'{"model": "m", "messages": []}'
STREAM = b'{"model": "m", "messages": [], "stream": true}'
REFUSED = b'{"model": "m", "messages": [], "user": "refused"}'
SNIFF = b'{"model": "m", "messages": [], "user": "sniff"}'


def get(path: str, *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    return b"%b %b HTTP/%b\r\nHost: localhost\r\nConnection: close\r\n%b\r\n" % (
        method.encode(),
        path.encode(),
        version.encode(),
        b"".join(fields),
    )


def post(body: bytes, *fields: bytes) -> bytes:
    json = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return get("/v1/chat/completions", json, *fields, method="POST") + body


ALIVE = get("/v1/models", KEY).replace(b"Connection: close\r\n", b"")
REQUESTS: Mapping[str, tuple[int, bytes]] = {
    "a list": (200, get("/v1/models", KEY)),
    "a compressed list": (200, get("/v1/models", KEY, b"Accept-Encoding: gzip\r\n")),
    "a list from memory": (200, ALIVE + get("/v1/models", KEY)),
    "an unchanged list": (304, get("/v1/models", KEY, b"If-None-Match: *\r\n")),
    "the head of a list": (200, get("/v1/models", KEY, method="HEAD")),
    "a list over HTTP/1.0": (200, get("/v1/models", KEY, version="1.0")),
    "a model": (200, get("/v1/models/m", KEY)),
    "a probe": (200, get("/livez")),
    "a probe with a body": (200, get("/livez", b"Content-Length: 5\r\n")),
    "no key": (401, get("/v1/models")),
    "an unknown model": (404, get("/v1/models/unknown", KEY)),
    "an unknown path": (404, get("/nowhere", KEY)),
    "another method": (405, get("/v1/models", KEY, method="DELETE")),
    "a WebSocket": (426, get("/v1/responses", KEY, b"Sec-WebSocket-Key: AAAA\r\n")),
    "a call": (200, post(CALL, KEY)),
    "an invalid call": (400, post(b"{", KEY)),
    "a stream": (200, post(STREAM, KEY)),
    "an error of a provider": (400, post(REFUSED, KEY)),
    "a header of a provider": (200, post(SNIFF, KEY)),
    "a preflight": (
        200,
        get(
            "/v1/models",
            b"Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n",
            method="OPTIONS",
        ),
    ),
    "a rejected preflight": (
        400,
        get(
            "/v1/models",
            b"Origin: https://other.example\r\nAccess-Control-Request-Method: GET\r\n",
            method="OPTIONS",
        ),
    ),
    "a tunnel": (400, get("proxy:443", method="CONNECT")),
}


async def provider(exchange: Exchange) -> None:
    if b"stream" in exchange.request.body:
        await streams(chunk_event("m", "hello"), DONE)(exchange)
    elif b"refused" in exchange.request.body:
        await replies({"error": {"message": "refused"}}, 400)(exchange)
    else:
        await replies(completion("m"), headers={"X-Content-Type-Options": "sniff"})(exchange)


@pytest.fixture(scope="module", params=["own", "plain"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with FakeProviders() as providers:
        text = f"""
server: {{cors: ["https://app.example"]}}
providers:
  - name: lab
    kind: static
    call: {{base_url: "{providers.open(provider).url}/v1"}}
    models: [{{id: m}}]
    forward_headers: ["x-content-*"]
keys: [{{name: alice, hash: "{digest("sk-fake-alice")}", models: ["*"]}}]
"""
        path = tmp_path_factory.mktemp("nosniff") / "config.yaml"
        plain = "1" if request.param == "plain" else ""
        with serving(path, text, env={"MODELS_PROXY_PLAIN_HTTP": plain}) as process:
            yield process


def received(process: Process, request: bytes) -> bytes:
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def heads(data: bytes) -> list[list[bytes]]:
    """The lines of the heads of responses in lower case."""
    return [part.partition(b"\r\n\r\n")[0].lower().split(b"\r\n") for part in data.split(b"HTTP/1.1 ")[1:]]


def options(head: list[bytes]) -> list[bytes]:
    return [line for line in head if line.startswith(b"x-content-type-options:")]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_response_has_nosniff_once(name: str, server: Process) -> None:
    status, request = REQUESTS[name]
    found = heads(received(server, request))

    assert found[-1][0].startswith(str(status).encode())
    assert [options(head) for head in found] == [[b"x-content-type-options: nosniff"]] * len(found)


@pytest.mark.parametrize("server", ["own"], indirect=True)
def test_the_error_for_malformed_http_has_nosniff(server: Process) -> None:
    (head,) = heads(received(server, b"no HTTP\r\n\r\n"))

    assert (head[0], options(head)) == (b"400 bad request", [b"x-content-type-options: nosniff"])

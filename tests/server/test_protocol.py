"""Malformed HTTP gets an error in OpenAI's format and is not logged."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.processes import serving

CONFIG = "providers: [{name: lab, kind: static, models: [{id: m}]}]"


@pytest.mark.usefixtures("own_protocol")
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"FOO /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", id="an unknown method"),
        pytest.param("GET /v1/models/\u6a21 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), id="a raw Chinese path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="a TLS hello"),
        pytest.param(b"GET /v1/models HTTP/1.1\r\nHost x\r\n\r\n", id="a header without a colon"),
        pytest.param(b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n", id="a tunnel"),
    ],
)
def test_a_malformed_request_gets_a_json_error_and_its_text_is_not_logged(request_: bytes, tmp_path: Path) -> None:
    with serving(tmp_path / "config.yaml", CONFIG) as process:
        url = process.url
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(request_)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        process.line(process.err, "400")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ndate: ")
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert b"\r\nx-request-id: " in head
    assert json.loads(body)["error"]["code"] == "invalid_request"
    (line,) = process.err
    own_id = re.search(rb"x-request-id: (.*)\r\n", head)
    assert own_id
    assert re.sub("seconds=[^ ]+", "seconds=0", line.partition(" INFO models_proxy: ")[2]) == (
        f"request {own_id[1].decode()}: 400 error=invalid_request seconds=0 client=127.0.0.1"
    )

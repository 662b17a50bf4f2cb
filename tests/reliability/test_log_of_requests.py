"""Lines of requests from a real process: no secrets, and output that fails."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes import digest
from tests.paths import ROOT
from tests.processes import free_port, serving, until
from tests.providers.scripted import Exchange, FakeProviders

KEY = "mp-canary-0123456789abcdef"
WRONG = "mp-canarywrong0123456789"
CANARY = "canary"
SPOOFED = "198.51.100.9"


async def lists_and_quotes(exchange: Exchange) -> None:
    """List `m`, and refuse calls with an error that quotes the key of the provider."""
    if exchange.request.method == "GET":
        await exchange.reply(b'{"data":[{"id":"m"}]}')
    else:
        await exchange.reply(b'{"error":{"message":"no credit for sk-canary-of-a-provider-1"}}', 500)


def send_everything(url: str) -> None:
    """Send the canary in every part of requests."""
    host, port = url.removeprefix("http://").split(":")
    headers = {
        "authorization": f"Bearer {KEY}", "x-forwarded-for": f"{SPOOFED}, canary", "forwarded": "for=canary",
        "x-real-ip": CANARY, "user-agent": CANARY, "referer": f"http://h/?{CANARY}", "cookie": f"a={CANARY}",
        "x-request-id": KEY, "idempotency-key": CANARY,
    }  # fmt: skip
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        client.get(f"/v1/models?key={KEY}&x={CANARY}", headers=headers)
        client.get(f"/v1/models/{KEY}", headers=headers)
        client.get(f"/{KEY}/{CANARY}", headers=headers)
        client.get("/v1/models", headers={"authorization": f"Bearer {WRONG}"})
        client.get(f"/v1/models?key={WRONG}")
        for model in ("m", KEY, WRONG):
            body = {"model": model, "messages": [{"role": "user", "content": CANARY}]}
            client.post(f"/v1/chat/completions?canary={KEY}", json=body, headers=headers)
        client.post("/v1/chat/completions", content=f'{{"model": "{KEY}"'.encode(), headers=headers)
        client.request("CANARY", "/v1/models", headers=headers)
    with closing(socket.create_connection((host, int(port)), timeout=30)) as raw:
        raw.sendall(f"GET /{CANARY}?{KEY} HTTP/1.1\r\nHost: {CANARY}\r\n{CANARY}\r\n\r\n".encode())
        raw.recv(100)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_contains_a_key_a_query_or_a_body(form: str, tmp_path: Path) -> None:
    with FakeProviders() as upstreams:
        url = upstreams.open(lists_and_quotes).url
        text = f"""
logging: {{access: all}}
providers: [{{name: a, base_url: "{url}/v1", api_key: sk-canary-of-a-provider-1, retries: 0}}]
keys: [{{name: alice, hash: "{digest(KEY)}", models: ["*"]}}]
"""
        with serving(tmp_path / "config.yaml", text, "--log-format", form) as process:
            pattern = r"Listening on (http://[\d.:]+)"
            url = process.line(process.err if form == "json" else process.out, pattern)[1]
            send_everything(url)
            httpx.get(f"{url}/livez", trust_env=False, timeout=30)
            process.line(process.err, "/livez")
            process.stop()
            lines = [line for line in process.err if re.search("request|call", line)]

    assert len(lines) >= 10
    assert [line for line in lines if CANARY in line.lower().replace("/test_no_line_contains", "")] == []
    assert SPOOFED not in "".join(lines), "no proxy is trusted"


LAB = "logging: {access: all, format: json}\nproviders: [{name: lab, kind: static, models: [m]}]\n"
REQUESTS = 3000
"""More than wait to be written."""


@contextmanager
def started(tmp_path: Path, stderr: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`models-proxy serve` with this descriptor as its stderr. Yields the process and its URL once it responds."""
    config, port = tmp_path / "config.yaml", free_port()
    config.write_text(LAB)
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  # our own command
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, cwd=ROOT
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url))
        yield process, url
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def request_lists(url: str, number: int) -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(number):
            assert client.get(f"{url}/v1/models").status_code == 200


def test_a_full_disk_stops_no_request(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, started(tmp_path, full.fileno()) as (process, url):
        request_lists(url, 200)
        assert process.poll() is None


def test_a_reader_that_has_gone_stops_no_request(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with started(tmp_path, writing) as (process, url):
        os.close(writing)
        request_lists(url, 200)
        assert process.poll() is None


def test_lines_that_nobody_reads_are_dropped_and_counted(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with started(tmp_path, writing) as (process, url):
        os.close(writing)
        request_lists(url, REQUESTS)
        with open(reading, "rb") as pipe:
            data = b""
            while b" dropped " not in data:
                data += os.read(pipe.fileno(), 65536)
            request_lists(url, 1)
            process.terminate()
            data += pipe.read()
    lines = [json.loads(line) for line in data.splitlines()]
    (notice,) = [line["message"] for line in lines if "dropped" in line.get("message", "")]
    dropped = int(re.findall(r"dropped (\d+) lines", notice)[0])
    written = sum(line.get("route") == "/v1/models" for line in lines)

    assert dropped > 0
    assert written + dropped == REQUESTS + 1

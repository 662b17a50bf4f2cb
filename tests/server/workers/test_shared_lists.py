"""Several real worker processes fetch each list once."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.fakes import digest
from tests.processes import until
from tests.providers.lists import lists
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders, hangs, in_sequence, replies

KIND = """
logging: {access: off}
server: {workers: 4, drain_delay: 100ms}
providers:
"""


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def text(*providers: FakeProvider) -> str:
    return KIND + "".join(
        f"  - {{name: p{number}, base_url: 'http://127.0.0.1:{provider.port}/v1', initial_wait: 10s, timeout: 60s}}\n"
        for number, provider in enumerate(providers)
    )


def request(url: str, path: str, method: str = "GET") -> Any:
    """The response on a new connection, so that any of the workers sends it."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request(method, path)
        return json.load(connection.getresponse())


def everywhere(url: str, *expected: str) -> bool:
    """Whether all workers list these models: with 40 connections none is left out."""
    return all([each["id"] for each in request(url, "/v1/models")["data"]] == [*expected] for _ in range(40))


def children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()}


def connected_to(port: int, pids: set[int]) -> int:
    """The process that has a connection to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}
    (found,) = [pid for pid in pids if any(os.readlink(each) in sockets for each in Path(f"/proc/{pid}/fd").iterdir())]
    return found


def test_each_provider_is_fetched_once_and_a_new_worker_gets_the_lists(config: Path, upstreams: FakeProviders) -> None:
    one, other = upstreams.open(lists("a-1")), upstreams.open(lists("b-1"))
    with processes.serving(config, text(one, other)) as process:
        url = process.url
        assert everywhere(url, "a-1", "b-1")
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(process.pid) - before) == 1)
        assert everywhere(url, "a-1", "b-1")
        assert (len(one.requests), len(other.requests)) == (1, 1)
        assert process.stop() == 0
    rows = sorted(line for line in process.out if line.startswith("  ok"))  # in the order in which they were fetched
    assert rows == ["  ok          p0  1 model", "  ok          p1  1 model"]


def test_a_fetched_list_is_sent_to_all_workers(config: Path, upstreams: FakeProviders) -> None:
    provider = upstreams.open(in_sequence(lists("a-1"), lists("a-1", "a-2")))
    with processes.serving(config, text(provider)) as process:
        url = process.url
        assert everywhere(url, "a-1")
        request(url, "/admin/refresh", "POST")
        until(lambda: everywhere(url, "a-1", "a-2"))
        assert len(provider.requests) == 2
        assert process.stop() == 0
        assert len([line for line in process.err if "1 model added (a-2)" in line]) == 1


def test_the_fetch_of_a_worker_that_is_killed_is_repeated_by_another_one(
    config: Path, upstreams: FakeProviders
) -> None:
    provider = upstreams.open(in_sequence(hangs, lists("a-1")))
    with processes.serving(config, text(provider)) as process:
        until(lambda: len(provider.requests) == 1)
        os.kill(connected_to(provider.port, children(process.pid)), signal.SIGKILL)
        assert everywhere(process.url, "a-1")
        assert len(provider.requests) == 2
        assert process.stop() == 0


def call(url: str, path: str, body: object | None, key: str) -> tuple[int, Any]:
    """The response to a call, or to a request without a body, on a new connection."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, headers)
        response = connection.getresponse()
        return response.status, json.load(response)


KEY = "mp-made-up-caller-key"
KEYS = f"keys: [{{name: caller, hash: '{digest(KEY)}', models: ['*']}}]\n"


def test_a_rate_limit_of_one_worker_is_known_to_all(config: Path, upstreams: FakeProviders) -> None:
    async def script(exchange: Exchange) -> None:
        is_list = exchange.request.path.endswith("/models")
        busy = replies({"error": {"message": "slow down"}}, 429, {"Retry-After": "60"})
        await (lists("a-1") if is_list else busy)(exchange)

    provider = upstreams.open(script)
    with processes.serving(config, KEYS + text(provider)) as process:
        url = process.url
        body = {"model": "a-1", "messages": []}

        def is_known_to_all() -> bool:
            before = len(provider.requests)
            assert {call(url, "/v1/chat/completions", body, KEY)[0] for _ in range(20)} == {429}
            return len(provider.requests) == before

        assert call(url, "/v1/chat/completions", body, KEY)[0] == 429
        until(is_known_to_all)
        assert len(provider.requests) <= 1 + 4
        assert process.stop() == 0


def test_a_stored_response_is_found_by_all_workers(config: Path, upstreams: FakeProviders) -> None:
    async def script(exchange: Exchange) -> None:
        is_list = exchange.request.path.endswith("/models")
        stored = {"id": "resp_1", "object": "response", "model": "a-1", "output": []}
        await (lists("a-1") if is_list else replies(stored))(exchange)

    provider = upstreams.open(script)
    with processes.serving(config, KEYS + text(provider)) as process:
        url = process.url
        assert call(url, "/v1/responses", {"model": "a-1", "input": "hello"}, KEY)[0] == 200
        assert {call(url, "/v1/responses/resp_1", None, KEY)[0] for _ in range(20)} == {200}
        assert process.stop() == 0

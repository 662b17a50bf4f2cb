"""Usage of several workers: each answers for all, and nothing is lost when they end."""

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

from proxy.server.workers.messages import Message
from proxy.server.workers.processes import Place, Worker
from proxy.server.workers.usage import ANSWER_SECONDS, UsageOfWorkers, WorkerUsage
from proxy.server.workers.usage_messages import GetUsage, UsagePart, UsageParts, UsageRows
from proxy.store.disk import Disk
from proxy.store.usage_files import UsageFiles
from tests import processes
from tests.fakes import FakeClock, digest
from tests.processes import until
from tests.providers.scripted import FakeProviders, replies

pytestmark = pytest.mark.anyio

KEY = "mp-made-up-admin-key"
CONFIG = """
logging: {{access: off}}
server: {{workers: {workers}, drain_delay: 100ms}}
store: {{directory: {directory}}}
keys: [{{name: ops, hash: '{digest}', models: ['*'], admin: true}}]
groups: {{staff: {{models: ['*']}}}}
providers: [{{name: a, base_url: 'http://127.0.0.1:{port}/v1', models: [{{id: m}}]}}]
"""
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "choices": [],
    "usage": {"prompt_tokens": 2, "completion_tokens": 3},
}


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


def send(url: str, method: str, path: str, body: str = "") -> Any:
    """The response on a new connection, so that any of the workers sends it."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        assert response.status == 200
        return json.load(response)


def call(url: str, times: int) -> None:
    for _ in range(times):
        send(url, "POST", "/v1/chat/completions", '{"model": "m", "messages": []}')


def counted(url: str) -> int:
    return send(url, "GET", "/admin/usage?by=key")["total"]["requests"]  # type: ignore[no-any-return]


def written(directory: Path) -> int:
    """The calls in the files."""
    hours = UsageFiles(Disk(str(directory))).read("UTC").hours.values()
    return sum(counts.requests for rows in hours for _, counts in rows.items())


def children(pid: int) -> list[int]:
    return sorted(int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split())


def test_each_worker_answers_for_all_and_a_restart_continues(upstreams: FakeProviders, tmp_path: Path) -> None:
    provider = upstreams.open(replies(COMPLETION))
    config = tmp_path / "config.yaml"

    def text(workers: int) -> str:
        return CONFIG.format(workers=workers, directory=tmp_path / "store", digest=digest(KEY), port=provider.port)

    with processes.serving(config, text(3)) as process:
        url = process.url
        call(url, 30)
        assert {counted(url) for _ in range(20)} == {30}
        row = send(url, "GET", "/v1/usage")["data"][0]
        assert (row["model"], row["input_tokens"], row["output_tokens"]) == ("m", 60, 90)
        states = [send(url, "GET", "/health")["store"]["usage"]["rows"] for _ in range(12)]
        assert states == [1] * 12
        until(lambda: written(tmp_path / "store") == 30)
        os.kill(children(process.pid)[0], signal.SIGKILL)  # that of all, as the first one that was started
        until(lambda: len(children(process.pid)) == 3)
        until(lambda: counted(url) == 30)
        call(url, 12)
        assert process.stop() == 0
    with processes.serving(config, text(1)) as process:
        assert counted(process.url) == 42
        assert process.stop() == 0


class Supervised:
    """The supervisor's side, with workers that only record what they are sent."""

    def __init__(self, clock: FakeClock, workers: int) -> None:
        self.sent: list[tuple[int, Message]] = []
        self.usage = UsageOfWorkers(lambda worker, message: self.sent.append((worker.pid, message)), clock.monotonic)
        self.workers = [Worker(pid, Place(pid, []), None, 0.0) for pid in range(workers)]  # type: ignore[arg-type]
        for worker in self.workers:
            worker.is_ready = True

    def take(self) -> list[tuple[int, Message]]:
        sent, self.sent = self.sent, []
        return sent


def test_rows_go_to_the_leader_also_to_a_later_one(clock: FakeClock) -> None:
    supervised = Supervised(clock, 3)
    first, second, other = supervised.workers
    usage = supervised.usage
    usage.handle(other, UsageRows(b"1"), supervised.workers)
    assert supervised.take() == []
    usage.set_leader(first)
    usage.handle(other, UsageRows(b"2"), supervised.workers)
    assert supervised.take() == [(0, UsageRows(b"1")), (0, UsageRows(b"2"))]
    first.is_stopping = True
    usage.handle(other, UsageRows(b"3"), supervised.workers)
    assert supervised.take() == []
    usage.set_leader(second)
    assert supervised.take() == [(1, UsageRows(b"3"))]
    usage.set_leader(None)
    usage.handle(other, UsageRows(b"4"), supervised.workers)
    assert (supervised.take(), usage.rest) == ([], [b"4"])


def test_the_leader_gets_a_query_after_the_others_have_sent_their_rows(clock: FakeClock) -> None:
    supervised = Supervised(clock, 3)
    leader, second, third = supervised.workers
    usage = supervised.usage
    usage.set_leader(leader)
    usage.handle(second, GetUsage(7, b"query"), supervised.workers)
    usage.finish()
    assert sorted(supervised.take(), key=str) == [(1, GetUsage(1, b"query")), (2, GetUsage(1, b"query"))]
    usage.handle(second, UsagePart(1, b"b"), supervised.workers)
    usage.finish()
    assert supervised.take() == []
    usage.handle(third, UsagePart(1, b"c"), supervised.workers)
    usage.finish()
    assert supervised.take() == [(0, GetUsage(1, b"query"))]
    usage.handle(leader, UsagePart(1, b"a"), supervised.workers)
    usage.finish()
    assert supervised.take() == [(1, UsageParts(7, [b"b", b"c", b"a"]))]
    assert usage.next_at == float("inf")


async def test_a_worker_that_ends_or_hangs_does_not_stop_an_answer(clock: FakeClock) -> None:
    supervised = Supervised(clock, 3)
    leader, second, third = supervised.workers
    usage = supervised.usage
    usage.set_leader(leader)
    usage.handle(leader, GetUsage(1, b""), supervised.workers)
    usage.remove(second)
    usage.handle(third, UsagePart(1, b"c"), supervised.workers)
    usage.handle(third, UsagePart(99, b"late"), supervised.workers)
    usage.finish()
    supervised.take()
    assert usage.next_at == clock.monotonic() + ANSWER_SECONDS
    await clock.advance(ANSWER_SECONDS)
    usage.finish()
    assert supervised.take() == [(0, UsageParts(1, [b"c"]))]


class Counted:
    """The usage of a worker."""

    pass_on: Any = None

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def receive(self, rows: bytes) -> None:
        self.received.append(rows)

    async def part(self, query: bytes) -> bytes:
        return query.upper()


async def test_a_worker_answers_and_sends_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.server.workers.usage.ANSWER_SECONDS", 0.01)
    sent: list[Message] = []
    worker, counted = WorkerUsage(), Counted()

    def send(message: Message) -> None:
        sent.append(message)
        if isinstance(message, GetUsage) and message.query == b"all":
            worker.handle(UsageParts(message.request, [b"1", b"2"]))
            worker.handle(UsageParts(99, [b"late"]))

    worker.connect(send, counted)
    counted.pass_on(b"rows")
    worker.handle(UsageRows(b"of another"))
    assert await worker.fetch(b"all") == [b"1", b"2"]
    assert await worker.fetch(b"silence") == []
    worker.handle(GetUsage(5, b"own"))
    await worker.fetch(b"silence")

    assert (sent[0], counted.received) == (UsageRows(b"rows"), [b"of another"])
    assert UsagePart(5, b"OWN") in sent

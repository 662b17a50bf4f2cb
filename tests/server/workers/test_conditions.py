"""Each worker answers probes for all."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from proxy.api.workers import Condition
from proxy.server.workers.channel import Channel
from proxy.server.workers.conditions import Conditions, WorkerConditions
from proxy.server.workers.messages import FromWorker, Message, OtherConditions, OwnCondition
from proxy.server.workers.processes import Place, Worker
from proxy.states import Calls
from tests import processes
from tests.processes import until
from tests.server.workers.test_workers import children, get, text

SENT = list[tuple[int, Message]]


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    end, other = socket.socketpair()
    with end, other:
        channel: Channel[FromWorker] = Channel(end, FromWorker)
        yield [Worker(number, Place(number, ()), channel, 0.0) for number in (1, 2, 3)]


def test_each_worker_gets_the_conditions_of_the_others(workers: list[Worker]) -> None:
    sent: SENT = []
    conditions = Conditions(lambda worker, message: sent.append((worker.pid, message)))
    conditions.changed(workers[0], b"one", workers)
    assert sent == [(1, OtherConditions([])), (2, OtherConditions([b"one"])), (3, OtherConditions([b"one"]))]
    sent.clear()
    conditions.changed(workers[1], b"two", workers)
    assert sent == [
        (1, OtherConditions([b"two"])),
        (2, OtherConditions([b"one"])),
        (3, OtherConditions([b"one", b"two"])),
    ]
    sent.clear()
    conditions.remove(workers[0], workers[1:])
    assert sent == [(2, OtherConditions([])), (3, OtherConditions([b"two"]))]
    sent.clear()
    conditions.remove(workers[2], workers[1:2])
    assert sent == []


def test_each_worker_answers_for_itself_when_the_server_stops(workers: list[Worker]) -> None:
    sent: SENT = []
    conditions = Conditions(lambda worker, message: sent.append((worker.pid, message)))
    conditions.changed(workers[0], b"one", workers)
    sent.clear()
    conditions.end(workers)
    assert sent == [(number, OtherConditions([])) for number in (1, 2, 3)]
    conditions.changed(workers[0], b"stops", workers)
    assert len(sent) == 3


@pytest.mark.anyio
async def test_a_condition_is_sent_when_it_has_changed() -> None:
    sent: list[Message] = []
    own = Condition(True, {"lab": Calls("ok", 0, 0, [])})
    conditions = WorkerConditions()
    conditions.stop()
    for _ in range(2):
        conditions.start(lambda: own, sent.append)
        conditions.stop()
    (message,) = sent
    assert isinstance(message, OwnCondition)
    conditions.received(OtherConditions([message.data]))
    assert conditions.others == [own]
    own = msgspec.structs.replace(own, is_ready=False)
    conditions.start(lambda: own, sent.append)
    conditions.stop()
    assert len(sent) == 2


def test_a_worker_that_is_replaced_does_not_end_the_readiness(tmp_path: Path) -> None:
    with processes.serving(tmp_path / "config.yaml", text(2).replace("300ms", "1s")) as process:
        url = process.url
        until(lambda: all(get(url, "/readyz")[0] == 200 for _ in range(20)))
        before = children(process.pid)
        os.kill(min(before), signal.SIGTERM)
        while children(process.pid) == before:
            assert get(url, "/readyz") == (200, {"status": "ready"})
        assert process.stop() == 0


CALLED = """
logging: {{access: off}}
server: {{workers: 2, drain_delay: 100ms}}
groups: {{default: {{models: ["*"], call: true}}}}
providers:
  - {{name: lab, kind: static, call: {{base_url: "http://127.0.0.1:{port}/v1"}}, models: [{{id: m}}]}}
"""
CALL = json.dumps({"model": "m", "messages": []})


def test_a_circuit_that_opens_in_one_worker_is_shown_by_all(tmp_path: Path) -> None:
    configuration = CALLED.format(port=processes.free_port())
    with processes.serving(tmp_path / "config.yaml", configuration) as process:
        url = process.url
        with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
            for _ in range(6):
                connection.request("POST", "/v1/chat/completions", CALL, {"Content-Type": "application/json"})
                connection.getresponse().read()

        def candidate() -> tuple[bool, str]:
            (found,) = get(url, "/admin/explain?model=m")[1]["calls"]["candidates"]
            return found["is_skipped"], found["reasons"][0]["text"] if found["reasons"] else ""

        until(lambda: all(get(url, "/health")[1] == {"status": "degraded"} for _ in range(20)))
        until(lambda: all(candidate()[0] for _ in range(10)))
        assert all("circuit breaker open" in candidate()[1] for _ in range(10))
        assert process.stop() == 0

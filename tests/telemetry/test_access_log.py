"""Which requests are logged, and limits of refused ones."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from proxy.telemetry import Telemetry
from proxy.telemetry.access_log import MAX_REFUSALS, REFUSAL_SECONDS, Access, AccessLog
from proxy.telemetry.events import CallRecord, ModelsChange, RefusedRequest
from proxy.telemetry.line_fields import EndedCall, EndedRequest
from tests.telemetry.calls import record


class Log:
    """An access log, the lines that it writes, and the functions that it calls later."""

    def __init__(self, access: Access, *, is_quiet: bool = False) -> None:
        self.lines: list[EndedCall | EndedRequest] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.telemetry = Telemetry(lambda: 7.5)
        log = AccessLog(
            self.lines.append, lambda: 99.0, lambda seconds, function: self.later.append((seconds, function))
        )
        log.access, log.is_quiet = access, is_quiet
        self.telemetry.add(log)

    def request(self, status: int, *, key: str | None = "alice", call: CallRecord | None = None) -> None:
        ended = RefusedRequest(status, "code", b"id-1", "10.0.0.1", 5.0, "GET", "/v1/models", key, b"203.0.113.7", call)
        self.telemetry.request_ended(ended)


@pytest.mark.parametrize(
    ("access", "logged"),
    [("off", []), ("calls", [401, 403, 404, 429, 500]), ("all", [200, 304, 401, 403, 404, 429, 500, 499])],
)
def test_requests_are_logged_by_their_status(access: Access, logged: list[int]) -> None:
    log = Log(access)
    for status in (200, 304, 401, 403, 404, 429, 500, 0):
        log.request(status)

    assert [line.status for line in log.lines if isinstance(line, EndedRequest)] == logged


def test_the_line_of_a_request_has_its_values() -> None:
    log = Log("all")
    log.request(200)

    assert log.lines == [
        EndedRequest(99.0, b"id-1", "alice", "10.0.0.1", b"203.0.113.7", "GET", "/v1/models", 200, "code", 2.5)
    ]


@pytest.mark.parametrize("access", ["calls", "all"])
def test_a_call_is_one_line(access: Access) -> None:
    log, call = Log(access), record(status=404)
    log.request(404, call=call)

    assert log.lines == [EndedCall(99.0, call)]


def test_without_lines_of_calls_the_reason_of_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("off")
    log.request(200, call=record())
    log.request(502, call=record(reason="status 500: no", key=""))

    assert log.lines == []
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        (
            "WARNING",
            "call 337e9a60e42d-8: provider openai: status 500: no; model 'gpt-4o', no key, "
            "upstream request id req_51f0",
        )
    ]


def test_a_higher_level_leaves_failed_calls() -> None:
    log, failed = Log("all", is_quiet=True), record(reason="status 500", outcome="failed")
    log.request(200)
    log.request(401, key=None)
    log.request(200, call=record())
    log.request(502, call=failed)

    assert log.lines == [EndedCall(99.0, failed)]


def test_a_flood_of_wrong_keys_is_limited_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = Log("all")
    for _ in range(1000):
        log.request(401, key=None)
        log.request(200)
    log.request(404, key=None)

    statuses = [line.status for line in log.lines if isinstance(line, EndedRequest)]
    assert (statuses.count(401), statuses.count(200), statuses.count(404)) == (MAX_REFUSALS, 1000, 1)
    ((seconds, end),) = log.later
    assert seconds == REFUSAL_SECONDS
    end()
    assert [each.getMessage() for each in caplog.records] == [
        "990 more requests with status 401 in the last 10 s were not logged"
    ]
    log.request(401, key=None)
    assert len(log.later) == 2
    assert len(log.lines) == len(statuses) + 1


def test_long_headers_are_not_kept() -> None:
    log, call = Log("all"), record(forwarded_for=b"x" * 30_000 + b"203.0.113.7")
    log.request(200, call=call)

    assert call.forwarded_for[-11:] == b"203.0.113.7"
    assert len(call.forwarded_for) == 512


def test_changes_of_models_are_logged_with_their_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = Log("off")
    log.telemetry.models_changed(ModelsChange("a", ["x", "y"], ["z"]))
    log.telemetry.models_changed(ModelsChange("a", [], [f"m{number}" for number in range(500)]))

    assert [each.getMessage() for each in caplog.records] == [
        "provider a: 2 models added (x, y), 1 model removed (z)",
        "provider a: 500 models removed (m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, and 490 more)",
    ]

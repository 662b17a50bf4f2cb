"""logs.md documents every field, outcome and setting, and its examples are real lines."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from typing import get_args

import pytest

from proxy.server.output import MAX_LINES
from proxy.telemetry.access_log import MAX_REFUSALS, REFUSAL_SECONDS, AccessLog
from proxy.telemetry.events import CallOutcome, ModelsChange
from proxy.telemetry.line_fields import CallLine, EndedCall, EndedRequest
from proxy.telemetry.lines import ConsoleLines, JsonLines
from proxy.telemetry.message_fields import EVENTS
from tests.docs.pages import DOCS, blocks, code, rows, section, text_of
from tests.telemetry.calls import ENDED_AT, record

PAGE = DOCS / "logs.md"
JSON = JsonLines(lambda peer, forwarded_for: forwarded_for.decode(), lambda text: False)
CONSOLE = ConsoleLines(lambda peer, forwarded_for: forwarded_for.decode(), lambda text: False, "utf-8")
FIELDS = {name for kind in EVENTS for name in kind.__struct_fields__}
REQUEST = EndedRequest(
    ENDED_AT, b"337e9a60e42d-9", "", "10.0.0.1", b"203.0.113.7", "GET", "/v1/models", 401, "invalid_api_key", 0.0002
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_every_field_of_a_call_is_documented_in_its_order() -> None:
    table = rows(section(PAGE, "Calls"))

    assert [name for row in table for name in code(row[0])] == list(CallLine.__struct_fields__)


def test_every_outcome_is_documented() -> None:
    table = section(PAGE, "Calls").rpartition("| `outcome` | meaning |\n")[2]
    outcomes = rows(f"| outcome | meaning |\n{table}")

    assert [name for row in outcomes for name in code(row[0])] == list(get_args(CallOutcome))


def test_the_fields_of_every_event_are_documented_in_their_order() -> None:
    table = section(PAGE, "Messages").rpartition("| `event` | when | fields |\n")[2]
    documented = {
        row[0].strip("`"): [name for name in code(row[2]) if name in FIELDS] for row in rows(f"| e | w | f |\n{table}")
    }

    assert documented == {event: list(kind.__struct_fields__) for kind, event in EVENTS.items()}


def test_the_examples_are_real_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    access = AccessLog(lambda line: None, lambda: 0.0, lambda seconds, function: None)
    access.models_changed(ModelsChange("openai", ["gpt-6", "gpt-6-mini"], ["gpt-3.5-turbo"]))
    (message,) = caplog.records
    message.created, message.msecs = ENDED_AT, 250.0

    call = EndedCall(ENDED_AT, record())
    assert blocks(PAGE, "json") == [
        f"{line.decode()}\n" for line in (JSON.access(call), JSON.access(REQUEST), JSON.record(message))
    ]
    assert blocks(PAGE, "text") == [
        f"{line.decode()}\n"
        for line in (
            CONSOLE.access(call), CONSOLE.access(REQUEST), CONSOLE.record(message), CONSOLE.dropped(12, ENDED_AT)
        )
    ]  # fmt: skip
    for text in blocks(PAGE, "json"):
        json.loads(text)


def test_the_limits_are_those_of_the_code() -> None:
    text = re.sub(r"\s+", " ", text_of(PAGE))

    assert f"Up to {MAX_LINES:,} lines wait" in text
    assert f"{MAX_REFUSALS} lines per status are written in {REFUSAL_SECONDS:g} s" in text

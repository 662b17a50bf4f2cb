"""Lines of the log: whole values in both formats, and hostile texts."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.line_fields import EndedCall, EndedRequest
from proxy.telemetry.lines import ConsoleLines, JsonLines, Lines, local_time, utc_time
from proxy.telemetry.message_fields import CircuitFields, attributes
from tests.telemetry.calls import ENDED_AT, record

ACTIVE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = "a\n\x1b[31m\u202e\udc80 =\"'é猫🎈\x7f\u2028"


def address_of(peer: str, forwarded_for: bytes) -> str:
    return forwarded_for.decode("latin-1") or peer


def looks_secret(text: str) -> bool:
    return text.startswith("sk-")


JSON, CONSOLE = JsonLines(address_of, looks_secret), ConsoleLines(address_of, looks_secret, "utf-8")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def request(**fields: Any) -> EndedRequest:
    values = {
        "request_id": b"337e9a60e42d-9", "key": "", "peer": "10.0.0.1", "forwarded_for": b"203.0.113.7",
        "method": "GET", "route": "/v1/models", "status": 401, "error": "invalid_api_key", "seconds": 0.0002,
    }  # fmt: skip
    return EndedRequest(ENDED_AT, **{**values, **fields})


def parsed(line: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(line)
    return value


def test_a_call_in_json_has_all_fields() -> None:
    assert list(parsed(JSON.access(EndedCall(ENDED_AT, record()))).items()) == [
        ("time", "2027-01-15T08:00:00.250Z"),
        ("level", "info"),
        ("event", "call"),
        ("request_id", "337e9a60e42d-8"),
        ("upstream_request_id", "req_51f0"),
        ("key", "alice"),
        ("client", "203.0.113.7"),
        ("method", "POST"),
        ("route", "/v1/chat/completions"),
        ("api", "openai"),
        ("model", "gpt-4o"),
        ("stream", True),
        ("provider", "openai"),
        ("status", 200),
        ("outcome", "ok"),
        ("error", ""),
        ("reason", ""),
        ("attempts", 1),
        ("failovers", 0),
        ("queue_seconds", 0.0),
        ("first_byte_seconds", 0.412),
        ("seconds", 3.25),
        ("input_tokens", 12),
        ("output_tokens", 345),
        ("bytes_in", 512),
        ("bytes_out", 20480),
    ]


def test_a_call_as_text_has_the_fields_with_a_value() -> None:
    assert CONSOLE.access(EndedCall(ENDED_AT, record())).decode() == (
        "2027-01-15 08:00:00,250 INFO models_proxy: call 337e9a60e42d-8: 200 ok key=alice model=gpt-4o provider=openai "
        "route=/v1/chat/completions stream=true first_byte_seconds=0.412 seconds=3.25 input_tokens=12 "
        "output_tokens=345 bytes_in=512 bytes_out=20480 client=203.0.113.7 upstream_request_id=req_51f0"
    )


def test_a_failed_call_is_a_warning_with_its_reason() -> None:
    failed = record(
        status=502, outcome="failed", error="provider_failed", reason='status 500: "no"', attempts=2, failovers=1,
        queue_seconds=0.1234567, first_byte=None, upstream_request_id="", input_tokens=0, output_tokens=0, key="",
    )  # fmt: skip

    assert CONSOLE.access(EndedCall(ENDED_AT, failed)).decode() == (
        "2027-01-15 08:00:00,250 WARNING models_proxy: call 337e9a60e42d-8: 502 failed error=provider_failed "
        "model=gpt-4o provider=openai route=/v1/chat/completions stream=true attempts=2 failovers=1 "
        "queue_seconds=0.123457 seconds=3.25 bytes_in=512 bytes_out=20480 client=203.0.113.7 "
        r'reason="status 500: \"no\""'
    )
    line = parsed(JSON.access(EndedCall(ENDED_AT, failed)))
    assert (line["level"], line["first_byte_seconds"], line["reason"]) == ("warning", None, 'status 500: "no"')


def test_a_request_in_both_formats() -> None:
    assert parsed(JSON.access(request())) == {
        "time": "2027-01-15T08:00:00.250Z", "level": "info", "event": "request", "request_id": "337e9a60e42d-9",
        "key": "", "client": "203.0.113.7", "method": "GET", "route": "/v1/models", "status": 401,
        "error": "invalid_api_key", "seconds": 0.0002,
    }  # fmt: skip
    assert CONSOLE.access(request()).decode() == (
        "2027-01-15 08:00:00,250 INFO models_proxy: request 337e9a60e42d-9: 401 error=invalid_api_key method=GET "
        "route=/v1/models seconds=0.0002 client=203.0.113.7"
    )


def test_a_method_that_a_client_made_up_is_not_logged() -> None:
    methods = ("POST", "sk-canary", "")

    assert [parsed(JSON.access(request(method=method)))["method"] for method in methods] == ["POST", "other", ""]
    assert b"method=other" in CONSOLE.access(request(method="sk-canary"))


def log_record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    exc_info = None
    if error:
        try:
            raise error
        except Exception:
            exc_info = sys.exc_info()
    result = logging.LogRecord("models_proxy", logging.WARNING, "file.py", 1, message, arguments, exc_info)
    result.created, result.msecs = ENDED_AT, 250.0
    return result


def test_a_message_in_both_formats() -> None:
    message = log_record("provider %s is %s", "a", "stale")

    assert parsed(JSON.record(message)) == {
        "time": "2027-01-15T08:00:00.250Z", "level": "warning", "event": "message", "logger": "models_proxy",
        "message": "provider a is stale",
    }  # fmt: skip
    assert CONSOLE.record(message).decode() == "2027-01-15 08:00:00,250 WARNING models_proxy: provider a is stale"


def test_fields_of_a_message_follow_it_in_json_and_are_not_in_text() -> None:
    message = log_record("provider %s: circuit breaker of calls open", "a")
    vars(message).update(attributes(CircuitFields("a", "m\n\u202e", None, "ok", "open")))
    line = JSON.record(message)

    assert parsed(line) == {
        "time": "2027-01-15T08:00:00.250Z", "level": "warning", "event": "circuit", "logger": "models_proxy",
        "message": "provider a: circuit breaker of calls open",
        "provider": "a", "model": "m\n\u202e", "key": None, "before": "ok", "state": "open",
    }  # fmt: skip
    assert ACTIVE.search(line.decode()) is None
    assert CONSOLE.record(message).decode().endswith("WARNING models_proxy: provider a: circuit breaker of calls open")


@pytest.mark.parametrize("lines", [JSON, CONSOLE], ids=["json", "console"])
def test_exceptions_are_logged_without_their_text(lines: Lines) -> None:
    text = lines.record(log_record("task failed", error=ValueError("-".join(("sk", "canary"))))).decode()

    assert "task failed" in text
    assert "ValueError" in text
    assert "in log_record" in text
    assert "sk-canary" not in text


def test_dropped_lines_are_reported_in_both_formats() -> None:
    assert parsed(JSON.dropped(12, ENDED_AT)) == {
        "time": "2027-01-15T08:00:00.250Z", "level": "warning", "event": "message", "logger": "models_proxy",
        "message": "output: dropped 12 lines, because writing was blocked or failed",
    }  # fmt: skip
    assert CONSOLE.dropped(12, ENDED_AT).decode() == (
        "2027-01-15 08:00:00,250 WARNING models_proxy: output: dropped 12 lines, because writing was blocked or failed"
    )


@pytest.mark.parametrize("lines", [JSON, CONSOLE], ids=["json", "console"])
def test_a_key_in_place_of_a_model_is_hidden(lines: Lines) -> None:
    unknown = record(
        model="sk-canary-of-a-client", is_known=False, attempts=0, provider="", status=404, error="model_not_found"
    )

    assert b"canary" not in lines.access(EndedCall(ENDED_AT, unknown))
    assert b"***" in lines.access(EndedCall(ENDED_AT, unknown))


def test_long_models_are_cut() -> None:
    assert parsed(JSON.access(EndedCall(ENDED_AT, record(model="m" * 10_000))))["model"] == "m" * 256


texts = st.one_of(st.text(), st.just(HOSTILE), st.text(st.characters(categories=["Cs", "Cc", "Cf"])))


@given(model=texts, reason=texts, is_known=st.booleans())
def test_hostile_texts_make_one_line_that_parses(model: str, reason: str, *, is_known: bool) -> None:
    call = EndedCall(ENDED_AT, record(model=model, reason=reason, is_known=is_known))
    line, text = JSON.access(call).decode(), CONSOLE.access(call).decode()

    assert (ACTIVE.search(line), ACTIVE.search(text)) == (None, None)
    shown = model[:256].encode("utf-8", "backslashreplace").decode()
    assert parsed(line.encode())["model"] == ("***" if not is_known and looks_secret(model) else shown)


@given(message=texts)
def test_hostile_messages_make_one_line_of_json(message: str) -> None:
    line = JSON.record(log_record("%s", message)).decode()

    assert ACTIVE.search(line) is None
    assert parsed(line.encode())["message"] == message.encode("utf-8", "backslashreplace").decode()


def test_texts_that_the_encoding_lacks_are_escaped() -> None:
    lines = ConsoleLines(address_of, looks_secret, "ascii")

    assert rb"model=\u732b" in lines.access(EndedCall(ENDED_AT, record(model="猫")))


@pytest.mark.parametrize(
    ("seconds", "time"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.9996, "2027-01-15T08:00:00.999Z"),
        (1_800_000_001.0, "2027-01-15T08:00:01.000Z"),
    ],
)
def test_times_have_milliseconds(seconds: float, time: str) -> None:
    assert utc_time(seconds) == time
    assert local_time(seconds) == time.replace("T", " ").replace(".", ",").removesuffix("Z")

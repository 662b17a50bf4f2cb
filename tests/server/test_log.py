"""The log of the process: settings, options, and changes while it is used."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from proxy.config import Config
from proxy.server.log import Log, LogOptions
from proxy.telemetry.events import CallRecord, RefusedRequest
from tests.fakes import config_of
from tests.telemetry.calls import ENDED_AT, record

LAB = "providers: [{name: lab, kind: static, models: [{id: m}]}]\n"
TRUSTED = "server: {trusted_proxies: [10.0.0.0/8]}\n"


class Written:
    """A log, and what it has written after `read`."""

    def __init__(self, config: Config, *, options: LogOptions | None = None, is_terminal: bool = False) -> None:
        self._data = b""
        self.log = Log(self._write, lambda: ENDED_AT, options=options or LogOptions(), is_terminal=is_terminal)
        self._level = logging.getLogger().level
        self.log.configure(config)

    def _write(self, data: bytes) -> None:
        self._data += data

    def message(self, text: str) -> None:
        self.log.record(logging.LogRecord("models_proxy", logging.INFO, "", 0, text, (), None))

    def call(self, call: CallRecord | None = None) -> None:
        self.log.access.call_ended(call or record())

    def request(self, status: int) -> None:
        self.log.access.request_ended(RefusedRequest(status, "", b"id", "10.0.0.1", 0.0, key="alice"), 0.5)

    def read(self) -> list[str]:
        self.log.close()
        logging.getLogger().setLevel(self._level)
        return self._data.decode().splitlines()


@pytest.mark.parametrize(
    ("setting", "option", "is_terminal", "is_json"),
    [
        ("auto", None, True, False),
        ("auto", None, False, True),
        ("console", None, False, False),
        ("json", None, True, True),
        ("json", "console", False, False),
        ("console", "json", True, True),
        ("json", "auto", True, False),
    ],
)
def test_the_format_is_that_of_the_option_then_of_the_setting(
    setting: str, option: Any, is_terminal: bool, is_json: bool
) -> None:
    config = config_of(f"logging: {{format: {setting}}}\n{LAB}")
    written = Written(config, options=LogOptions(format=option), is_terminal=is_terminal)
    written.message("text")
    (line,) = written.read()

    assert line.startswith("{") == is_json == written.log.is_json


@pytest.mark.parametrize(("level", "lines"), [("info", 3), ("warning", 0), ("error", 0)])
def test_the_level_hides_lines_of_successful_requests(level: str, lines: int) -> None:
    written = Written(config_of(f"logging: {{level: {level}, access: all}}\n{LAB}"))
    written.call()
    written.request(200)
    written.request(404)

    assert len(written.read()) == lines


def test_an_option_overrides_the_level() -> None:
    written = Written(config_of(f"logging: {{level: error}}\n{LAB}"), options=LogOptions(level="info"))
    assert logging.getLogger().level == logging.INFO
    written.call()

    assert len(written.read()) == 1


def test_the_access_log_can_be_off() -> None:
    written = Written(config_of(f"logging: {{access: off}}\n{LAB}"))
    written.call()
    written.request(401)

    assert written.read() == []


def test_addresses_are_those_of_clients_behind_trusted_proxies() -> None:
    written = Written(config_of(TRUSTED + LAB))
    written.call()
    written.call(record(forwarded_for=b""))
    written.call(record(peer="192.0.2.1"))

    assert [json.loads(line)["client"] for line in written.read()] == ["203.0.113.7", "10.0.0.1", "192.0.2.1"]


def test_settings_can_change_while_it_is_used() -> None:
    written = Written(config_of(LAB))
    written.call()
    written.log.configure(config_of(f"logging: {{format: console, access: all}}\n{LAB}"))
    written.request(200)
    first, second = written.read()

    # Lines are rendered when they are written, so the first may already have the new format.
    assert "337e9a60e42d-8" in first
    assert "models_proxy: request id: 200" in second


def test_an_invalid_record_is_one_line_without_its_values() -> None:
    written = Written(config_of(LAB))
    written.log.record(logging.LogRecord("models_proxy", logging.ERROR, "", 0, "%d", ("sk-canary-value",), None))
    (line,) = written.read()

    assert json.loads(line)["message"] == "invalid log record (TypeError)"


def test_keys_in_place_of_models_are_hidden() -> None:
    written = Written(config_of(LAB))
    for text in ("sk-canary-0123456789", "mp-1234567890abcdefghij", "gpt-5-unknown"):
        written.call(record(model=text, is_known=False, attempts=0, provider=""))

    assert [json.loads(line)["model"] for line in written.read()] == ["***", "***", "gpt-5-unknown"]

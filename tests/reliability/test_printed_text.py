"""Control and bidirectional characters of providers: they reach neither the terminal, nor the log, nor headers."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.startup import Screen, StartupReport
from proxy.cli.terminal import Failure, Output, show_table
from proxy.inference.response.headers import relayed_headers
from proxy.printable import printable_json
from proxy.telemetry.formatter import LineFormatter
from tests.fakes import config_of
from tests.processes import models_proxy, serving, until
from tests.providers.scripted import Exchange, FakeProviders

ACTIVE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys. A line break is one if the text of a provider contains it."""
HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\u2066\u200f\x85\u2028"
texts = st.text(st.sampled_from(HOSTILE + "\n\r\tab ]\\u9") | st.characters(), max_size=40)


def log_line(text: str) -> str:
    record = logging.LogRecord("models_proxy", logging.INFO, "", 0, "provider %s failed", (text,), None)
    return LineFormatter().format(record)


def printed(write: Callable[[Output], None]) -> str:
    stream = io.StringIO()
    write(Output(stream))
    return stream.getvalue().removesuffix("\n")


def row(text: str) -> str:
    return printed(lambda output: show_table(output, [("id", "fold")], [[text]])).partition("\n")[2]


def printed_json(text: str) -> str:
    shown = printable_json(json.dumps({"id": text}, ensure_ascii=False))
    assert json.loads(shown) == {"id": text}
    return shown


def header(text: str) -> str:
    headers = [(b"retry-after", text.encode("utf-8", "surrogatepass")), (b"OpenAI-Model", b"m")]
    model = text.encode("utf-8", "replace").decode()  # requests cannot contain lone surrogates
    return "".join(value.decode("latin-1") for _, value in relayed_headers(headers, own_id="m", model=model))


@pytest.mark.parametrize("show", [log_line, row, printed_json, header])
@given(text=texts)
def test_a_text_of_a_provider_is_printed_without_active_characters_and_on_one_line(
    show: Callable[[str], str], text: str
) -> None:
    shown = show(text)
    assert ACTIVE.search(shown) is None
    assert "\n" not in shown


@given(text=texts)
def test_a_message_of_several_lines_is_printed_without_active_characters(text: str) -> None:
    assert ACTIVE.search(printed(lambda output: output.print(text))) is None


def test_errors_and_the_start_table_are_printed_without_active_characters(capsys: pytest.CaptureFixture[str]) -> None:
    Failure(HOSTILE).show()
    rows: list[str] = []
    config = config_of("providers: [{name: lab, kind: static, models: [m]}]")
    StartupReport(config, "config.yaml", Screen(rows.append, rows.append)).print(HOSTILE)
    shown = "".join([*capsys.readouterr(), *rows])
    assert ACTIVE.search(shown) is None
    assert shown.count("owned") == 2


def test_exception_in_the_log_has_no_active_characters() -> None:
    error = ValueError(HOSTILE)
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "failed", (), (ValueError, error, None))
    assert ACTIVE.search(LineFormatter().format(record)) is None


async def hostile(exchange: Exchange) -> None:
    body: object = {"data": [{"id": "m"}, {"id": f"a{HOSTILE}"}, {"id": "b\u202e\u2066", "owned_by": f"o{HOSTILE}"}]}
    headers = {"retry-after": "1\x1b[31m", "x-request-id": "a\x9b31m"}
    status = 200
    if exchange.request.path.startswith("/broken") or exchange.request.method == "POST":
        body, status = {"error": {"message": f"quota {HOSTILE} exceeded"}}, 500
    await exchange.reply(json.dumps(body).encode(), status, headers)


def test_hostile_provider_writes_no_active_characters_through_any_command(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    with FakeProviders() as upstreams:
        server = upstreams.open(hostile)
        text = 'groups: {default: {models: ["*"], call: true}}\nproviders:\n' + "".join(
            f"  - {{name: {name}, base_url: '{server.url}/{path}', retries: 0}}\n"
            for name, path in (("good", "v1"), ("broken", "broken/v1"))
        )
        with serving(config, text) as process:
            url = process.url
            response = httpx.post(f"{url}/v1/chat/completions", json={"model": "m"}, trust_env=False, timeout=30)
            commands = [["check", "--config", str(config)], ["models", "--url", url]]
            for command in (*commands, *([*command, "--json"] for command in commands)):
                with models_proxy(*command) as other:
                    other.wait()
                    assert any("b\\u202e\\u2066" in line for line in other.out), command
                    assert not any(map(ACTIVE.search, [*other.out, *other.err])), command
            until(lambda: any("quota" in line for line in process.err))
            process.stop()
    assert not any(map(ACTIVE.search, [*process.out, *process.err]))
    assert not any(ACTIVE.search(value) for value in response.headers.values())

"""The start table of `serve`, and the log lines for later state changes of providers."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from proxy import __version__
from proxy.catalog.bundled import bundled
from proxy.cli.startup import Screen, StartupReport
from proxy.errors import UpstreamError
from proxy.states import ListState
from proxy.store import Report, Store
from proxy.telemetry.message_fields import ListFields
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.processes import CONSOLE, Process, accepts_connections, free_port, serving, until
from tests.providers.lists import CTYUN_WRONG_KEY, lists
from tests.providers.scripted import FakeProviders, delayed, hangs, replies

LAB = """
server: {drain_delay: 500ms}
logging: {access: off}
providers:
  - {name: lab, kind: static, models: [{id: our-own-13b}]}
"""


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=30, trust_env=False)


def test_the_start_table_shows_the_state_of_each_provider_with_its_reason(
    config: Path, upstreams: FakeProviders
) -> None:
    ctyun = upstreams.open(replies(CTYUN_WRONG_KEY, 401))
    text = f"""
cache: {{initial_wait: 60s}}
providers:
  - {{name: good, base_url: "{upstreams.open(lists("m", "n", {"id": ""})).url}"}}
  - {{name: ctyun, base_url: "{ctyun.url}", api_key: sk-canary-app-key}}
  - {{name: away, base_url: "{upstreams.open(hangs).url}", initial_wait: 500ms, timeout: 300s}}
  - {{name: paid-elsewhere, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", optional: true}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
  - {{name: spare, base_url: "http://127.0.0.1:9", disabled: true}}
"""
    with serving(config, text) as process:
        url = process.url
        process.line(process.out, "curl")
        assert process.out[:4] == [
            f"models-proxy {__version__}, {config}: 4 providers, 2 skipped",
            "  skipped     paid-elsewhere  NO_SUCH_VARIABLE not set or empty",
            "  disabled    spare           disabled: true",
            "  declared    lab             1 model",
        ]
        assert set(process.out[4:6]) == {
            "  ok          good            2 models, 1 entry dropped",
            "  failing     ctyun           authentication failed (401: AppKey不正确,请使用正确的AppKey): check the "
            f"provider's api_key; URL: {ctyun.url}/v1/models; retrying in 5 s",
        }
        assert process.out[6:] == [
            "  failing     away            no response within 0.5 s; still trying",
            f"Listening on {url}",
            f"  curl {url}/v1/models",
        ]
        listed = get(process.out[-1].split()[-1]).json()["data"]
        assert [model["id"] for model in listed] == ["m", "n", "our-own-13b"]
        assert (process.stop(), process.err) == (0, [])


def test_a_slow_provider_gets_its_row_when_it_responds(config: Path, upstreams: FakeProviders) -> None:
    text = f"""
cache: {{initial_wait: 300ms}}
providers:
  - {{name: late, base_url: "{upstreams.open(delayed(0.6, lists("m"))).url}"}}
"""
    with serving(config, text) as process:
        process.line(process.out, "curl")
        process.line(process.out, "^  ok          late  1 model$")
        assert get(f"{process.url}/v1/models").json()["data"][0]["id"] == "m"


def test_the_example_request_contains_a_key_if_one_is_required(config: Path) -> None:
    text = LAB + 'keys: [{name: k, key: "${CLIENT_KEY}", models: ["*"]}]'
    with serving(config, text, env={"CLIENT_KEY": "sk-canary-client"}) as process:
        line = process.line(process.out, "^  curl .*$")[0]
        assert line == f'  curl -H "Authorization: Bearer $KEY" {process.url}/v1/models'
        assert get(f"{process.url}/v1/models").status_code == 401
        assert get(f"{process.url}/v1/models", Authorization="Bearer sk-canary-client").status_code == 200


def test_warnings_of_the_configuration_are_printed_on_stderr(config: Path) -> None:
    text = f"""{LAB}
groups: {{default: {{models: ["*"]}}}}
keys: [{{name: k, key: "${{CLIENT_KEY}}", models: ["!secret"]}}]
"""
    with serving(config, text, env={"CLIENT_KEY": "sk-canary-client"}) as process:
        assert process.url
        assert process.stop() == 0
        assert process.err == [
            f"warning: {config}:8: keys[0].models: key k has only deny rules (`!`), so it allows no model; "
            'add "*" to allow the rest',
            f"warning: {config}:7: groups.default: requests without a key can still list the models of this "
            "group; remove it, or add `call: false` to keep it",
        ]


def test_the_log_contains_state_changes_after_the_start_only(config: Path, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(lists("m", "n"))
    text = f"""
cache: {{ttl: 200ms}}
providers:
  - {{name: a, base_url: "{upstream.url}", retries: 0}}
"""
    with serving(config, text) as process:
        assert process.url
        until(lambda: len(upstream.requests) >= 3)
        upstream.script = replies({"error": {"message": "out of order"}}, 500)
        process.line(process.err, "a is stale")
        upstream.script = lists("m", "n")
        process.line(process.err, "a is ok")
        assert process.stop() == 0
        # "refresh of provider a failed" comes first, unless the machine is so slow that the list is already stale.
        assert [line.partition(" models_proxy: ")[2] for line in process.err if "refresh of" not in line] == [
            f"provider a is stale: status 500: out of order; URL: {upstream.url}/v1/models; retrying in 0 s",
            "provider a is ok: 2 models",
        ]


def report_of(state: ListState, error: UpstreamError | None = None) -> Report:
    """The report of a provider with one listed model, which is refreshed again in 5 s."""
    return Report(
        name="a", kind="openai", state=state, probed=True, models=1, fetched_at=None, age=None, error=error,
        next_attempt_in=5.0, breaker="ok", failures=int(error is not None), result=None,
    )  # fmt: skip


def report_to(printed: list[str]) -> StartupReport:
    config = config_of('providers: [{name: a, base_url: "http://127.0.0.1/v1"}]')
    return StartupReport(config, "file", Screen(printed.append, printed.append))


@pytest.mark.parametrize("state", ["incomplete", "empty"])
def test_row_of_a_list_that_may_lack_models_has_their_number_and_the_reason(
    state: ListState,
) -> None:
    printed: list[str] = []
    startup = report_to(printed)
    startup.on_report(report_of(state, UpstreamError("incomplete", "list may be incomplete: why")))

    assert printed == [f"  {state:<10}  a  1 model; list may be incomplete: why; retrying in 5 s"]


def test_the_source_of_bundled_facts_and_how_old_it_is_is_shown(fetch: FakeFetch, clock: FakeClock) -> None:
    printed: list[str] = []
    config = config_of("facts: bundled\nproviders: [{name: lab, kind: static, models: [m]}]")
    StartupReport(config, "file", Screen(printed.append, printed.append)).on_ready(
        "http://h", Store(config, fetch, clock)
    )

    assert f"Facts that no provider reports: {bundled().label(clock.time())}" in printed


def test_each_change_of_the_state_or_its_reason_is_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    refused, timeout = (
        UpstreamError("connection_refused", "connection refused"),
        UpstreamError("timeout", "timed out"),
    )
    printed: list[str] = []
    startup = report_to(printed)
    for report in (
        *(report_of("ok"), report_of("ok")),
        *(report_of("ok", refused), report_of("ok", refused)),
        *(report_of("stale", refused), report_of("stale", refused), report_of("stale", timeout)),
        *(report_of("failing", timeout), report_of("failing", timeout), report_of("ok")),
    ):
        startup.on_report(report)
    assert printed == ["  ok          a  1 model"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "refresh of provider a failed: connection refused; retrying in 5 s"),
        ("WARNING", "provider a is stale: connection refused; retrying in 5 s"),
        ("WARNING", "provider a is stale: timed out; retrying in 5 s"),
        ("WARNING", "provider a is failing: timed out; retrying in 5 s"),
        ("INFO", "provider a is ok: 1 model"),
    ]
    assert [(vars(record)["event"], vars(record)["fields"]) for record in caplog.records] == [
        ("list", ListFields("a", "ok", 1, 1, "connection_refused")),
        ("list", ListFields("a", "stale", 1, 1, "connection_refused")),
        ("list", ListFields("a", "stale", 1, 1, "timeout")),
        ("list", ListFields("a", "failing", 1, 1, "timeout")),
        ("list", ListFields("a", "ok", 1)),
    ]


def test_a_server_continues_when_its_stdout_is_closed(config: Path, upstreams: FakeProviders) -> None:
    """As in `models-proxy serve | head -6`: the row of a late response cannot be printed."""
    upstream = upstreams.open(delayed(0.6, lists("m")))
    text = f"""
cache: {{ttl: 300ms, initial_wait: 300ms}}
providers:
  - {{name: late, base_url: "{upstream.url}"}}
"""
    with serving(config, text, unread_after="curl") as process:
        url = process.url
        until(lambda: len(upstream.requests) >= 3)
        assert get(f"{url}/v1/models").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_a_server_runs_without_stdout(config: Path) -> None:
    """As after a start with `>&-`."""
    port = free_port()
    config.write_text(LAB)
    closed = "import sys; sys.stdout = None; from proxy.cli.main import main; main()"
    with Process("-c", closed, "serve", "--config", str(config), "--port", str(port), *CONSOLE) as process:
        until(lambda: accepts_connections(("127.0.0.1", port)))
        assert get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
        assert (process.stop(), process.out, process.err) == (0, [], [])


def test_characters_that_the_terminal_cannot_encode_are_escaped(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: ctyun, base_url: "{upstreams.open(replies(CTYUN_WRONG_KEY, 401)).url}"}}]'
    with serving(config, text, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}) as process:
        process.line(process.out, r"AppKey\\u4e0d\\u6b63\\u786e,")
        assert get(f"{process.url}/v1/models").status_code == 503

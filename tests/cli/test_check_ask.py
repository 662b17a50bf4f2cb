"""`check` contacts every provider once and shows its progress."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from proxy.catalog import FetchResult
from proxy.cli.audit import ProbeResult, required_failures
from proxy.cli.check_ask import ask_all
from proxy.errors import UpstreamError
from proxy.upstream.transport import HTTP_LOGGERS
from tests.cli.checks import CANARIES, checked, run, three, without_times
from tests.fakes import FakeClock, FakeFetch, answer_of, breathe, config_of, entry
from tests.providers.scripted import FakeProviders, hangs


def test_progress_is_a_line_for_each_provider_on_stderr_where_there_is_no_terminal(
    config: Path, upstreams: FakeProviders
) -> None:
    lines = without_times(run(config, three(upstreams), env=CANARIES).stderr).splitlines()
    assert sorted(re.sub(r"\([123] of", "(n of", line) for line in lines[:3]) == [
        "ctyun failed after 0.0 s (n of 3)",
        "openai answered after 0.0 s (n of 3)",
        "reseller answered after 0.0 s (n of 3)",
    ]


MANY = """
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1", retries: 5}
  - {name: lab, kind: static, models: [{id: m}]}
  - {name: b, base_url: "http://127.0.0.1/b/v1", optional: true}
"""


@pytest.mark.anyio
async def test_all_are_asked_at_once_and_returned_in_the_order_of_the_file(clock: FakeClock, fetch: FakeFetch) -> None:
    late = fetch.hangs("a")
    fetch.answers("b", FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}))
    notified: list[str] = []
    config = config_of(MANY)
    a, lab, b = config.providers
    asking = asyncio.create_task(ask_all(config, fetch, clock, lambda result: notified.append(result.provider.name)))
    await breathe()
    assert (notified, fetch.asked, fetch.retries["a"]) == (["b"], {"a": 1, "b": 1}, [5])
    await clock.advance(2.5)
    late.set_result(answer_of("m"))
    assert await asking == [
        ProbeResult(a, answer_of("m"), None, 2.5),
        ProbeResult(lab),
        ProbeResult(b, FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}), None, 0.0),
    ]
    assert notified == ["b", "a"]


@pytest.mark.anyio
async def test_a_failure_and_even_a_bug_of_ours_is_that_of_one_provider(clock: FakeClock, fetch: FakeFetch) -> None:
    fetch.fails("a", ValueError("sk-canary-in-a-bug"))
    refused = UpstreamError("connection_refused", "refuses connections")
    fetch.fails("b", refused)
    a, lab, b = await ask_all(config_of(MANY), fetch, clock, lambda result: None)
    assert a.error is not None
    assert (a.error.kind, a.error.reason) == ("internal_error", "its answer met a bug of ours (ValueError)")
    assert (lab.error, b.error) == (None, refused)
    assert required_failures([a, lab, b]) == ["a"]


def test_a_provider_that_hangs_is_given_up_at_its_timeout(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: silent, base_url: "{upstreams.open(hangs).url}", timeout: 600ms, retries: 0}}]'
    (provider,) = checked(config, text)["providers"]
    assert (provider["state"], provider["error"]["kind"]) == ("failing", "timeout")
    assert provider["seconds"] < 5


def test_loggers_that_write_headers_and_urls_are_off(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in HTTP_LOGGERS]
    for logger in loggers:
        monkeypatch.setattr(logger, "disabled", False)

    assert run(config, "providers: [{name: lab, kind: static, models: [{id: m}]}]").exit_code == 0
    assert all(logger.disabled for logger in loggers)

"""`check` contacts every provider with one attempt and shows its progress."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from proxy.catalog import FetchResult
from proxy.cli.audit import Audit, failures
from proxy.cli.check_fetch import probe_all
from proxy.cli.probe_result import ProbeResult
from proxy.errors import UpstreamError
from proxy.upstream.transport import HTTP_LOGGERS
from tests.cli.checks import CANARIES, checked, run, three, without_times
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, entry, run_pending_tasks
from tests.providers.scripted import FakeProviders, hangs, replies


def test_progress_without_a_terminal_is_a_line_for_each_provider_on_stderr(
    config: Path, upstreams: FakeProviders
) -> None:
    lines = without_times(run(config, three(upstreams), env=CANARIES).stderr).splitlines()
    assert sorted(re.sub(r"\([123] of", "(n of", line) for line in lines[:3]) == [
        "ctyun failed after 0.0 s (n of 3)",
        "openai responded after 0.0 s (n of 3)",
        "reseller responded after 0.0 s (n of 3)",
    ]


MANY = """
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1", retries: 5}
  - {name: lab, kind: static, models: [{id: m}]}
  - {name: b, base_url: "http://127.0.0.1/b/v1", optional: true}
"""


@pytest.mark.anyio
async def test_all_providers_are_contacted_concurrently_with_one_attempt_and_returned_in_the_order_of_the_file(
    clock: FakeClock, fetch: FakeFetch
) -> None:
    late = fetch.hangs("a")
    fetch.answers("b", FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}))
    notified: list[str] = []
    config = config_of(MANY)
    a, lab, b = config.providers
    probing = asyncio.create_task(probe_all(config, fetch, clock, lambda result: notified.append(result.provider.name)))
    await run_pending_tasks()
    assert (notified, fetch.requests, fetch.retries["a"]) == (["b"], {"a": 1, "b": 1}, [0])
    await clock.advance(2.5)
    late.set_result(answer_of("m"))
    assert await probing == [
        ProbeResult(a, answer_of("m"), None, 2.5),
        ProbeResult(lab),
        ProbeResult(b, FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}), None, 0.0),
    ]
    assert notified == ["b", "a"]


@pytest.mark.anyio
async def test_a_failure_or_an_internal_error_concerns_one_provider_only(clock: FakeClock, fetch: FakeFetch) -> None:
    fetch.fails("a", ValueError("sk-canary-in-a-bug"))
    refused = UpstreamError("connection_refused", "connection refused")
    fetch.fails("b", refused)
    config = config_of(MANY)
    a, lab, b = await probe_all(config, fetch, clock, lambda result: None)
    assert a.error is not None
    assert (a.error.kind, a.error.reason) == (
        "internal_error",
        "internal error while processing its response (ValueError)",
    )
    assert (lab.error, b.error) == (None, refused)
    assert failures(Audit(config, [a, lab, b], clock.time())) == (
        "1 provider failed: a; fix the errors above, or set `optional: true`",
    )


@pytest.mark.parametrize(("options", "attempts"), [((), 1), (("--retries", "1"), 2)])
def test_a_failed_attempt_is_repeated_only_with_the_option_retries(
    options: tuple[str, ...], attempts: int, config: Path, upstreams: FakeProviders
) -> None:
    upstream = upstreams.open(replies(b"", 503))
    (provider,) = checked(config, f'providers: [{{name: a, base_url: "{upstream.url}"}}]', *options)["providers"]
    assert (provider["attempts"], len(upstream.requests)) == (attempts, attempts)


def test_a_provider_that_hangs_fails_after_its_timeout(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: silent, base_url: "{upstreams.open(hangs).url}", timeout: 600ms, retries: 0}}]'
    (provider,) = checked(config, text)["providers"]
    assert (provider["state"], provider["error"]["kind"]) == ("failing", "timeout")
    assert provider["seconds"] < 9


def test_loggers_that_write_headers_and_urls_are_disabled(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in HTTP_LOGGERS]
    for logger in loggers:
        monkeypatch.setattr(logger, "disabled", False)

    assert run(config, "providers: [{name: lab, kind: static, models: [{id: m}]}]").exit_code == 0
    assert all(logger.disabled for logger in loggers)

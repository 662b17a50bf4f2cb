"""Numbers and names that the prose repeats are those of the code."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from proxy import backoff
from proxy.config.defaults import Defaults
from proxy.config.server import Server
from proxy.dialects import DIALECTS
from proxy.inference import breaker
from proxy.inference.provider_errors import classify
from proxy.inference.verdict import ErrorResponse, Verdict
from proxy.server.receiver import MAX_URL
from proxy.server.run import LAST_SECONDS
from proxy.server.timeouts import RATE_SECONDS
from proxy.store import shrinkage, slot
from proxy.store.directory import STOP_SECONDS
from tests.docs.pages import DOCS, rows, section, text_of
from tests.paths import ROOT

SERVER, DEFAULTS = Server(), Defaults()
LIST_ONLY = [row.kind for row in DIALECTS.values() if row.is_remote and not row.call and row.kind != "custom"]
FACTS = [
    ("README.md", f"at most `initial_wait` ({DEFAULTS.initial_wait:g} s)"),
    ("docs/operations.md", ", ".join(str(each) for each in DEFAULTS.failover_on if isinstance(each, int))),
    ("docs/http-api.md", f"`initial_wait` (default {DEFAULTS.initial_wait:g} s)"),
    ("docs/http-api.md", f"`server.max_request` (default {SERVER.max_request // 1024**2} MiB)"),
    ("docs/http-api.md", f"`sse_keepalive` ({SERVER.sse_keepalive:g} s)"),
    ("docs/http-api.md", f"| {SERVER.max_request // 1024**2} MiB | `server.max_request` |"),
    ("docs/http-api.md", f"| {DEFAULTS.first_byte_timeout / 60:g} minutes | `first_byte_timeout` |"),
    ("docs/http-api.md", f"| {DEFAULTS.idle_timeout / 60:g} minutes | `idle_timeout` |"),
    ("docs/http-api.md", f"| {DEFAULTS.call_timeout / 3600:g} hour | `call_timeout` |"),
    ("docs/http-api.md", f"| {DEFAULTS.max_in_flight} | `max_in_flight` |"),
    ("docs/operations.md", f"`drain_delay` (default {SERVER.drain_delay:g} s)"),
    ("docs/operations.md", f"`shutdown_timeout` (default {SERVER.shutdown_timeout:g} s)"),
    ("docs/operations.md", f"the process ends within another {LAST_SECONDS + STOP_SECONDS:g} s"),
    ("docs/operations.md", f"`server.limits.connections` ({SERVER.limits.connections})"),
    ("docs/deployment.md", f"`server.limits.keepalive_timeout` ({SERVER.limits.keepalive_timeout:g} s)"),
    ("docs/http-api.md", f"| {SERVER.limits.headers // 1024} KiB | `server.limits.headers` |"),
    ("docs/http-api.md", f"| {MAX_URL // 1024} KiB | - | `414` |"),
    ("docs/http-api.md", f"| {SERVER.limits.header_timeout:g} s | `server.limits.header_timeout` |"),
    ("docs/http-api.md", f"| {SERVER.limits.body_timeout:g} s | `server.limits.body_timeout` |"),
    ("docs/http-api.md", f"| {SERVER.limits.body_rate // 1024} KiB/s | `server.limits.body_rate` |"),
    ("docs/http-api.md", f"| {SERVER.limits.write_timeout:g} s | `server.limits.write_timeout` |"),
    ("docs/http-api.md", f"| {SERVER.limits.connections} | `server.limits.connections` |"),
    ("docs/http-api.md", f"speed of a request body, over {RATE_SECONDS:g} s"),
    ("docs/http-api.md", f"| {SERVER.limits.keepalive_timeout:g} s | `server.limits.keepalive_timeout` |"),
    ("docs/deployment.md", f"`server.max_request` ({SERVER.max_request // 1024**2} MiB)"),
    ("deploy/nginx.conf", f"client_max_body_size {SERVER.max_request // 1024**2}m;"),
    ("docs/deployment.md", f"max_size {SERVER.max_request // 1024**2}MiB"),
    ("docs/deployment.md", f"`first_byte_timeout` ({DEFAULTS.first_byte_timeout / 60:g} minutes)"),
    ("docs/deployment.md", f"`idle_timeout` ({DEFAULTS.idle_timeout / 60:g} minutes)"),
    ("docs/deployment.md", f"`sse_keepalive` ({SERVER.sse_keepalive:g} s)"),
    ("docs/operations.md", ", ".join(f"{slot.FIRST_BACKOFF * 2**n:g}" for n in range(3)) + " s ... up to `ttl`"),
    ("docs/operations.md", f"more than half of more than {shrinkage.SHRINK_FROM} models"),
    ("docs/operations.md", f"at least {shrinkage.CONFIRMATIONS} responses in a row"),
    ("docs/operations.md", f"at least every {slot.MAX_EMPTY_BACKOFF:g} s"),
    ("docs/operations.md", f"calls are rejected for about {backoff.OPEN_SECONDS:g} s"),
    ("docs/operations.md", f"up to {backoff.MAX_OPEN_SECONDS / 60:g} minutes"),
    ("docs/operations.md", f"of each key at most {breaker.MAX_PER_SOURCE} failures count"),
    ("docs/operations.md", f"the next probe after {breaker.PROBE_SECONDS:g} s"),
]


@pytest.mark.parametrize(("page", "fact"), FACTS)
def test_the_page_states_the_fact(page: str, fact: str) -> None:
    assert fact in " ".join(text_of(ROOT / page).split())


def test_failures_are_counted_as_documented() -> None:
    assert backoff.FAILURE_THRESHOLD == 5
    assert "Five failures in a row open a circuit breaker" in text_of(DOCS / "operations.md")


@pytest.mark.parametrize("page", ["README.md", "docs/http-api.md"])
def test_the_kinds_that_only_list_are_named(page: str) -> None:
    assert ", ".join(f"`{kind}`" for kind in sorted(LIST_ONLY)) in text_of(ROOT / page)


def test_the_timeout_of_the_reverse_proxy_is_longer_than_that_of_a_call() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text_of(ROOT / "deploy" / "nginx.conf"))
    assert int(seconds) > DEFAULTS.first_byte_timeout


def statuses(matches: Callable[[Verdict], bool], conjunction: str) -> str:
    """The statuses of providers with a matching verdict, as in a sentence."""
    *others, last = [str(code) for code in range(400, 600) if matches(classify(ErrorResponse(code), ()))]
    return f"status {', '.join(others)} {conjunction} {last}"


def test_the_statuses_that_open_the_circuit_breaker_are_documented() -> None:
    assert statuses(lambda verdict: verdict.trips, "and") in " ".join(text_of(DOCS / "operations.md").split())
    assert statuses(lambda verdict: verdict.trips, "or") in text_of(DOCS / "troubleshooting.md")


@pytest.mark.parametrize("code", ["provider_auth", "provider_unavailable", "timeout"])
def test_the_statuses_of_an_error_code_are_documented(code: str) -> None:
    documented = [row[2] for row in rows(section(DOCS / "errors.md", "Errors of the API")) if row[0] == f"`{code}`"]
    assert statuses(lambda verdict: verdict.error.code == code, "or") in " ".join(documented)

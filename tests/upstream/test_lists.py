"""Lists over real sockets: pages, limits, TLS, secrets, and invalid responses of every kind."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import random
import ssl
import time
import traceback
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trustme

from proxy.clock import SystemClock
from proxy.config import Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from proxy.upstream.transport import disable_http_logging
from tests.fakes import HastyClock
from tests.leaks import Held
from tests.providers.faults import playing
from tests.providers.server import closed_port
from tests.untraced import untraced
from tests.upstream.fetching import LATER, PANGU, SOON, TOLERANCE, VERSIONS, at, failure, fetch_list, ids, provider

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left_behind")]


# -- invalid responses -------------------------------------------------------------------------------------------------

INVALID_JSON = "returned an unusable response (invalid JSON: "
CLOSED = "connection closed before the response was complete"
INVALID_HTTP = "returned an invalid HTTP response (malformed, or too many headers)"
TOO_LARGE = "returned more than 16,777,216 bytes (max_body)"
UNEXPECTED_CODING = "returned an unusable response (unexpected content-encoding)"


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "requests"),
    [
        # Temporary errors are retried, here twice; permanent errors are not.
        pytest.param("closes-at-once", "connection_reset", CLOSED, 3, id="no response"),
        pytest.param("closes-in-head", "connection_reset", CLOSED, 3, id="truncated in the head"),
        pytest.param("reset-mid-body", "connection_reset", CLOSED, 3, id="reset in the body"),
        pytest.param("short-body", "connection_reset", CLOSED, 3, id="fewer bytes than announced"),
        pytest.param("cut-chunks", "connection_reset", CLOSED, 3, id="a missing last chunk"),
        pytest.param(
            "truncated-gzip",
            "invalid_response",
            "returned an unusable response (truncated gzip body)",
            3,
            id="truncated gzip",
        ),
        pytest.param(
            "gzip-and-more",
            "invalid_response",
            "returned an unusable response (data after the gzip body)",
            1,
            id="gzip and more",
        ),
        pytest.param("gzip-twice", "invalid_response", UNEXPECTED_CODING, 1, id="gzip in gzip"),
        pytest.param("brotli", "invalid_response", UNEXPECTED_CODING, 1, id="unexpected br"),
        pytest.param("gzip-bomb", "too_large", TOO_LARGE, 1, id="gzip bomb"),
        pytest.param("flood", "too_large", TOO_LARGE, 1, id="200 MB with a length"),
        pytest.param("flood-unannounced", "too_large", TOO_LARGE, 1, id="200 MB without a length"),
        pytest.param("truncated-json", "invalid_response", INVALID_JSON, 1, id="truncated JSON"),
        pytest.param("eof-delimited-cut", "invalid_response", INVALID_JSON, 1, id="truncated JSON, then closed"),
        pytest.param(
            "html",
            "invalid_response",
            "returned an unusable response (an HTML page): check base_url",
            1,
            id="HTML with 200",
        ),
        pytest.param("no-content", "invalid_response", "returned an unusable response (empty body)", 1, id="204"),
        pytest.param("empty", "invalid_response", "returned an unusable response (empty body)", 1, id="empty body"),
        pytest.param(
            "only-null",
            "invalid_response",
            "returned no model list: expected an array at the top level or `data` or `models`, got null",
            1,
            id="null",
        ),
        pytest.param(
            "object-as-data",
            "invalid_response",
            "returned no model list: expected an array at the top level or `data` or `models`, "
            "got an object with `object`, `data`",
            1,
            id="an object for the models",
        ),
        pytest.param(
            "error-with-200",
            "invalid_response",
            "returned an error with status 200: Unexpected endpoint or method. (GET /models)",
            1,
            id="an error with 200",
        ),
        pytest.param(
            "string-with-200",
            "invalid_response",
            "returned an error with status 200: Invalid token",
            1,
            id="a bare string",
        ),
        pytest.param(
            "deep-nesting",
            "invalid_response",
            INVALID_JSON,
            1,
            id="100,000 brackets deep",
        ),
        pytest.param(
            "many-arrays", "invalid_response", "returned an unusable response (more than ", 1, id="8 MB of arrays"
        ),
        pytest.param(
            "invalid-utf8",
            "invalid_response",
            "returned no usable models: id contains invalid characters (",
            1,
            id="an id in another encoding",
        ),
        pytest.param("two-content-lengths", "invalid_response", INVALID_HTTP, 1, id="two lengths"),
        pytest.param("long-header", "invalid_response", INVALID_HTTP, 1, id="a header of 200 KB"),
        pytest.param("no-http", "invalid_response", INVALID_HTTP, 1, id="not HTTP"),
        pytest.param("switches-protocols", "invalid_response", INVALID_HTTP, 1, id="101"),
    ],
)
async def test_invalid_response_fails_with_a_clear_reason(fault: str, kind: str, reason: str, requests: int) -> None:
    async with playing(fault) as server:
        error = await failure(at(server.address, retries=2))
    assert (error.kind, error.reason[: len(reason)]) == (kind, reason)
    assert (error.retryable, len(server.requests)) == (requests > 1, requests)
    assert error.attempts == requests


@pytest.mark.parametrize(
    ("fault", "timeout", "reason"),
    [
        pytest.param("hang-before-headers", LATER, "timed out: no data for 1 s", id="silence"),
        pytest.param("hang-after-headers", LATER, "timed out: no data for 1 s", id="silence after the head"),
        pytest.param("drip-headers", SOON, "timed out: response incomplete after 0.2 s", id="a slow head"),
        pytest.param("drip-body", SOON, "timed out: response incomplete after 0.2 s", id="a slow body"),
        pytest.param("endless-1xx", SOON, "timed out: response incomplete after 0.2 s", id="endless 1xx"),
        pytest.param("endless-chunks", SOON, "timed out: response incomplete after 0.2 s", id="endless chunks"),
    ],
)
async def test_attempt_times_out_after_a_third_of_timeout_wherever_it_hangs(
    fault: str, timeout: float, reason: str
) -> None:
    async with playing(fault) as server:
        now = asyncio.get_running_loop().time
        begun = now()
        error = await failure(at(server.address, timeout=timeout, retries=0))
        assert timeout / 3 * 0.85 < now() - begun < timeout / 3 + TOLERANCE
    assert (error.kind, error.reason, error.retryable) == ("timeout", reason, True)
    assert len(server.requests) == 1


async def test_fetch_times_out_even_if_each_page_is_fast() -> None:
    async with playing("slow-pages") as server:
        error = await failure(at(server.address, timeout=SOON, retries=2))
    assert (error.kind, error.reason) == ("timeout", "timed out: model list incomplete after 0.6 s")
    assert (error.retryable, error.attempts) == (True, 1)


async def test_closed_port_is_a_retryable_connection_refused() -> None:
    error = await failure(at(f"127.0.0.1:{closed_port()}", retries=2))
    assert (error.kind, error.reason) == ("connection_refused", "connection refused")
    assert (error.retryable, error.attempts) == (True, 3)


async def test_unknown_host_name_is_a_dns_error() -> None:
    error = await failure(provider("http://models.invalid/v1", retries=2))
    assert (error.kind, error.reason) == ("dns", "DNS lookup failed")
    assert (error.retryable, error.attempts) == (True, 3)


@pytest.mark.parametrize(
    ("fault", "models", "requests"),
    [
        pytest.param("list", ["a", "b"], 1, id="no error"),
        pytest.param("gzip", ["a", "b"], 1, id="unexpected gzip"),
        pytest.param("eof-delimited", ["a", "b"], 1, id="complete, ended by closing the connection"),
        pytest.param("byte-order-mark", ["a"], 1, id="a byte order mark"),
        pytest.param("gzip-but-plain", ["a"], 1, id="plain text that is announced as gzip"),
        pytest.param("data-null", [], 1, id="data: null is Ollama without a model"),
        pytest.param("duplicate-ids", ["a", "b"], 1, id="the same id twice"),
        pytest.param("length-and-chunks", ["a"], 1, id="a length and chunks"),
        pytest.param("many-headers", ["a"], 1, id="5,000 headers"),
        pytest.param("empty-page-between", ["a", "b"], 3, id="an empty page in the middle"),
        pytest.param("pages-of-ten", [f"m-{number}" for number in range(1, 31)], 3, id="three pages"),
        pytest.param("503-then-list", ["a"], 2, id="still loading"),
    ],
)
async def test_unusual_but_valid_response_is_listed(fault: str, models: list[str], requests: int) -> None:
    async with playing(fault) as server:
        answer = await fetch_list(at(server.address))
    assert (ids(answer), len(server.requests), answer.dropped) == (models, requests, {})


async def test_null_of_a_first_duplicate_is_filled_from_a_later_one() -> None:
    body = '{"data":[{"id":"a","owned_by":null},{"id":"b"},{"id":"a","owned_by":"lab","created":5}]}'
    async with playing("status", status="200 OK", body=body) as server:
        answer = await fetch_list(at(server.address))
    assert [(entry.id, entry.owner, entry.created) for entry in answer.entries] == [("a", "lab", 5), ("b", "", 0)]


async def test_invalid_entries_are_dropped_and_counted_by_reason() -> None:
    async with playing("odd-entries") as server:
        answer = await fetch_list(at(server.address))
    assert ids(answer) == ["a", "c", "d"]
    assert answer.dropped == {
        "not an object": 1,
        "missing `id` or `model_id` or `name`": 1,
        "empty id": 1,
        "id is not a string": 1,
        "id contains control characters": 1,
    }


async def test_entries_that_are_no_models_are_dropped_and_counted() -> None:
    async with playing("no-models") as server:
        answer = await fetch_list(at(server.address))
    assert (ids(answer), answer.dropped) == (
        [],
        {"wildcard, not a model": 2, "name of an access rule, not a model": 1},
    ), "an empty list, not an invalid one"


async def test_number_that_clients_cannot_parse_drops_only_its_entry() -> None:
    async with playing("huge-number") as server:
        answer = await fetch_list(at(server.address))
    assert (ids(answer), answer.dropped) == (["a"], {"contains non-portable JSON": 1})


@pytest.mark.parametrize(
    ("fault", "models", "extra"),
    [
        ("nan", ["a"], {"score": None}),
        ("lone-surrogate", ["a", "b"], {"note": "\ufffd"}),
    ],
)
async def test_value_that_json_does_not_have_costs_neither_the_list_nor_its_model(
    fault: str, models: list[str], extra: dict[str, object]
) -> None:
    async with playing(fault) as server:
        answer = await fetch_list(at(server.address))
    assert (ids(answer), answer.dropped) == (models, {})
    assert json.loads(answer.entries[0].extra) == extra


async def test_max_body_can_be_lowered() -> None:
    async with playing("list") as server:
        error = await failure(at(server.address, max_body="40B"))
    assert (error.kind, error.reason) == ("too_large", "returned more than 40 bytes (max_body)")


# -- bombs -------------------------------------------------------------------------------------------------------------

BOMBS = ["gzip-bomb", "flood", "flood-unannounced", "endless-chunks", "many-arrays", "deep-nesting"]


@pytest.mark.parametrize("fault", BOMBS)
async def test_memory_is_bounded_by_max_body_for_any_response(fault: str) -> None:
    async with playing(fault) as server:
        target = at(server.address, timeout="3s", retries=0)
        tracemalloc.start()
        try:
            await failure(target)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 24 * 1024 * 1024


async def test_stored_error_does_not_keep_the_response_in_memory() -> None:
    async with playing("many-arrays") as server:
        target = at(server.address)
        tracemalloc.start()
        try:
            error = await failure(target)
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert error.kind == "invalid_response"
    assert kept < 4 * 1024 * 1024


@pytest.mark.parametrize("fault", BOMBS)
async def test_event_loop_is_not_blocked_while_an_invalid_response_is_parsed(fault: str) -> None:
    async with playing(fault) as server:
        pauses: list[float] = []
        watching = asyncio.create_task(_note_pauses(pauses))
        with untraced():
            await failure(at(server.address, timeout="1500ms", retries=0))
        watching.cancel()
    # The goal is 0.1 s. Parsing without yielding would take seconds.
    assert max(pauses) < 0.4


async def _note_pauses(pauses: list[float]) -> None:
    """CPU seconds of this thread between two event loop iterations. Wall time would depend on other load."""
    last = time.thread_time()
    while True:
        await asyncio.sleep(0.001)
        pauses.append(time.thread_time() - last)
        last = time.thread_time()


# -- pagination --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "settings", "reason", "requests"),
    [
        pytest.param("url-never-ends", {}, "returned more than 500 pages (max_pages)", 500, id="endless URLs"),
        pytest.param(
            "cursor-never-ends", {"max_pages": 4}, "returned more than 4 pages (max_pages)", 4, id="endless cursors"
        ),
        pytest.param(
            "repeated-cursor", {}, "pagination loop: page 2 links to an earlier page", 2, id="the same cursor"
        ),
        pytest.param("cycle", {}, "pagination loop: page 3 links to an earlier page", 3, id="a cycle"),
        pytest.param(
            "adds-nothing", {}, "pagination loop: page 2 repeats earlier models", 2, id="a page without new models"
        ),
        pytest.param(
            "empty-but-more",
            {},
            "pagination failed: `has_more` is true, but the page has no cursor and no entries",
            1,
            id="an empty page with has_more",
        ),
    ],
)
async def test_endless_pagination_fails_instead_of_truncating_the_list(
    fault: str, settings: dict[str, object], reason: str, requests: int
) -> None:
    async with playing(fault) as server:
        error = await failure(at(server.address, **settings))
    assert (error.kind, error.reason, error.retryable) == ("paging", reason, False)
    assert len(server.requests) == requests


@pytest.mark.parametrize(
    ("fault", "limit", "requests"),
    [
        pytest.param("many-models", 20, 1, id="on one page"),
        pytest.param("pages-of-ten", 29, 3, id="over pages"),
    ],
)
async def test_too_many_models_fail_instead_of_truncating_the_list(fault: str, limit: int, requests: int) -> None:
    async with playing(fault) as server:
        error = await failure(at(server.address, max_models=limit))
        assert len(await _all(at(server.address, max_models=limit + 1), fault)) > 0
    assert (error.kind, error.reason) == ("too_large", f"returned more than {limit} models (max_models)")
    assert (error.retryable, len(server.requests)) == (False, requests)


async def _all(target: Provider, fault: str) -> list[str]:
    async with playing(fault) as server:
        return ids(await fetch_list(target.model_copy(update={"base_url": f"http://{server.address}/v1"})))


async def test_next_page_uses_only_the_query_of_the_next_url() -> None:
    async with playing("url-never-ends") as server:
        await failure(at(server.address, max_pages=3))
    assert server.targets == ["/v1/models", "/v1/models?page=1", "/v1/models?page=2"]


async def test_cursor_is_percent_encoded() -> None:
    async with playing("odd-cursor") as server:
        assert ids(await fetch_list(at(server.address))) == ["a", "b"]
    assert [httpx.URL(target).params.get("after") for target in server.targets] == [None, "a b&c=d/+é=="]
    assert server.targets[1].isascii()


# -- Pangu -------------------------------------------------------------------------------------------------------------


async def test_pangu_versions_of_every_model_are_requested_in_pages_of_100() -> None:
    async with playing("pangu") as server:
        answer = await fetch_list(at(server.address, **PANGU))
    assert ids(answer) == [f"{model}-v{number}" for model in ("one", "two") for number in range(1, 251)]
    assert {(entry.id[:3], entry.parent) for entry in answer.entries} == {("one", "one"), ("two", "two")}
    assert server.targets == [
        VERSIONS.format(model) + offset for model in ("one", "two") for offset in ("", "&offset=100", "&offset=200")
    ]
    assert {tuple(request.values("x-auth-token")) for request in server.requests} == {("token-canary",)}
    assert (answer.pages, answer.attempts) == (6, 1)


@pytest.mark.parametrize(
    ("fault", "models", "targets"),
    [
        pytest.param(
            "pangu-total-too-high", ["one-v1", "one-v2", "one-v3"], ["", "&offset=3"], id="too high: an empty page ends"
        ),
        pytest.param("pangu-total-too-low", ["one-v1", "one-v2", "one-v3"], [""], id="too low: nothing is lost"),
        pytest.param(
            "pangu-short-pages",
            [f"one-v{number}" for number in range(1, 6)],
            ["", "&offset=2", "&offset=4"],
            id="smaller pages than requested",
        ),
    ],
)
async def test_wrong_pangu_total_does_not_truncate_the_list(fault: str, models: list[str], targets: list[str]) -> None:
    async with playing(fault) as server:
        answer = await fetch_list(at(server.address, **{**PANGU, "model_ids": ["one"]}))
    assert ids(answer) == models
    assert server.targets == [VERSIONS.format("one") + offset for offset in targets]


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def certified(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority, "127.0.0.1")


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_ca_file_makes_its_certificates_trusted(certified: ssl.SSLContext, ca_file: str) -> None:
    async with playing("list", tls=certified) as server:
        assert ids(await fetch_list(provider(f"https://{server.address}/v1", ca_file=ca_file))) == ["a", "b"]


async def test_untrusted_certificate_is_rejected(certified: ssl.SSLContext) -> None:
    async with playing("list", tls=certified) as server:
        error = await failure(provider(f"https://{server.address}/v1", api_key="sk-canary"))
    assert (error.kind, error.retryable, error.attempts) == ("tls", False, 1)
    assert error.reason == "TLS certificate verification failed: unable to get local issuer certificate"
    assert server.requests == []


async def test_certificate_of_another_host_is_rejected(authority: trustme.CA, ca_file: str) -> None:
    async with playing("list", tls=server_context(authority, "models.example")) as server:
        error = await failure(provider(f"https://{server.address}/v1", ca_file=ca_file, api_key="sk-canary"))
    assert (error.kind, error.retryable, error.attempts) == ("tls", False, 1)
    assert error.reason == (
        "TLS certificate verification failed: IP address mismatch, certificate is not valid for '127.0.0.1'."
    )
    assert server.requests == []


async def test_plain_http_on_a_tls_port_is_a_tls_error() -> None:
    async with playing("html", unsolicited=True) as server:
        error = await failure(provider(f"https://{server.address}/v1"))
    assert (error.kind, error.retryable, error.attempts) == ("tls", False, 1)
    assert error.reason.startswith("TLS handshake failed: ")


async def test_connection_closed_during_the_handshake_is_retryable() -> None:
    async with playing("closes-at-once", unsolicited=True) as server:
        error = await failure(provider(f"https://{server.address}/v1", retries=2))
    assert (error.kind, error.reason) == ("connection_reset", "connection closed during the TLS handshake")
    assert (error.retryable, server.connections) == (True, 3)


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        pytest.param("reset-mid-body", "connection_reset", CLOSED, id="connection_reset"),
        pytest.param("short-body", "connection_reset", CLOSED, id="short"),
        pytest.param("hang-after-headers", "timeout", "timed out: no data for 1 s", id="no data"),
    ],
)
async def test_error_after_the_handshake_is_not_a_tls_error(
    fault: str, kind: str, reason: str, certified: ssl.SSLContext, ca_file: str
) -> None:
    async with playing(fault, tls=certified) as server:
        target = provider(f"https://{server.address}/v1", ca_file=ca_file, timeout=LATER, retries=0)
        error = await failure(target)
    assert (error.kind, error.reason, error.retryable) == (kind, reason, True)


async def test_hanging_handshake_times_out() -> None:
    async with playing("hang-before-headers", unsolicited=True) as server:
        error = await failure(provider(f"https://{server.address}/v1", timeout=LATER, retries=0))
    assert (error.kind, error.reason, error.retryable) == ("timeout", "timed out: no connection after 1 s", True)


# -- egress proxy ------------------------------------------------------------------------------------------------------


async def test_egress_proxy_is_used_with_its_login() -> None:
    async with playing("list") as egress:
        egress_url = f"http://user:p%40ss@{egress.address}"
        answer = await fetch_list(provider("http://models.invalid/v1", proxy=egress_url, api_key="sk-canary"))
    assert ids(answer) == ["a", "b"]
    (request,) = egress.requests
    assert request.line == "GET http://models.invalid/v1/models HTTP/1.1"
    assert request.values("proxy-authorization") == ["Basic " + base64.b64encode(b"user:p@ss").decode()]


async def test_https_provider_is_reached_through_a_tunnel(certified: ssl.SSLContext, ca_file: str) -> None:
    async with playing("proxy-tunnel", upgrade=certified) as egress:
        target = provider(
            "https://127.0.0.1:1/v1", proxy=f"http://u:p@{egress.address}", ca_file=ca_file, api_key="sk-canary"
        )
        assert ids(await fetch_list(target)) == ["a"]
    connect, request = egress.requests
    assert (connect.line, connect.values("authorization")) == ("CONNECT 127.0.0.1:1 HTTP/1.1", [])
    assert (request.line, request.values("proxy-authorization")) == ("GET /v1/models HTTP/1.1", [])


async def test_egress_proxy_can_use_tls(certified: ssl.SSLContext, ca_file: str) -> None:
    async with playing("list", tls=certified) as egress:
        target = provider("http://models.invalid/v1", proxy=f"https://{egress.address}", ca_file=ca_file)
        assert ids(await fetch_list(target)) == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "requests"),
    [
        pytest.param("407 Proxy Authentication Required", 1, id="a rejected login"),
        pytest.param("503 Service Unavailable", 3, id="an unavailable proxy"),
    ],
)
async def test_egress_proxy_that_refuses_to_connect_is_reported(status: str, requests: int) -> None:
    async with playing("proxy-refuses", status=status) as egress:
        error = await failure(provider("https://127.0.0.1:1/v1", proxy=f"http://u:p@{egress.address}", retries=2))
    assert (error.kind, error.reason) == ("proxy", f"egress proxy refused the connection (status {status[:3]})")
    assert (error.retryable, len(egress.requests)) == (requests > 1, requests)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_proxy_environment_variables_are_ignored(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with playing("html") as egress, playing("list") as server:
        monkeypatch.setenv(variable, f"http://{egress.address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert ids(await fetch_list(at(server.address))) == ["a", "b"]
    assert egress.connections == 0


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRETS = {
    "key": "sk-canary-4f7Gq+Zx/9e=8zW1",
    "header": "hdr-canary 77Qx!2c0zW",
    "user": "user-canary-61u7",
    "password": "pass-canary-$9d3f&5k",
    "param": "par-canary-5t8Kq2Vz",
}


def forms_of(secret: str) -> dict[str, str]:
    """The forms of a secret: plain, encoded, or the parts that remain when providers mask it."""
    return {
        "raw": secret,
        "encoded": quote(secret, safe=""),
        "encoded in lower case": quote(secret, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
        "base64": base64.b64encode(secret.encode()).decode(),
        "masked with stars": f"{secret[:5]}{'*' * 12}{secret[-4:]}",
        "masked with dots": f"{secret[:5]}...{secret[-4:]}",
        "masked with an ellipsis": f"{secret[:5]}…{secret[-4:]}",
    }


def shown(text: str) -> set[str]:
    """The forms of secrets that a text contains, also the ends that remain of masked ones. No end can be an address."""
    return {
        f"{name}, {form}"
        for name, secret in SECRETS.items()
        for form, look in {**forms_of(secret), "first 5": secret[:5], "last 4": secret[-4:]}.items()
        if look in text
    }


def secretive(address: str, **settings: object) -> Provider:
    egress = f"http://{quote(SECRETS['user'])}:{quote(SECRETS['password'], safe='')}@{address}"
    headers = {"X-Other-Key": SECRETS["header"]}
    return provider(
        "http://models.invalid/v1",
        api_key=SECRETS["key"],
        headers=headers,
        params={"access-token": SECRETS["param"]},
        proxy=egress,
        retries=0,
        **settings,
    )


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collects the records of all loggers at level DEBUG."""
    disable_http_logging()
    for name in ("", "httpx", *(name for name in logging.root.manager.loggerDict if name.startswith("httpcore"))):
        caplog.set_level(logging.DEBUG, logger=name or None)
    return caplog


@pytest.mark.parametrize("form", forms_of(""))
@pytest.mark.parametrize("secret", SECRETS)
async def test_secret_repeated_by_the_provider_appears_nowhere(
    secret: str, form: str, log: pytest.LogCaptureFixture
) -> None:
    echo = forms_of(SECRETS[secret])[form]
    for status in ("401 Unauthorized", "429 Slow", "500 Oops", "200 OK", "302 Found"):
        async with playing("echo", status=status, echo=json.dumps(f"Wrong: {echo}, or was it '{echo}'?")) as server:
            target = secretive(server.address)
            upstream = ListFetcher([target], HastyClock())
            with pytest.raises(UpstreamError) as raised:
                await upstream(target, 0)
        error = raised.value
        texts = [repr(error), str(error), error.reason, *traceback.format_exception(error)]
        assert shown("\n".join([*texts, repr(target), str(target), repr(upstream), repr(vars(upstream))])) == set()
    assert shown(log.text) == set()


@pytest.mark.parametrize("form", forms_of(""))
@pytest.mark.parametrize("auth", ["basic", {"query": "api_key"}], ids=["basic", "query"])
async def test_credential_in_a_url_or_login_appears_nowhere_after_any_error(
    auth: object, form: str, log: pytest.LogCaptureFixture
) -> None:
    password = SECRETS["key"]
    api_key = f"user:{password}" if auth == "basic" else password
    echo = json.dumps(f"Wrong: {forms_of(password)[form]}!")
    listing = {"path": "/models", "auth": auth, "paging": {"style": "url", "read": "next"}}
    faults: list[tuple[str, dict[str, Any]]] = [
        ("echo", {"status": "401 Unauthorized", "echo": echo}),
        ("echo", {"status": "200 OK", "echo": echo}),
        ("redirect", {"status": "302 Found", "location": f"/login?api_key={quote(password, safe='')}"}),
        ("closes-at-once", {}),
        ("no-http", {}),
        ("truncated-json", {}),
    ]
    for fault, names in faults:
        async with playing(fault, **names) as server:
            target = at(server.address, kind="custom", api_key=api_key, list=listing, retries=0)
            error = await failure(target)
        assert shown("\n".join([repr(target), repr(error), error.reason, *traceback.format_exception(error)])) == set()
    assert shown(log.text) == set()


async def test_reason_keeps_text_that_is_not_secret() -> None:
    wrong_key = '{"code":500004,"message":"","error":{"code":"500004","message":"AppKey不正确,请使用正确的AppKey"}}'
    async with playing("status", status="400 Bad Request", body=wrong_key) as server:
        error = await failure(at(server.address, api_key=SECRETS["key"]))
    assert error.reason == "status 400: AppKey不正确,请使用正确的AppKey"


async def test_host_that_contains_the_api_key_is_not_shown() -> None:
    async with playing("redirect", status="302 Found", location="http://sk-canary-1.example/") as server:
        error = await failure(at(server.address, api_key="sk-canary-1"))
    assert error.reason == "redirect (302) to http://***.example/ not followed: update base_url"


# -- cancellation ------------------------------------------------------------------------------------------------------


async def test_fetch_cancelled_at_any_moment_leaves_nothing_open(certified: ssl.SSLContext, ca_file: str) -> None:
    chance = random.Random(20261121)
    async with AsyncExitStack() as stack:
        plain = [
            await stack.enter_async_context(playing(fault)) for fault in ("list", "pages-of-ten", "drip-body", "flood")
        ]
        safe = await stack.enter_async_context(playing("list", tls=certified))
        mute = await stack.enter_async_context(playing("hang-before-headers", unsolicited=True))
        target = [at(server.address) for server in plain]
        target += [provider(f"https://{server.address}/v1", ca_file=ca_file) for server in (safe, mute)]
        upstream = ListFetcher(target[-1:], SystemClock())  # they share a name, and thus the ca_file
        held = Held.now()
        for _ in range(20):
            fetches = [asyncio.create_task(upstream(chance.choice(target), 0)) for _ in range(10)]
            for question in fetches:
                await asyncio.sleep(chance.random() * 0.004)
                question.cancel()
            await asyncio.gather(*fetches, return_exceptions=True)
        assert await held.left() == Held(), "while the providers are still there"


@pytest.mark.parametrize("fault", ["hang-before-headers", "hang-after-headers", "drip-body", "flood", "short-body"])
async def test_connection_is_closed_when_the_fetch_ends(fault: str) -> None:
    async with playing(fault) as server:
        held = Held.now()
        await failure(at(server.address, timeout=SOON, retries=0))
        assert await held.left() == Held(), "while the provider is still there"


async def test_concurrent_fetches_do_not_wait_for_each_other() -> None:
    async with playing("hang-before-headers") as mute, playing("list") as server:
        target = at(server.address)
        silent = at(mute.address)
        upstream = ListFetcher([target], SystemClock())
        hanging = [asyncio.create_task(upstream(silent, 0)) for _ in range(50)]
        await asyncio.sleep(0)
        answer = await upstream(target, 0)
        assert (ids(answer), any(task.done() for task in hanging)) == (["a", "b"], False)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

"""Requests for one page over real sockets: what is sent, which errors are retried and when, redirects, statuses."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from email.utils import formatdate

import pytest
import respx
from pydantic import SecretStr

from tests.fakes import HastyClock
from tests.providers.faults import playing
from tests.providers.server import closed_port
from tests.upstream.fetching import LATER, PANGU, VERSIONS, at, failure, fetch_list, ids, provider

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left_behind")]


# -- redirects, cookies, statuses --------------------------------------------------------------------------------------


SLASHES = ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"]


@pytest.mark.parametrize("status", [*SLASHES, "303 See Other"])
@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param(
            "http://${landing}/v1/models",
            "to http://${landing}/v1/models not followed: set base_url to http://${landing}/v1",
            id="another port",
        ),
        pytest.param(
            "http://localhost:${port}/v1/models/",
            "to http://localhost:${port}/v1/models/ not followed: set base_url to http://localhost:${port}/v1",
            id="another host with a slash",
        ),
        pytest.param(
            "//user:pass@${landing}/?key=1", "to http://${landing}/ not followed: update base_url", id="with a login"
        ),
        pytest.param(
            "/v1/models",
            "to the same URL not followed: a proxy or firewall in front of the API may require cookies or a login",
            id="itself",
        ),
        pytest.param("file:///etc/passwd", "to an invalid URL not followed: check base_url", id="a file"),
        pytest.param("http://[nowhere", "to an invalid URL not followed: check base_url", id="an invalid URL"),
    ],
)
async def test_redirect_is_not_followed(status: str, location: str, reason: str) -> None:
    async with playing("list") as landing:
        names = {"${landing}": landing.address, "${port}": str(landing.port)}
        for name, value in names.items():
            location, reason = location.replace(name, value), reason.replace(name, value)
        async with playing("redirect", status=status, location=location) as server:
            error = await failure(at(server.address, api_key="sk-canary-1", headers={"api-key": "sk-canary-2"}))
    assert (error.kind, error.retryable) == ("redirect", False)
    assert error.reason == f"redirect ({status[:3]}) {reason}"
    assert (len(server.requests), landing.connections) == (1, 0)


@pytest.mark.parametrize("status", SLASHES)
@pytest.mark.parametrize(
    ("location", "path", "target"),
    [
        pytest.param("/v1/models/", "/models", "/v1/models/", id="a slash is added"),
        pytest.param("/v1/models", "/models/", "/v1/models", id="a slash is removed"),
        pytest.param("models/", "/models", "/v1/models/", id="a relative path"),
    ],
)
async def test_redirect_to_the_same_path_with_or_without_a_slash_is_followed_with_the_own_query(
    status: str, location: str, path: str, target: str
) -> None:
    listing = {"path": path, "items": "data", "auth": {"query": "key"}, "params": {"limit": "9"}}
    async with playing("redirect-then-list", status=status, location=location) as server:
        result = await fetch_list(at(server.address, kind="custom", list=listing, api_key="sk-canary-1"))
    assert (ids(result), result.redirected_to, result.attempts) == (["a"], target, 1)
    assert [request.line for request in server.requests] == [
        f"GET /v1{path}?limit=9&key=sk-canary-1 HTTP/1.1",
        f"GET {target}?limit=9&key=sk-canary-1 HTTP/1.1",
    ]


@pytest.mark.parametrize("location", ["/v1/models/", "/v1/models"])
async def test_second_redirect_is_not_followed(location: str) -> None:
    async with playing("redirect-twice", location=location) as server:
        error = await failure(at(server.address))
    assert (error.kind, len(server.requests)) == ("redirect", 2)


async def test_list_without_a_redirect_was_not_redirected() -> None:
    async with playing("list") as server:
        assert (await fetch_list(at(server.address))).redirected_to == ""


@pytest.mark.parametrize(
    ("settings", "path", "advice"),
    [
        pytest.param(
            {}, "/v1",
            "check base_url; if the provider has no list, use `kind: static` with `models` and `call`", id="openai",
        ),
        pytest.param(
            {}, "/api",
            "check base_url (often `/v1` is missing); if the provider has no list, use `kind: static` with `models` "
            "and `call`",
            id="openai without a version",
        ),
        pytest.param(
            {"kind": "custom", "list": {"path": "/m"}}, "/api",
            "check base_url and list.path; if the provider has no list, use `kind: static` with `models` and `call`",
            id="custom",
        ),
        pytest.param({"kind": "ollama"}, "", "check kind and base_url", id="ollama"),
        pytest.param(
            {"kind": "ollama"}, "/v1", "check kind and base_url (usually without `/v1`)", id="ollama with a version"
        ),
        pytest.param({"kind": "gemini"}, "/x", "check kind and base_url (often `/v1beta` is missing)", id="gemini"),
    ],
)  # fmt: skip
async def test_error_of_a_missing_list_names_what_to_check(settings: dict[str, object], path: str, advice: str) -> None:
    async with playing("status", status="404 Not Found", body='{"detail":"Not Found"}') as server:
        error = await failure(provider(f"http://{server.address}{path}", **settings))
    assert error.reason == f"no model list at this URL (status 404): Not Found; {advice}"


async def test_challenge_with_status_202_is_an_error() -> None:
    async with playing("challenge") as server:
        error = await failure(at(server.address))
    assert (error.kind, error.reason[:52]) == ("blocked", "blocked before the API (status 202, no body); a fire")


async def test_error_has_the_url_of_the_list_without_query_and_secrets() -> None:
    listing = {"path": "/models", "auth": {"query": "key"}}
    async with playing("status", status="500 Broken", body="{}") as server:
        base_url = f"http://{server.address}/sk-canary-1/v1"
        error = await failure(provider(base_url, kind="custom", list=listing, api_key="sk-canary-1", retries=0))
    assert error.url == f"http://{server.address}/***/v1/models"


async def test_cookies_are_not_sent_with_the_next_page() -> None:
    async with playing("set-cookie") as server:
        assert ids(await fetch_list(at(server.address))) == ["a", "b"]
    assert [request.values("cookie") for request in server.requests] == [[], []]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_temporary_status_is_retried(status: int) -> None:
    async with playing("status", status=f"{status} Later", body='{"message":"not now"}') as server:
        error = await failure(at(server.address, retries=2))
    kind, reason = ("rate_limited", "rate limit exceeded (429)") if status == 429 else ("status", f"status {status}")
    assert (error.kind, error.reason, error.retryable) == (kind, f"{reason}: not now", True)
    assert (error.attempts, len(server.requests)) == (3, 3)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        pytest.param(400, "status", "status 400: no", id="400"),
        pytest.param(401, "unauthorized", "authentication failed (401: no): check the provider's api_key", id="401"),
        pytest.param(403, "unauthorized", "permission denied (403: no): check the provider's api_key", id="403"),
        pytest.param(402, "status", "status 402: no", id="402"),
        pytest.param(409, "status", "status 409: no", id="409"),
        pytest.param(505, "status", "status 505: no", id="505"),
    ],
)
async def test_permanent_status_is_not_retried(status: int, kind: str, reason: str) -> None:
    async with playing("status", status=f"{status} Never", body='{"error":{"message":"no"}}') as server:
        error = await failure(at(server.address, retries=2))
    assert (error.kind, error.reason, error.retryable) == (kind, reason, False)
    assert (error.attempts, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        pytest.param(
            "401 Unauthorized", "unauthorized", "authentication failed (401): check the provider's api_key", id="401"
        ),
        pytest.param("429 Too Many Requests", "rate_limited", "rate limit exceeded (429)", id="429"),
    ],
)
async def test_unreadable_error_body_is_reported_by_its_status(status: str, kind: str, reason: str) -> None:
    async with playing("unreadable-refusal", status=status) as server:
        error = await failure(at(server.address, retries=0))
    assert (error.kind, error.reason) == (kind, reason)


async def test_error_without_a_body_is_reported_by_its_status() -> None:
    async with playing("hanging-refusal") as server:
        error = await failure(at(server.address, timeout=LATER, retries=0))
    assert (error.kind, error.reason, error.retry_after) == ("rate_limited", "rate limit exceeded (429)", 7.0)


async def test_provider_that_fails_every_second_time_needs_one_retry() -> None:
    async with playing("flapping") as server:
        answers = [await fetch_list(at(server.address)) for _ in range(2)]
    assert [(ids(answer), answer.attempts) for answer in answers] == [(["a"], 2), (["a"], 2)]
    assert len(server.requests) == 4


# -- retries -----------------------------------------------------------------------------------------------------------

NOW = HastyClock().time()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param("Retry-After: 7", 7.0, id="seconds"),
        pytest.param(f"Retry-After: {formatdate(NOW + 9, usegmt=True)}", 9.0, id="a date"),
        pytest.param("Retry-After: 3\nRetry-After: 8", 8.0, id="two headers"),
        pytest.param("Retry-After: 5\nRetry-After: soon", 5.0, id="one of them invalid"),
    ],
)
async def test_retry_waits_for_retry_after_within_the_deadline(headers: str, seconds: float) -> None:
    clock = HastyClock()
    async with playing("rate-limited", headers=headers) as server:
        answer = await fetch_list(at(server.address), clock)
    assert (ids(answer), answer.attempts, clock.slept) == (["a"], 2, [seconds])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param("X-None: 1", id="nothing"),
        pytest.param("Retry-After: 0", id="immediately"),
        pytest.param(f"Retry-After: {formatdate(NOW - 60, usegmt=True)}", id="a past date"),
        pytest.param("Retry-After: -5", id="a negative number"),
        pytest.param("Retry-After: nan", id="nan"),
        pytest.param("Retry-After: inf", id="inf"),
        pytest.param("Retry-After: 1e9", id="1e9"),
        pytest.param("Retry-After: tomorrow, maybe", id="words"),
    ],
)
async def test_retry_without_retry_after_waits_a_short_random_time(headers: str) -> None:
    clock = HastyClock()
    async with playing("rate-limited", headers=headers) as server:
        assert ids(await fetch_list(at(server.address), clock)) == ["a"]
    assert len(clock.slept) == 1
    assert 0 <= clock.slept[0] <= 0.1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param("Retry-After: 21", 21.0, id="seconds"),
        pytest.param(f"Retry-After: {formatdate(NOW + 600, usegmt=True)}", 600.0, id="a date"),
        pytest.param("Retry-After: 7200", 3600.0, id="two hours are an hour"),
    ],
)
async def test_retry_after_beyond_the_deadline_fails_the_fetch_and_is_kept(headers: str, seconds: float) -> None:
    clock = HastyClock()
    async with playing("rate-limited", headers=headers) as server:
        error = await failure(at(server.address, timeout="20s"), clock)
    assert (error.kind, error.reason) == ("rate_limited", "rate limit exceeded (429): slow down")
    assert (error.retry_after, clock.slept, len(server.requests)) == (seconds, [], 1)


async def test_attempt_does_not_start_close_to_the_deadline() -> None:
    clock = HastyClock()
    error = await failure(at(f"127.0.0.1:{closed_port()}", timeout="1s", retries=10), clock)
    assert error.attempts == len(clock.slept) + 1
    assert sum(clock.slept) + 0.2 <= 1.0


async def test_retry_delays_are_random_and_increase() -> None:
    pauses: list[list[float]] = []
    for _ in range(20):
        clock = HastyClock()
        await failure(at(f"127.0.0.1:{closed_port()}", retries=6), clock)
        pauses.append(clock.slept)
    longest = [max(column) for column in zip(*pauses, strict=True)]
    assert all(seconds <= min(2.0, 0.1 * 2**number) for number, seconds in enumerate(longest))
    assert longest[5] > 0.2
    assert len({pause for row in pauses for pause in row}) == 20 * 6


async def test_retries_are_shared_by_all_pages_of_a_fetch() -> None:
    async with playing("page-then-500") as server:
        error = await failure(at(server.address, retries=2))
    # The first page and its retry, the second page and the one remaining retry.
    assert (error.kind, error.attempts, len(server.requests)) == ("status", 3, 4)


async def test_further_pages_are_not_counted_as_attempts() -> None:
    async with playing("pages-of-ten") as server:
        answer = await fetch_list(at(server.address))
    assert (answer.pages, answer.attempts) == (3, 1)


async def test_zero_retries_means_one_attempt() -> None:
    async with playing("flapping") as server:
        error = await failure(at(server.address, retries=0))
    assert (error.attempts, len(server.requests)) == (1, 1)


# -- what is sent ------------------------------------------------------------------------------------------------------

LIST = {"data": [{"id": "a"}]}


@pytest.fixture
def providers_side() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=True) as router:
        yield router


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        pytest.param("https://models.example", "https://models.example/v1/models", id="without a path"),
        pytest.param("https://models.example/", "https://models.example/v1/models", id="only a slash"),
        pytest.param("https://models.example/api/v3", "https://models.example/api/v3/models", id="with a path"),
        pytest.param("https://models.example/api/v3/", "https://models.example/api/v3/models", id="with a slash"),
        pytest.param("https://models.example/v1/models", "https://models.example/v1/models", id="with /models"),
        pytest.param("https://models.example/v1/models/", "https://models.example/v1/models", id="with /models/"),
    ],
)
async def test_list_url_joins_base_url_and_path_without_duplicates_or_losses(
    base_url: str, url: str, providers_side: respx.MockRouter
) -> None:
    route = providers_side.get(url__eq=url).respond(json=LIST)
    assert ids(await fetch_list(provider(base_url))) == ["a"]
    assert route.call_count == 1


async def test_request_contains_only_the_required_headers(providers_side: respx.MockRouter) -> None:
    route = providers_side.get("https://models.example/v1/models").respond(json=LIST)
    await fetch_list(provider("https://models.example", api_key="sk-canary", headers={"X-Team": "platform"}))
    headers = route.calls.last.request.headers
    agent = headers.pop("user-agent")
    assert agent.startswith("models-proxy/")
    assert sorted(headers.multi_items()) == [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-canary"),
        ("host", "models.example"),
        ("x-team", "platform"),
    ]


@pytest.mark.parametrize(
    ("extra", "read"),
    [
        pytest.param("all", {"n": 1, "status": {}}, id="all"),
        pytest.param(["n", "path", "status"], {"n": 1, "path": "/srv/a", "status": {}}, id="a configured value"),
    ],
)
async def test_private_fields_are_removed_unless_extra_fields_lists_them(
    extra: object, read: dict[str, object], providers_side: respx.MockRouter
) -> None:
    payload = {"id": "a", "n": 1, "path": "/srv/a", "status": {"args": ["x"]}, "api_key": "sk-fake"}
    providers_side.get("https://models.example/v1/models").respond(json={"data": [payload]})
    [entry] = (await fetch_list(provider("https://models.example", extra_fields=extra))).entries
    assert json.loads(entry.extra) == read


async def test_no_credential_is_sent_without_an_api_key(providers_side: respx.MockRouter) -> None:
    route = providers_side.get("https://models.example/v1/models").respond(json=LIST)
    await fetch_list(provider("https://models.example"))
    assert "authorization" not in route.calls.last.request.headers


async def test_configured_header_overrides_the_default_regardless_of_case(providers_side: respx.MockRouter) -> None:
    route = providers_side.get("https://models.example/v1/models").respond(json=LIST)
    await fetch_list(provider("https://models.example", api_key="sk-canary", headers={"authorization": "Basic abc"}))
    assert route.calls.last.request.headers.get_list("authorization") == ["Basic abc"]


async def test_pangu_url_contains_workspace_and_model_percent_encoded(
    providers_side: respx.MockRouter,
) -> None:
    route = providers_side.get(host="pangu.example").respond(json={"total": 1, "versions": [{"id": "v"}]})
    await fetch_list(provider("https://pangu.example/v1", **{**PANGU, "model_ids": ["a/b?c"]}))
    request = route.calls.last.request
    assert request.url.raw_path.decode() == VERSIONS.format("a%2Fb%3Fc")
    assert request.headers.get_list("x-auth-token") == ["token-canary"]
    assert "authorization" not in request.headers


async def test_invalid_header_value_fails_without_showing_the_value() -> None:
    unchecked = {"headers": {"X-Odd": SecretStr("sk-canary with a blank behind it ")}}
    async with playing("list") as server:
        error = await failure(at(server.address).model_copy(update=unchecked))
    assert (error.kind, error.retryable) == ("invalid_response", False)
    assert error.reason == "request not sent: invalid header value; check headers and api_key"
    assert "canary" not in "".join(traceback.format_exception(error))
    assert server.requests == []

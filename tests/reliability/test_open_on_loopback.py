"""Web pages cannot use a proxy without keys: neither by DNS rebinding nor with requests whose response is hidden."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.fakes import FakeClock, FakeFetch, Reply, config_of, digest, reply_to, started
from tests.processes import serving

PROVIDER = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\n"
OPEN = PROVIDER + "groups: {default: {models: ['*'], call: true}}\n"
KEYED = PROVIDER + f"keys: [{{name: k, hash: '{digest('sk-canary-open')}', models: ['*']}}]\n"
JSON = {"content-type": "application/json"}


def refusal(reply: Reply) -> tuple[int, str]:
    """The status and the code of an error; `""` as the code of a response without error."""
    return reply.status, reply.json.get("error", {}).get("code", "")


async def response(
    text: str, path: str, headers: Mapping[str, str], fetch: FakeFetch, clock: FakeClock, method: str = "GET"
) -> tuple[int, str]:
    fetch.lists("a", "m")
    async with started(config_of(text), fetch, clock) as app:
        return refusal(await reply_to(app, path, headers, method=method))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:8000", "localhost.:8000", "proxy.localhost", "127.0.0.1:8000", "127.8.8.8", "[::1]:80",
        "llm.example.com", "LLM.example.com:443",
    ],
)  # fmt: skip
async def test_a_proxy_without_keys_accepts_loopback_and_allowed_hosts(
    host: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "server: {allowed_hosts: [LLM.example.com]}\n" + OPEN
    assert await response(text, "/v1/models", {"host": host}, fetch, clock) == (200, "")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "", "10.0.0.7",
        "[::2", "[fd00::1]", "localhost@evil.example", "sub.llm.example.com", "\xe9vil",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m", "/v1/chat/completions", "/nothing"])
async def test_a_proxy_without_keys_rejects_every_other_host(
    host: str, path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "server: {allowed_hosts: [llm.example.com]}\n" + OPEN
    assert await response(text, path, {"host": host}, fetch, clock) == (403, "host_not_allowed")


@pytest.mark.anyio
async def test_the_rejection_of_a_host_names_the_setting(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(OPEN), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models", {"host": "evil.example:8000"})

    assert reply.json["error"] == {
        "message": "Host 'evil.example' is not allowed: this proxy has no API keys, so it accepts loopback names and "
        "addresses only. Use localhost in the base URL, or add the host to `server.allowed_hosts`.",
        "type": "permission_error",
        "param": None,
        "code": "host_not_allowed",
    }


@pytest.mark.anyio
async def test_one_foreign_host_of_two_is_enough_for_a_rejection(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(OPEN), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models", [(b"host", b"localhost"), (b"host", b"evil.example")])

    assert refusal(reply) == (403, "host_not_allowed")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("10.0.0.7:8000", (200, ""), id="an address"),
        pytest.param("[fd00::1]:8000", (200, ""), id="an IPv6 address"),
        pytest.param("evil.example", (403, "host_not_allowed"), id="a name"),
    ],
)
async def test_with_allow_anonymous_addresses_are_accepted_too(
    host: str, expected: tuple[int, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "server: {allow_anonymous: true}\n" + OPEN
    assert await response(text, "/v1/models", {"host": host}, fetch, clock) == expected


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_probes_accept_every_host(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(OPEN), fetch, clock) as app:
        assert (await reply_to(app, path, {"host": "10.0.0.7:8000"})).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        pytest.param("https://app.example", (200, ""), id="configured"),
        pytest.param("https://evil.example", (403, "origin_not_allowed"), id="another one"),
        pytest.param("null", (403, "origin_not_allowed"), id="a sandboxed frame"),
        pytest.param("http://localhost:8000", (403, "origin_not_allowed"), id="another page of this machine"),
        pytest.param("", (403, "origin_not_allowed"), id="empty"),
    ],
)
async def test_a_proxy_without_keys_accepts_only_configured_origins(
    origin: str, expected: tuple[int, str], fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "server: {cors: ['https://app.example']}\n" + OPEN
    assert await response(text, "/v1/models", {"host": "localhost", "origin": origin}, fetch, clock) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "text/plain", "text/plain; charset=application/json", "application/x-www-form-urlencoded",
        "application/octet-stream", "text/plain, application/json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/chat/completions", "/v1/rerank"])
async def test_a_call_without_keys_needs_a_content_type_that_no_form_of_a_page_can_send(
    content_type: str | None, path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    headers = {"host": "localhost"} | ({} if content_type is None else {"content-type": content_type})
    status, _ = await response(OPEN, path, headers, fetch, clock, "POST")
    assert status == 415


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"host": "evil.example"}, 200, id="any host"),
        pytest.param({"origin": "https://evil.example"}, 200, id="any origin"),
    ],
)
async def test_with_keys_hosts_and_origins_are_not_restricted(
    headers: Mapping[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    key = {"authorization": "Bearer sk-canary-open"}
    assert await response(KEYED, "/v1/models", {**headers, **key}, fetch, clock) == (status, "")


CALL = json.dumps({"model": "m", "messages": []})
FORM = {"files": {"file": ("a.wav", b"x")}, "data": {"model": "m"}}


def test_the_real_server_accepts_calls_of_programs_and_rejects_those_of_pages(tmp_path: Path) -> None:
    lab = "providers: [{name: lab, kind: static, models: [m], call: {base_url: 'http://127.0.0.1:9/v1'}}]\n"
    with serving(tmp_path / "config.yaml", lab + "groups: {default: {models: ['*'], call: true}}\n") as process:
        url = process.url + "/v1/chat/completions"
        with httpx.Client(trust_env=False, timeout=30) as client:
            sent = {
                "JSON": client.post(url, content=CALL, headers=JSON),
                "JSON of another vendor": client.post(
                    url, content=CALL, headers={"content-type": "application/x+json"}
                ),
                "form with a file": client.post(process.url + "/v1/audio/transcriptions", **FORM),  # type: ignore[arg-type]
                "no content type": client.post(url, content=CALL),
                "form of a page": client.post(url, content=CALL, headers={"content-type": "text/plain"}),
                "fetch of a page": client.post(url, content=CALL, headers={**JSON, "origin": "https://evil.example"}),
                "DNS rebinding": client.post(url, content=CALL, headers={**JSON, "host": "evil.example:8000"}),
            }

    # 502: accepted, but nothing listens at the address of the provider.
    assert {name: response.status_code for name, response in sent.items()} == {
        "JSON": 502,
        "JSON of another vendor": 502,
        "form with a file": 502,
        "no content type": 415,
        "form of a page": 415,
        "fetch of a page": 403,
        "DNS rebinding": 403,
    }

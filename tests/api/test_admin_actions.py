"""`POST /admin/refresh` and `POST /admin/reload`: who can use them, and their parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

ADMIN = "sk-fake-of-operator"
PROVIDERS = """
providers:
  - {name: a, base_url: 'http://127.0.0.1:9/v1'}
  - {name: paused, base_url: 'http://127.0.0.1:9/v1', disabled: true}
"""
KEYS = f"keys: [{{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}]"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/admin/refresh?provider=b", 404, "No provider has the name 'b'."),
        ("/admin/refresh?provider=paused", 404, "Provider 'paused' is disabled: disabled: true."),
        ("/admin/refresh?acept=true", 400, "Unknown query parameter 'acept'; valid parameters: provider, accept."),
        ("/admin/refresh?accept=maybe", 400, "`accept` must be true or false."),
        ("/admin/refresh?provider=a&provider=b", 400, "A query parameter is repeated."),
        ("/admin/reload?now=1", 400, "Unknown query parameter 'now'."),
    ],
)
async def test_parameters_are_checked_before_anything_is_done(
    path: str, status: int, message: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(PROVIDERS + KEYS), fetch, clock) as app:
        reply = await reply_to(app, path, {"x-api-key": ADMIN}, method="POST")

    assert (reply.status, reply.json["error"]["message"]) == (status, message)
    assert fetch.requests["a"] == 1


@pytest.mark.parametrize(
    ("server", "headers", "status"),
    [
        pytest.param("", {}, 200, id="a user of this machine"),
        pytest.param("", {"origin": "https://foreign.example"}, 403, id="a page of another origin"),
        pytest.param("", {"origin": "null"}, 403, id="a page without an origin"),
        pytest.param("", {"host": "foreign.example"}, 403, id="a page after DNS rebinding"),
        pytest.param("server: {allow_anonymous: true}", {}, 403, id="anyone in the network"),
    ],
)
async def test_without_keys_only_users_of_this_machine_can_refresh(
    server: str, headers: Mapping[str, str], status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(server + PROVIDERS), fetch, clock) as app:
        reply = await reply_to(app, "/admin/refresh", headers, method="POST")

    assert (reply.status, fetch.requests["a"]) == (status, 2 if status == 200 else 1)


async def test_a_refresh_joins_the_one_in_progress(fetch: FakeFetch, clock: FakeClock) -> None:
    pending = fetch.hangs("a")
    async with started(config_of(PROVIDERS + KEYS), fetch, clock) as app:
        pending.set_exception(RuntimeError())
        reply = await reply_to(app, "/admin/refresh", {"x-api-key": ADMIN}, method="POST")

    assert (reply.json["providers"][0]["state"], fetch.requests["a"]) == ("failing", 1)


async def test_a_configuration_without_files_cannot_be_reloaded(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """That of `models-proxy demo` is one."""
    async with started(config_of(PROVIDERS + KEYS), fetch, clock) as app:
        reply = await reply_to(app, "/admin/reload", {"x-api-key": ADMIN}, method="POST")
        app.reloader.signal()
        await asyncio.sleep(0)

    error = reply.json["error"]
    expected = "Reloading is disabled: the configuration was not read from files."
    assert (reply.status, error["code"], error["message"]) == (409, "reload_disabled", expected)
    assert caplog.messages == ["SIGHUP ignored: the configuration was not read from files"]

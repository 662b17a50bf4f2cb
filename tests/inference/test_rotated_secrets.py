"""Secrets that are replaced in their files while the proxy runs: calls use the new ones without a restart."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, FakeProvider, fake_provider, replies

pytestmark = pytest.mark.anyio

OLD, NEW, OTHER = "sk-canary-old", "sk-canary-new", "sk-canary-other"
FINE = replies(completion("m"))


class Account:
    """A provider that accepts the keys in `valid`."""

    def __init__(self) -> None:
        self.valid = {OLD}

    async def script(self, exchange: Exchange) -> None:
        refused = replies({"error": {"message": f"wrong key, not {sorted(self.valid)}"}}, 401)
        await (FINE if key_in(exchange) in self.valid else refused)(exchange)


def key_in(exchange: Exchange) -> str:
    return exchange.request.headers["authorization"].removeprefix("Bearer ")


def keys_sent(provider: FakeProvider) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in provider.requests]


def written(path: Path, secret: str) -> None:
    path.write_text(secret)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(OLD)
    return file


@asynccontextmanager
async def calling(
    account: Account, setting: str, fetch: FakeFetch, clock: FakeClock
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    async with fake_provider(account.script) as provider:
        text = f"""\
groups: {{default: {{models: ['*'], call: true}}}}
providers: [{{name: a, base_url: "{provider.url}/v1", {setting}}}]
"""
        fetch.lists("a", "m")
        async with serving(config_of(text), fetch, clock) as served:
            yield served, provider


async def test_rejected_call_is_sent_again_with_the_new_key(
    path: Path, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    account = Account()
    async with calling(account, f"api_key_file: {path}", fetch, clock) as (served, provider):
        assert (await served.call()).status_code == 200
        written(path, NEW)
        account.valid = {NEW}
        for _ in range(2):
            assert (await served.call()).status_code == 200
    assert keys_sent(provider) == [OLD, OLD, NEW, NEW]
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        f"api_key_file: {path}: the file has changed; the new secret is used",
        "provider a: API key 1 was rejected (status 401, authentication failed); retrying with the new content of its "
        "file",
    ]
    assert "canary" not in caplog.text


async def test_rejected_call_is_not_sent_again_if_the_file_is_the_same(
    path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    account = Account()
    async with calling(account, f"api_key_file: {path}", fetch, clock) as (served, provider):
        account.valid = {NEW}
        answer = await served.call()
    assert (answer.status_code, keys_sent(provider)) == (502, [OLD])


async def test_second_rejection_is_the_result_of_the_call(path: Path, fetch: FakeFetch, clock: FakeClock) -> None:
    account = Account()
    async with calling(account, f"api_key_file: {path}", fetch, clock) as (served, provider):
        account.valid = set()
        written(path, NEW)
        answer = await served.call()
    assert (answer.status_code, keys_sent(provider)) == (502, [OLD, NEW])
    assert "canary" not in answer.text


async def test_new_key_is_used_without_a_rejection(path: Path, fetch: FakeFetch, clock: FakeClock) -> None:
    account = Account()
    account.valid = {OLD, NEW}
    async with calling(account, f"api_key_file: {path}", fetch, clock) as (served, provider):
        written(path, NEW)
        for _ in range(1000):
            await clock.advance(1)
            if (await served.call()).status_code == 200 and keys_sent(provider)[-1] == NEW:
                break
    assert keys_sent(provider)[0] == OLD
    assert keys_sent(provider)[-1] == NEW


async def test_key_that_is_replaced_in_its_file_is_not_cooling(
    path: Path, tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    (tmp_path / "other").write_text(OTHER)
    account = Account()
    account.valid = {OTHER, NEW}
    setting = f"api_keys_files: [{path}, {tmp_path}/other]"
    async with calling(account, setting, fetch, clock) as (served, provider):
        assert (await served.call()).status_code == 200
        written(path, NEW)
        account.valid = {NEW}
        assert (await served.call()).status_code == 502
        for _ in range(1000):
            await clock.advance(1)
            if (await served.call()).status_code == 200:
                break
    assert keys_sent(provider)[:3] == [OLD, OTHER, OTHER]
    assert keys_sent(provider)[-1] == NEW

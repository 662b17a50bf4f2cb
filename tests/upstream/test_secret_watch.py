"""Secrets in files are polled while the proxy runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.config import Provider, parse
from proxy.upstream.secret_watch import POLL_SECONDS, watch_secrets
from tests.fakes import FakeClock
from tests.listening import until

pytestmark = pytest.mark.anyio

OLD, NEW = "sk-canary-old", "sk-canary-new"


def provider_with(setting: str) -> Provider:
    return parse(f"providers: [{{name: a, base_url: 'http://h', {setting}}}]").providers[0]


async def test_changed_file_is_loaded_after_two_polls(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "key"
    path.write_text(OLD)
    provider = provider_with(f"api_key_file: {path}")
    watching = asyncio.create_task(watch_secrets([provider], clock))
    path.write_text(NEW)
    await clock.advance(POLL_SECONDS - 0.1)
    assert provider.all_api_keys[0].get_secret_value() == OLD

    async def has_the_new_key() -> None:
        while provider.all_api_keys[0].get_secret_value() == OLD:
            await clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)

    await asyncio.wait_for(has_the_new_key(), 10)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_without_files_nothing_is_polled() -> None:
    watching = asyncio.create_task(watch_secrets([provider_with("api_key: k")], FakeClock()))
    await until(watching.done)

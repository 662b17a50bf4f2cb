"""What a reload reports as applied by a restart only."""

from __future__ import annotations

import pytest

from proxy.config import Config
from proxy.config.sources import Sources
from proxy.server.reload import Reloader
from proxy.telemetry import Reloads
from tests.fakes import FakeClock, config_of

pytestmark = pytest.mark.anyio

KEPT = """
store: {directory: /made-up}
tracing: {endpoint: 'http://127.0.0.1:4318'}
server: {port: 1234}
"""
PROVIDERS = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1', ttl: %s}]"


class Files:
    """Files with this configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def read(self, before: Sources) -> Config:
        return self._config

    def refuse(self, before: Config, after: Config) -> str:
        return ""


@pytest.mark.parametrize("is_worker", [False, True])
async def test_settings_that_have_not_changed_need_no_restart(clock: FakeClock, is_worker: bool) -> None:
    before, after = (config_of(KEPT + PROVIDERS % ttl) for ttl in ("1m", "2m"))

    async def replaces(config: Config) -> None:
        pass

    reloader = Reloader(Files(after), lambda: before, replaces, Reloads("one", 0.0), clock)
    if is_worker:
        reloader.runs_with({"port": 1234})
    assert (await reloader.reload())["restart_needed"] == []


async def test_the_settings_that_a_worker_uses_are_compared(clock: FakeClock) -> None:
    before = config_of(KEPT + PROVIDERS % "1m")
    after = config_of(KEPT.replace("made-up", "other") + PROVIDERS % "2m")

    async def replaces(config: Config) -> None:
        pass

    reloader = Reloader(Files(after), lambda: before, replaces, Reloads("one", 0.0), clock)
    reloader.runs_with({"port": 1})
    assert (await reloader.reload())["restart_needed"] == ["server.port", "store.directory"]

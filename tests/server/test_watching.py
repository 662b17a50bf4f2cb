"""The files of the configuration are polled, by the clock of the test: which states of them are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config import Config, read
from proxy.config.sources import Sources
from proxy.server.reload import POLL_SECONDS, Reloader
from proxy.telemetry import Reloads
from tests.fakes import FakeClock
from tests.listening import until

pytestmark = pytest.mark.anyio

PROVIDER = "providers: [{name: lab, kind: static, models: [m]}]\nkeys:\n"


def key(number: int) -> str:
    return f"  - {{name: k{number}, hash: 'sha256:{number:064x}', models: ['*']}}\n"


class Files:
    """Reads the configuration, and counts how often it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reads = 0

    def read(self, before: Sources) -> Config:
        self.reads += 1
        return read(self._path)

    def refuse(self, before: Config, after: Config) -> str:
        return ""


class Watched:
    """A configuration whose file is watched."""

    def __init__(self, path: Path, text: str, clock: FakeClock) -> None:
        path.write_text(text)
        self.path = path
        self.files = Files(path)
        self.config = read(path)
        self.clock = clock
        self.reloader = Reloader(self.files, lambda: self.config, self._replace, Reloads("", 0.0), clock)

    async def _replace(self, config: Config) -> None:
        self.config = config

    @property
    def keys(self) -> list[str]:
        return [key.name for key in self.config.keys]

    async def look(self) -> None:
        """Let the files be checked once more, and what follows from it happen."""
        await self.clock.advance(POLL_SECONDS)
        await until(lambda: bool(self.clock._sleepers))


@asynccontextmanager
async def watching(path: Path, clock: FakeClock, text: str) -> AsyncIterator[Watched]:
    watched = Watched(path, text, clock)
    watched.reloader.start()
    await until(lambda: bool(clock._sleepers))
    yield watched
    await watched.reloader.stop()


async def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path, clock: FakeClock) -> None:
    """Half of a file can be valid, and lack keys."""
    async with watching(tmp_path / "config.yaml", clock, PROVIDER + key(0)) as watched:
        text = PROVIDER
        for number in range(1, 7):
            text += key(number)
            watched.path.write_text(text)
            await watched.look()
        assert (watched.keys, watched.files.reads) == (["k0"], 0)
        await watched.look()
        await until(lambda: watched.files.reads == 1)
        await until(lambda: watched.keys == [f"k{number}" for number in range(1, 7)])
        for _ in range(3):
            await watched.look()
        assert watched.files.reads == 1


@pytest.mark.parametrize("setting", ["signal", "off"])
async def test_changes_are_not_noticed_if_watching_is_switched_off(
    setting: str, tmp_path: Path, clock: FakeClock
) -> None:
    server = f"server: {{reload: {setting}}}\n"
    async with watching(tmp_path / "config.yaml", clock, server + PROVIDER + key(0)) as watched:
        watched.path.write_text(server + PROVIDER + key(1))
        for _ in range(3):
            await watched.look()
        assert (watched.keys, watched.files.reads) == (["k0"], 0)

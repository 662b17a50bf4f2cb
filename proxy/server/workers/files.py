"""The files of the configuration, as one of several workers uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.config import Config
from proxy.config.division import part_of
from proxy.config.sources import Sources
from proxy.server.config_process import Contents
from proxy.server.workers.messages import Settings
from proxy.server.workers.processes import Start


class Files(Protocol):
    """The files of the configuration. All methods but `settings_of` are called in threads."""

    def contents(self, before: Sources) -> Contents:
        """`before`: the last known state of the files. Raises ConfigError."""
        ...

    def refuse(self, before: Config, after: Config) -> str:
        """Return why a valid configuration must not replace the current one, "" if it can."""
        ...

    def restored(self, packed: bytes) -> Config:
        """The configuration in the bytes of `Contents.packed`. Raises ConfigError."""
        ...

    def settings_of(self, config: Config) -> Settings: ...


class WorkerFiles:
    """The files of the configuration, as one worker uses them: its part of the limits."""

    def __init__(self, files: Files, start: Start) -> None:
        self._files = files
        self._start = start
        self._last: tuple[str, Callable[[], bytes]] | None = None

    def read(self, before: Sources) -> Config:
        """`before`: the last known state of the files. Raises ConfigError."""
        contents = self._files.contents(before)
        self._last = (contents.config.generation, contents.packed)
        return self.part_of(contents.config)

    def refuse(self, before: Config, after: Config) -> str:
        return self._files.refuse(before, after)

    def restored(self, packed: bytes) -> Config:
        """The configuration that another worker has read. Raises ConfigError."""
        return self.part_of(self._files.restored(packed))

    def settings_of(self, config: Config) -> Settings:
        return self._files.settings_of(config)

    def part_of(self, config: Config) -> Config:
        return part_of(config, self._start.number - 1, self._start.settings.workers)

    def packed(self, generation: str) -> bytes | None:
        """The last configuration that was read, None if it is another one."""
        return self._last[1]() if self._last and self._last[0] == generation else None

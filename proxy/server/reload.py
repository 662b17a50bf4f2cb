"""Apply a changed configuration: after a change of its files, after SIGHUP, or when an administrator requests it.

Files are polled: replaced symbolic links (Kubernetes), bind mounts and network file systems lose the events that a
library could wait for. A file is read when it was the same at two checks, because a half-written one can be valid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from proxy.clock import Clock
from proxy.config import Config, ConfigError
from proxy.config.reload_rules import restart_needed
from proxy.config.sources import Sources
from proxy.errors import ConfigurationRejected, ReloadDisabled, describe_bug
from proxy.printable import printable
from proxy.server.changes import Changes, changes, is_same
from proxy.telemetry import Reloads

POLL_SECONDS = 1.0
"""Seconds between two checks of the files."""
_MAX_LOGGED = 20
"""Problems of one configuration, names of one change."""
_SIGHUP = "SIGHUP: "
"""The cause of a reload."""
_RESTART = "a restart only"

_log = logging.getLogger("models_proxy")


class ConfigFiles(Protocol):
    """The files of the configuration. Both methods are called in threads."""

    def read(self, before: Sources) -> Config:
        """`before`: the last known state of the files. Raises ConfigError."""
        ...

    def refuse(self, before: Config, after: Config) -> str:
        """Return why a valid configuration must not replace the current one, "" if it can."""
        ...


class _Loaded(NamedTuple):
    """What the files contain."""

    sources: Sources
    config: Config | None = None
    """None if it cannot be used."""
    problems: Sequence[str] = ()
    changes: Changes | None = None
    """None if nothing has changed."""


class Reloader:
    """Applies changed configurations, one at a time. A bad one changes nothing."""

    def __init__(
        self,
        files: ConfigFiles | None,
        current: Callable[[], Config],
        replace: Callable[[Config], Awaitable[None]],
        reloads: Reloads,
        clock: Clock,
    ) -> None:
        """`files`: None if the configuration is constant; `current` returns the one in use; `replace` applies one."""
        self._files = files
        self._current = current
        config = current()
        self._first = Config(config.server, config.merge, (), (), store=config.store, tracing=config.tracing)
        """What is compared to find what needs a restart."""
        self._applied_by = _RESTART
        self.watches = True
        """Whether the files of the configuration are polled; otherwise another process does that, see `apply`."""
        self.on_result: Callable[[], None] = lambda: None
        """Called after each change of `reloads`."""
        self._sources = config.sources
        """The state of the files when they were read."""
        self._replace = replace
        self._reloads = reloads
        self._clock = clock
        self._logged: Sequence[str] = ()
        """The problems that were logged."""
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[_Loaded] | None = None
        """The next reload, which has not begun to read: all requests for a reload until then share it."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_signaled = False
        self.observe: Callable[[bool], None] = lambda begins: None
        """Called when a reload begins (True), and when it has ended."""

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Watch the files until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._start(self._watch(), "watch files")
        if self._is_signaled:
            self._reload_after_signal()

    async def stop(self) -> None:
        """Cancel everything, also a reload in progress."""
        self._loop = None
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def runs_with(self, server: Mapping[str, object]) -> None:
        """Set what needs new processes, which SIGHUP starts. `server`: settings that are used, but not configured."""
        used = self._first.server.model_copy(update=dict(server))
        self._first = replace(self._first, server=used)
        self._applied_by = "SIGHUP or a restart only"

    def signal(self) -> None:
        """Reload after SIGHUP. Called in any thread, also before `start`."""
        self._is_signaled = True
        if loop := self._loop:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(self._reload_after_signal)

    def _start(self, work: Any, name: str) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- causes --------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Poll the files. Those with secrets are loaded whatever else has changed, also without other reloads."""
        before: Sources | None = None
        while self._files or self._secrets:
            await self._clock.sleep(POLL_SECONDS)
            try:
                found = await asyncio.to_thread(self._look)
                if found is not None and found == before and found != self._sources:
                    await self._begin("")
                before = found
            except Exception as bug:
                _log.error("internal error while watching the configuration: %s", describe_bug(bug))

    @property
    def _secrets(self) -> Sequence[Any]:
        config = self._current()
        of_providers = (secret for provider in config.providers for secret in provider.secret_files)
        of_webhooks = (secret for webhook in config.notify for secret in webhook.secret_files)
        of_issuers = (secret for issuer in config.auth.jwt for secret in issuer.secret_files)
        return [*of_providers, *config.store.secret_files, *of_webhooks, *of_issuers]

    def _look(self) -> Sources | None:
        for secret in self._secrets:
            secret.poll()
        watches = self.watches and self._files and self._current().server.reload == "auto"
        return self._sources.look() if watches else None

    def _reload_after_signal(self) -> None:
        self._is_signaled = False
        if self._loop is None:
            return
        if reason := self._disabled:
            _log.warning("SIGHUP ignored: %s", reason)
        elif self._next is None:
            self._begin(_SIGHUP)

    @property
    def _disabled(self) -> str:
        """Why SIGHUP and administrators cannot reload, "" if they can."""
        if self._files is None:
            return "the configuration was not read from files"
        if self._current().server.reload == "off":
            return "`server.reload` is `off`; restart to apply a changed configuration"
        return ""

    async def reload(self, cause: str = "admin: ") -> Mapping[str, Any]:
        """Reload for an administrator, or another `cause`. Returns what has changed.

        Raises ReloadDisabled and ConfigurationRejected.
        """
        if reason := self._disabled:
            raise ReloadDisabled(f"Reloading is disabled: {reason}.")
        # Shielded: a client that disconnects must not cancel a reload that others wait for.
        loaded = await asyncio.shield(self._begin(cause))
        if loaded.problems:
            raise ConfigurationRejected(loaded.problems)
        return {
            "generation": self._reloads.generation,
            "changed": loaded.changes.payload if loaded.changes else None,
            "restart_needed": [*self._reloads.restart_needed],
        }

    async def apply(self, config: Config) -> None:
        """Apply a configuration that another process has loaded from the same files."""
        async with self._lock:
            if not is_same(self._current(), config):
                await self._replace(config)
            self._sources, self._reloads.generation = config.sources, config.generation

    # -- reloads -------------------------------------------------------------------------------------------------------

    def _begin(self, cause: str) -> asyncio.Task[_Loaded]:
        """Return the next reload. `cause`: for the log, if it is not a change of the files."""
        if self._next is None:
            self._next = self._start(self._in_turn(cause), "reload")
        return self._next

    async def _in_turn(self, cause: str) -> _Loaded:
        async with self._lock:
            self._next = None
            assert self._files is not None, "checked by all callers"
            before = self._current()
            self.observe(True)
            try:
                loaded = await asyncio.to_thread(self._load, self._files, before, self._sources)
                if loaded.config and loaded.changes:
                    await self._replace(loaded.config)
            except Exception as bug:
                problem = f"internal error: {describe_bug(bug)}"
                loaded = _Loaded(self._sources, problems=(problem,))
            self._record(loaded, before, cause)
            self.on_result()
            self.observe(False)
            return loaded

    @staticmethod
    def _load(files: ConfigFiles, before: Config, sources: Sources) -> _Loaded:
        """Read and check the files. Runs in a thread."""
        try:
            config = files.read(sources)
        except ConfigError as error:
            return _Loaded(error.sources, problems=[str(problem) for problem in error.problems])
        if problem := files.refuse(before, config):
            return _Loaded(config.sources, problems=[problem])
        return _Loaded(config.sources, config, changes=None if is_same(before, config) else changes(before, config))

    def _record(self, loaded: _Loaded, before: Config, cause: str) -> None:
        """Log the result, and keep it for `/health` and metrics."""
        reloads = self._reloads
        self._sources = loaded.sources
        had_problems, reloads.problems = bool(reloads.problems), tuple(loaded.problems)
        if loaded.config is None:
            reloads.last_failure = self._clock.time()
            if cause or self._logged != loaded.problems:
                self._log_problems(loaded.problems, cause)
            self._logged = loaded.problems
            return
        self._logged = ()
        if loaded.changes is None:
            if cause or had_problems:
                _log.info("%sconfiguration unchanged: generation %s", cause, reloads.generation)
            return
        reloads.generation, reloads.last_success = loaded.config.generation, self._clock.time()
        _log.info(
            "%sconfiguration reloaded: generation %s; %s", cause, reloads.generation, printable(str(loaded.changes))
        )
        self._log_warnings(before, loaded.config, is_applied=cause == _SIGHUP and self._applied_by != _RESTART)

    def _log_problems(self, problems: Sequence[str], cause: str) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        generation = self._reloads.generation
        _log.error("%sconfiguration not reloaded: %s; generation %s is still used", cause, count, generation)
        for problem in problems[:_MAX_LOGGED]:
            _log.error("  %s", printable(problem))
        if len(problems) > _MAX_LOGGED:
            _log.error("  and %d more problems", len(problems) - _MAX_LOGGED)

    def _log_warnings(self, before: Config, after: Config, *, is_applied: bool) -> None:
        """`is_applied`: new processes are started with what needs a restart."""
        for warning in after.warnings:
            if warning not in before.warnings:
                _log.warning("configuration: %s", printable(warning))
        needed = restart_needed(self._first, after)
        if needed and needed != self._reloads.restart_needed and not is_applied:
            _log.warning("%s: changed, but applied by %s", ", ".join(needed), self._applied_by)
        self._reloads.restart_needed = needed

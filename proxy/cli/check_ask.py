"""Contact every provider, for `check`, and show the progress on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from proxy.catalog import Fetch
from proxy.cli.audit import ProbeResult
from proxy.cli.terminal import err
from proxy.clock import Clock
from proxy.config import Config, Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from proxy.upstream.resolver import use_resolver_threads
from proxy.upstream.transport import disable_http_logging

Notify = Callable[[ProbeResult], None]


async def probe_with_progress(config: Config, clock: Clock, *, retries: int, quiet: bool) -> list[ProbeResult]:
    """The results of all providers, in the order of the file.

    `retries`: further attempts per provider after one that failed. `quiet`: progress only on a terminal.
    """
    use_resolver_threads(len(config.providers))
    disable_http_logging()
    fetch = ListFetcher(config.providers, clock)
    names = [provider.name for provider in config.providers if provider.is_remote]
    console = err()
    if console.is_terminal:
        with _LiveProgress(names, console) as progress:
            return await probe_all(config, fetch, clock, progress.notify, retries=retries)
    lines = _ProgressLines(len(names), console)
    notify = (lambda result: None) if quiet else lines.notify
    return await probe_all(config, fetch, clock, notify, retries=retries)


async def probe_all(
    config: Config, fetch: Fetch, clock: Clock, notify: Notify, *, retries: int = 0
) -> list[ProbeResult]:
    """Contact all providers concurrently. `notify` is called with each result as soon as it is available."""

    async def probe(provider: Provider) -> ProbeResult:
        if not provider.is_remote:
            return ProbeResult(provider)
        result = await _probe(provider, fetch, clock, retries)
        notify(result)
        return result

    return await asyncio.gather(*map(probe, config.providers))


async def _probe(provider: Provider, fetch: Fetch, clock: Clock, retries: int) -> ProbeResult:
    began, answer, error = clock.monotonic(), None, None
    try:
        answer = await fetch(provider, retries)
    except UpstreamError as failure:
        error = failure
    except Exception as bug:
        error = UpstreamError.from_bug(bug)
    return ProbeResult(provider, answer, error, clock.monotonic() - began)


class _ProgressLines:
    """Progress without a terminal: one line for each provider that has responded or failed."""

    def __init__(self, total: int, console: Console) -> None:
        self._console = console
        self._total = total
        self._done = 0

    def notify(self, result: ProbeResult) -> None:
        self._done += 1
        outcome = "failed" if result.error else "responded"
        name, seconds = result.provider.name, f"{result.seconds:.1f} s"
        self._console.print(f"{name} {outcome} after {seconds} ({self._done} of {self._total})")


class _LiveProgress(Progress):
    """Progress on a terminal: one line with the providers that have not responded yet, erased at the end."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        super().__init__(
            SpinnerColumn(finished_text=" "),
            MofNCompleteColumn(),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
        )
        self._waiting = list(names)
        self._task = self.add_task(self._description, total=len(names))

    @property
    def _description(self) -> str:
        return f"waiting for {', '.join(self._waiting)}"

    def notify(self, result: ProbeResult) -> None:
        self._waiting.remove(result.provider.name)
        self.update(self._task, advance=1, description=self._description)

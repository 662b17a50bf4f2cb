"""Contact every provider, for `check`, and show the progress on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from proxy.catalog import Fetch
from proxy.catalog.times import without_recent
from proxy.cli.probe_result import ProbeResult
from proxy.cli.terminal import Output, err
from proxy.clock import Clock
from proxy.config import Config, Provider
from proxy.errors import UpstreamError
from proxy.upstream.lists import ListFetcher
from proxy.upstream.transport import disable_http_logging

Notify = Callable[[ProbeResult], None]
_TO_START = "\r\x1b[K"
"""Moves the cursor to the start of the line, and erases the line."""


async def probe_with_progress(config: Config, clock: Clock, *, retries: int, quiet: bool) -> list[ProbeResult]:
    """The results of all providers, in the order of the file.

    `retries`: further attempts per provider after one that failed. `quiet`: progress only on a terminal.
    """
    disable_http_logging()
    fetch = ListFetcher(config.providers, clock)
    names = [provider.name for provider in config.providers if provider.is_remote]
    output = err()
    if output.can_redraw:
        async with _redrawn(_ProgressLine(names, output, clock), clock) as progress:
            return await probe_all(config, fetch, clock, progress.notify, retries=retries)
    lines = _ProgressLines(len(names), output)
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
    began, fetched, error = clock.monotonic(), None, None
    try:
        fetched = await fetch(provider, retries)
        known = without_recent(fetched.entries, fetched.answered_at or clock.time())
        fetched = replace(fetched, entries=tuple(known))
    except UpstreamError as failure:
        error = failure
    except Exception as bug:
        error = UpstreamError.from_bug(bug)
    return ProbeResult(provider, fetched, error, clock.monotonic() - began)


class _ProgressLines:
    """Progress without a terminal: one line for each provider that has responded or failed."""

    def __init__(self, total: int, output: Output) -> None:
        self._output = output
        self._total = total
        self._done = 0

    def notify(self, result: ProbeResult) -> None:
        self._done += 1
        outcome = "failed" if result.error else "responded"
        name, seconds = result.provider.name, f"{result.seconds:.1f} s"
        self._output.print(f"{name} {outcome} after {seconds} ({self._done} of {self._total})")


class _ProgressLine:
    """Progress on a terminal: one line with the providers that have not responded yet."""

    def __init__(self, names: Sequence[str], output: Output, clock: Clock) -> None:
        self._waiting = list(names)
        self._total = len(names)
        self._output = output
        self._clock = clock
        self._began = clock.monotonic()

    def notify(self, result: ProbeResult) -> None:
        self._waiting.remove(result.provider.name)
        self.draw()

    def draw(self) -> None:
        seconds = self._clock.monotonic() - self._began
        done = self._total - len(self._waiting)
        waiting = f", waiting for {', '.join(self._waiting)}" if self._waiting else ""
        text = f"{done} of {self._total} after {seconds:.0f} s{waiting}"
        room = (self._output.width or len(text)) - 1  # a cursor behind the last column would begin the next line
        self._output.write(_TO_START + (text if len(text) <= room else f"{text[: room - 3]}..."))

    def erase(self) -> None:
        self._output.write(_TO_START)


@asynccontextmanager
async def _redrawn(progress: _ProgressLine, clock: Clock) -> AsyncIterator[_ProgressLine]:
    """Draw the line again every second, since it contains the elapsed time, and erase it at the end."""

    async def redraw() -> None:
        while True:
            progress.draw()
            await clock.sleep(1)

    redrawing = asyncio.create_task(redraw())
    try:
        yield progress
    finally:
        redrawing.cancel()
        progress.erase()

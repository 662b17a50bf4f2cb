"""Trace while the application runs, if that is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from proxy.clock import Clock
from proxy.config import Config
from proxy.telemetry import Telemetry


@asynccontextmanager
async def traced(config: Callable[[], Config], telemetry: Telemetry, clock: Clock) -> AsyncIterator[None]:
    """Send spans while the context is entered. `config` returns the current configuration."""
    settings = config().tracing
    if settings.endpoint is None:
        yield
        return
    # Imported only if they are used.
    from proxy.telemetry.tracing import Tracing
    from proxy.upstream.spans import SpanSender

    sender = SpanSender(settings, clock)
    telemetry.add(
        Tracing(settings.sample, _Kinds(config).of, sender.add, telemetry.monotonic, lambda: int(clock.time() * 1e9))
    )
    try:
        yield
    finally:
        telemetry.flush()
        await sender.stop()


class _Kinds:
    """The kinds of the providers of the current configuration, by name."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._present = config
        self._config = config()
        self._kinds = _kinds(self._config)

    def of(self, provider: str) -> str:
        """Return "" for a provider that a reload has removed."""
        if (config := self._present()) is not self._config:
            self._config, self._kinds = config, _kinds(config)
        return self._kinds.get(provider, "")


def _kinds(config: Config) -> Mapping[str, str]:
    return {provider.name: provider.kind for provider in config.providers}

"""`GET /metrics`: for Prometheus, in its text format or as OpenMetrics."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.negotiation import accepts_gzip
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.clock import Clock
from proxy.config import Config
from proxy.cooperative import Cooperative, run_yielding

if TYPE_CHECKING:
    from proxy.api.collector import Collector
    from proxy.api.workers import Workers
    from proxy.telemetry.merging import Values

_OPENMETRICS = "application/openmetrics-text"
_CONTENT_TYPES = {
    True: _OPENMETRICS.encode() + b"; version=1.0.0; charset=utf-8",
    False: b"text/plain; version=0.0.4; charset=utf-8",
}
SHARED_SECONDS = 1.0
"""How long a response without names is used for further requests."""
_MAX_ACCEPT = 2048
_PART = 64 * 1024
"""Bytes that are compressed in one step."""
_GZIP = 16 + zlib.MAX_WBITS


@dataclass
class _Rendering:
    """A body that is rendered, or was just now."""

    task: asyncio.Task[bytes]
    until: float = math.inf
    """Monotonic seconds until which it is used; not known before the end of the task."""


class Metrics:
    """The endpoint. What it needs is imported at the first scrape."""

    def __init__(
        self, config: Config, clock: Clock, collector: Callable[[], Collector], workers: Workers | None = None
    ) -> None:
        """`workers`: None if this process is the only one that serves the port."""
        self._config = config
        self._clock = clock
        self._is_open = config.server.metrics == "open"
        self._new_collector = collector
        self._workers = workers
        self._collector: Collector | None = None
        self._renderings: dict[tuple[bool, bool], _Rendering] = {}
        """By form: OpenMetrics or not, gzip or not."""

    def routes(self) -> Iterator[Route]:
        mode = self._config.server.metrics
        if mode != "off":
            yield Route("/metrics", READ, self.metrics, is_probe=mode == "open")

    def metrics(self, head: RequestHead, caller: Caller) -> Handler:
        """Raises InvalidKey and Forbidden."""
        if not self._is_open:
            check_is_admin(caller, self._config)
        return partial(self._respond, head)

    async def _respond(self, head: RequestHead, receive: Receive, send: Send) -> RawResponse:
        openmetrics, packed = prefers_openmetrics(_accept(head)), accepts_gzip(head.accept_encoding)
        body = await self._shared(openmetrics=openmetrics, packed=packed)
        headers = [(b"content-type", _CONTENT_TYPES[openmetrics]), (b"cache-control", b"no-store")]
        if packed:
            headers.append((b"content-encoding", b"gzip"))
        headers += [
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", head.request_id),
            *head.connection_close,
        ]
        return RawResponse(200, headers, body)

    async def _shared(self, *, openmetrics: bool, packed: bool) -> bytes:
        """The body, rendered once for all requests that arrive meanwhile.

        Without keys it is used for a further second, so that a flood of requests costs little.
        """
        form = (openmetrics, packed)
        rendering = self._renderings.get(form)
        if rendering is None or self._clock.monotonic() >= rendering.until:
            task = asyncio.create_task(self._body(*form), name="render metrics")
            rendering = self._renderings[form] = _Rendering(task)
            task.add_done_callback(lambda _: self._rendered(form, rendering))
        # Shielded: one canceled request must not cancel the others.
        return await asyncio.shield(rendering.task)

    def _rendered(self, form: tuple[bool, bool], rendering: _Rendering) -> None:
        if self._is_open:
            rendering.until = self._clock.monotonic() + SHARED_SECONDS
        else:
            del self._renderings[form]

    async def _values(self, collector: Collector) -> Values:
        """Return the values of this process and those before it, or of all that serve the port."""
        if self._workers is None and not collector.before:
            return await run_yielding(collector.values())
        own = await run_yielding(collector.packed())
        parts = (await self._workers.values("metrics", own)).parts if self._workers else [own, collector.before]
        return await run_yielding(collector.merged(parts))

    async def packed(self) -> bytes:
        """The metrics of this process, for another one that serves the port."""
        if self._collector is None:
            self._collector = self._new_collector()
        return await run_yielding(self._collector.packed())

    async def _body(self, openmetrics: bool, packed: bool) -> bytes:
        if self._collector is None:
            self._collector = self._new_collector()
        values = await self._values(self._collector)
        work = self._collector.encoded(values, openmetrics=openmetrics, shows_names=not self._is_open)
        body = await run_yielding(work)
        return await run_yielding(_compressed(body)) if packed else body


def _accept(head: RequestHead) -> str:
    return b",".join(value for name, value in head.headers if name == b"accept").decode("latin-1")


def prefers_openmetrics(accept: str) -> bool:
    """Whether an `Accept` header prefers OpenMetrics to the text format (RFC 9110, 12.5.1)."""
    accept = accept[:_MAX_ACCEPT].lower()
    if _OPENMETRICS not in accept:
        return False
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        weights[media_type] = max(weights.get(media_type, 0.0), _number(weight))
    plain = weights.get("text/plain", weights.get("text/*", weights.get("*/*", 0.0)))
    return weights.get(_OPENMETRICS, 0.0) > 0.0 and weights[_OPENMETRICS] >= plain


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _compressed(body: bytes) -> Cooperative[bytes]:
    """Compress in steps. Level 1: the text repeats itself so much that others need more time and save little."""
    compressor = zlib.compressobj(1, wbits=_GZIP)
    parts: list[bytes] = []
    for start in range(0, len(body), _PART):
        parts.append(compressor.compress(body[start : start + _PART]))
        yield
    return b"".join((*parts, compressor.flush()))

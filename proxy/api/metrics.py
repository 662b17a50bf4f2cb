"""`GET /metrics`: for Prometheus, in its text format or as OpenMetrics."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.negotiation import accepts_gzip
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.config import Config
from proxy.cooperative import Cooperative, run_yielding

if TYPE_CHECKING:
    from proxy.api.collector import Collector

_OPENMETRICS = "application/openmetrics-text"
_CONTENT_TYPES = {
    True: _OPENMETRICS.encode() + b"; version=1.0.0; charset=utf-8",
    False: b"text/plain; version=0.0.4; charset=utf-8",
}
_MAX_ACCEPT = 2048
_PART = 64 * 1024
"""Bytes that are compressed in one step."""
_GZIP = 16 + zlib.MAX_WBITS


class Metrics:
    """The endpoint. What it needs is imported at the first scrape."""

    def __init__(self, config: Config, collector: Callable[[], Collector]) -> None:
        self._config = config
        self._new_collector = collector
        self._collector: Collector | None = None

    def routes(self) -> Iterator[Route]:
        mode = self._config.server.metrics
        if mode != "off":
            yield Route("/metrics", READ, self.metrics, is_probe=mode == "open")

    def metrics(self, head: RequestHead, caller: Caller) -> Handler:
        """Raises InvalidKey and Forbidden."""
        is_open = self._config.server.metrics == "open"
        if not is_open:
            check_is_admin(caller, self._config)

        async def respond(receive: Receive, send: Send) -> RawResponse:
            return await self._scraped(head, shows_names=not is_open)

        return respond

    async def _scraped(self, head: RequestHead, *, shows_names: bool) -> RawResponse:
        if self._collector is None:
            self._collector = self._new_collector()
        openmetrics = prefers_openmetrics(_accept(head))
        body = await run_yielding(self._collector.encoded(openmetrics=openmetrics, shows_names=shows_names))
        headers = [(b"content-type", _CONTENT_TYPES[openmetrics]), (b"cache-control", b"no-store")]
        if accepts_gzip(head.accept_encoding):
            body = await run_yielding(_compressed(body))
            headers.append((b"content-encoding", b"gzip"))
        headers += [
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", head.request_id),
            *head.connection_close,
        ]
        return RawResponse(200, headers, body)


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

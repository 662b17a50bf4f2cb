"""Send spans to a collector, in batches, with OTLP over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice

import httpx

from proxy import __version__
from proxy.clock import Clock
from proxy.config.tracing import Tracing
from proxy.errors import describe_bug
from proxy.telemetry.otlp import export_request
from proxy.upstream.errors import from_exception
from proxy.upstream.tls import context_for
from proxy.upstream.transport import TrackedSockets

MAX_SPANS = 5000
"""Maximum spans in the queue. Beyond, further ones are dropped."""
BATCH_SIZE = 512
BATCH_SECONDS = 1.0
"""Seconds for which spans wait for a full batch."""
SEND_SECONDS = 10.0
STOP_SECONDS = 2.0
"""Seconds for which the end of the process waits for the last spans."""
_RESOURCE = {"service.name": "models-proxy", "service.version": __version__}

_log = logging.getLogger("models_proxy")


class SpanSender:
    """Sends spans until `stop`."""

    def __init__(self, settings: Tracing, clock: Clock) -> None:
        assert settings.endpoint is not None, "tracing.endpoint is set"
        self._url = f"{settings.endpoint.rstrip('/')}/v1/traces"
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._headers |= {"content-type": "application/x-protobuf", "user-agent": "models-proxy"}
        self._ca_file = settings.ca_file
        self._clock = clock
        self._spans: deque[bytes] = deque()
        self._is_full = asyncio.Event()
        self._problem = ""
        self._task = asyncio.create_task(self._run(), name="spans")

    def add(self, span: bytes) -> None:
        """Send a span soon. Returns at once."""
        if len(self._spans) < MAX_SPANS:
            self._spans.append(span)
            if len(self._spans) == BATCH_SIZE:
                self._is_full.set()

    async def stop(self) -> None:
        """Send the last spans, if that is possible soon."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while self._spans:
                    await self._send_batch()
        except TimeoutError:
            pass

    async def _run(self) -> None:
        while True:
            await self._wait()
            if self._spans:
                await self._send_batch()
            while len(self._spans) >= BATCH_SIZE:  # fewer ones wait for others
                await self._send_batch()

    async def _wait(self) -> None:
        """Return after some time, or when there is a batch."""
        self._is_full.clear()
        tasks = [asyncio.create_task(self._clock.sleep(BATCH_SECONDS)), asyncio.create_task(self._is_full.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _send_batch(self) -> None:
        """Send the oldest spans, or drop them. Never raises."""
        batch = [*islice(self._spans, BATCH_SIZE)]
        try:
            async with asyncio.timeout(SEND_SECONDS):
                status = await self._post(export_request(_RESOURCE, __version__, batch))
            problem = "" if 200 <= status < 300 else f"responded with status {status}"
        except TimeoutError:
            problem = f"no response for {SEND_SECONDS:.0f} s"
        except httpx.HTTPError as error:
            problem = from_exception(error, SEND_SECONDS).reason
        except Exception as bug:
            problem = f"internal error: {describe_bug(bug)}"
        for _ in batch:
            self._spans.popleft()
        self._report(problem)

    async def _post(self, body: bytes) -> int:
        tls = context_for((self._url,), self._ca_file)
        inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False)
        async with TrackedSockets(inner, SEND_SECONDS) as transport:
            request = httpx.Request("POST", self._url, headers=self._headers, content=body)
            response = await transport.handle_async_request(request)
            await response.aclose()  # the body is not read
        return response.status_code

    def _report(self, problem: str) -> None:
        """Log a problem once, until spans are sent again."""
        if problem and not self._problem:
            _log.warning("tracing.endpoint: %s; spans are dropped", problem)
        elif self._problem and not problem:
            _log.info("tracing.endpoint: spans are sent again")
        self._problem = problem

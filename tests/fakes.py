"""Fakes of the application's dependencies, and the application running on them without sockets.

Clocks that a test advances, a `Fetch` with configurable results, short constructors of entries and configurations;
`running` (a store), `served` (an HTTP client), `started` and `reply_to` (ASGI).
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec
from starlette.types import ASGIApp, Message

from proxy.api.workers import Workers
from proxy.catalog import FetchResult
from proxy.config import Config, Provider, parse
from proxy.dialects import DIALECTS, read_entry, restore_collisions
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from proxy.store import Store
from proxy.telemetry.access_log import AccessLog
from tests.paths import PAYLOADS
from tests.steady_loop import has_sockets, is_idle

VARY = (
    b"Authorization, X-Auth-Token, X-Api-Key, Api-Key, X-Goog-Api-Key, Ocp-Apim-Subscription-Key, Apikey, X-Apikey, "
    b"X-Api-Token, X-Access-Token, X-Litellm-Api-Key, X-Litellm-Key, X-Portkey-Api-Key, Helicone-Auth, "
    b"Cf-Aig-Authorization, Anthropic-Version, Accept-Encoding"
)
"""The `Vary` header: all headers that can contain an API key, and those that select a format and an encoding."""
KEY_HEADERS = VARY.decode().lower().split(", ")[:-2]


def holding(header: str, key: str) -> dict[str, str]:
    """A header with an API key, in the format that clients use."""
    return {header: f"Bearer {key}" if header.endswith(("auth", "authorization")) else key}


async def run_pending_tasks() -> None:
    """Let every task run until it is blocked."""
    loop: Any = asyncio.get_running_loop()
    iterations = 0
    for _ in range(100):
        await asyncio.sleep(0)
        iterations = iterations + 1 if is_idle(loop) else 0
        if iterations > (_SOCKETS if has_sockets(loop) else 0):
            return


_SOCKETS = 20
"""Iterations of the event loop in which what was sent to another socket of this process arrives."""


class FakeClock:
    """A clock that a test advances. Sleeping tasks are resumed in order."""

    def __init__(self, monotonic: float = 1000.0, time: float = 1_800_000_000.0) -> None:
        self._monotonic = monotonic
        self._time = time
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._time

    def set_time(self, time: float) -> None:
        """Change only the wall clock, as an administrator or NTP does."""
        self._time = time

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Advance the time, and stop at each moment at which a sleep ends."""
        end = self._monotonic + seconds
        await run_pending_tasks()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, future = heapq.heappop(self._sleepers)
            self._move_to(max(moment, self._monotonic))
            if not future.done():
                future.set_result(None)
            await run_pending_tasks()
        self._move_to(end)
        await run_pending_tasks()

    def _move_to(self, moment: float) -> None:
        self._time += moment - self._monotonic
        self._monotonic = moment


class FailingClock(FakeClock):
    """A clock that raises `error` if it is set."""

    error: Exception | None = None

    def monotonic(self) -> float:
        if self.error is not None:
            raise self.error
        return super().monotonic()


class HastyClock:
    """A clock whose sleeps return immediately and advance the time. Their lengths are recorded."""

    def __init__(self, time: float = 1_800_000_000.0) -> None:
        self.slept: list[float] = []
        self._start = time

    def monotonic(self) -> float:
        return sum(self.slept)

    def time(self) -> float:
        return self._start + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


Outcome = FetchResult | UpstreamError | BaseException | asyncio.Future[FetchResult]


class FakeFetch:
    """A `Fetch` with configurable results. Counts all fetches."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.retries: defaultdict[str, list[int]] = defaultdict(list)
        self._outcomes: dict[str, Outcome] = {}

    def lists(self, provider: str, *models: str | Mapping[str, object]) -> None:
        """Let a provider list these models: ids or objects in the OpenAI dialect."""
        self._outcomes[provider] = answer_of(*models)

    def answers(self, provider: str, answer: FetchResult) -> None:
        """Let a provider return this result."""
        self._outcomes[provider] = answer

    def fails(self, provider: str, error: BaseException | None = None) -> None:
        """Let fetches of a provider raise this error, by default "connection refused"."""
        self._outcomes[provider] = error or UpstreamError("connection_refused", "connection refused", retryable=True)

    def hangs(self, provider: str) -> asyncio.Future[FetchResult]:
        """Let fetches of a provider wait until the test sets the returned future."""
        future: asyncio.Future[FetchResult] = asyncio.get_running_loop().create_future()
        self._outcomes[provider] = future
        return future

    async def __call__(self, provider: Provider, retries: int) -> FetchResult:
        self.requests[provider.name] += 1
        self.retries[provider.name].append(retries)
        outcome = self._outcomes.get(provider.name, answer_of())
        if isinstance(outcome, asyncio.Future):
            return await asyncio.shield(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def answer_of(*models: str | Mapping[str, object]) -> FetchResult:
    return FetchResult(restore_collisions([entry(model) for model in models]))


def entry(
    model: str | Mapping[str, object], kind: str = "openai", placeholders: Mapping[str, str] | None = None
) -> Entry:
    """An entry, parsed like one of a provider of this kind."""
    payload = {"id": model} if isinstance(model, str) else model
    return read_entry(DIALECTS[kind], msgspec.Raw(msgspec.json.encode(payload)), placeholders or {})


def config_of(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return parse(text, environ=environ)


def digest(key: str | bytes) -> str:
    """The digest of an API key, as in the configuration."""
    return "sha256:" + hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def middle(low: float, high: float) -> float:
    """Jitter without randomness."""
    return (low + high) / 2


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """Run the store. On entry the first refresh of all providers has run, unless it hangs."""
    task = asyncio.create_task(store.run())
    await run_pending_tasks()
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def log_failures(app: Proxy) -> None:
    """Log failed calls, as with `access: off`."""
    access = AccessLog(lambda line: None, lambda: 0.0, lambda seconds, function: None)
    access.access = "off"
    app.telemetry.add(access)


@asynccontextmanager
async def served(config: Config, fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the complete application, without sockets. On entry the first refresh of all providers has run."""
    app = Proxy(config, clock=clock, fetch=fetch)
    log_failures(app)
    transport = httpx.ASGITransport(app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await run_pending_tasks()
        yield client


@asynccontextmanager
async def started(
    config: Config, fetch: FakeFetch, clock: FakeClock, workers: Workers | None = None
) -> AsyncIterator[Proxy]:
    """The complete application as an ASGI app. On entry the first refresh of all providers has run.

    `workers`: the other processes that serve the port.
    """
    app = Proxy(config, clock=clock, fetch=fetch, workers=workers)
    log_failures(app)
    async with app.lifespan():
        await run_pending_tasks()
        yield app


@dataclass(frozen=True)
class Reply:
    """The response of an ASGI application: headers and body are the objects that it sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, None if it is missing. Fails if there are several."""
        values = [value.decode() for given, value in self.headers if given == name.encode()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def reply_to(
    app: ASGIApp,
    raw_path: str | bytes,
    headers: Mapping[str, str | bytes] | Sequence[tuple[bytes, bytes]] = (),
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> Reply:
    """Send one request to an ASGI application. `raw_path` is the path with the query, as in the request line.

    Without a `body`, the application must not read it.
    """
    raw = raw_path.encode() if isinstance(raw_path, str) else raw_path
    path, _, query = raw.partition(b"?")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": unquote(path.decode(errors="replace")),
        "raw_path": path,
        "query_string": query,
        "headers": [(_bytes(name).lower(), _bytes(value)) for name, value in pairs],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "state": {},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        assert body is not None, "the application must not read the body"
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, end = sent
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    assert not end.get("more_body")
    return Reply(start["status"], tuple(start["headers"]), end["body"])


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def ids(body: bytes) -> Sequence[str]:
    """The ids of a model list response, in order."""
    return [model["id"] for model in msgspec.json.decode(body)["data"]]


def documented(name: str) -> Any:
    """The example response of a provider's documentation, from `payloads/`."""
    return msgspec.json.decode((PAYLOADS / f"{name}.json").read_bytes())

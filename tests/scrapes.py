"""A scrape in which every metric has a series."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from proxy.sharing import StoreState
from proxy.store.directory import DirectoryStatus
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider, replies

KEY = "sk-fake-admin-for-tests"
_CONFIG = f"""
notify: [{{webhook: 'http://127.0.0.1:9', secret: whsec_ZmFrZS1zZWNyZXQtb2YtYS13ZWJob29r}}]
cache: {{ttl: 100s}}
providers:
  - {{name: a, base_url: '{{url}}/a/v1'}}
  - {{name: b, base_url: '{{url}}/b/v1', max_in_flight: 1}}
  - {{name: away, base_url: '{{url}}/c/v1', api_key: '${{ABSENT}}', optional: true}}
keys: [{{name: admin, hash: '{digest(KEY)}', models: ['*'], admin: true}}]
"""


async def _respond(exchange: Exchange) -> None:
    """One provider is overloaded, the other one takes some time."""
    if exchange.request.path.startswith("/a/"):
        await replies({"error": "overloaded"}, 503)(exchange)
    else:
        await asyncio.sleep(0.01)
        await replies(completion("m"))(exchange)


@asynccontextmanager
async def busy_proxy(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[Served]:
    """A proxy in which everything that is counted has happened. The key is `KEY`."""
    model = {"id": "m", "shutdown_at": 1_900_000_000}
    fetch.lists("a", model)
    fetch.lists("b", model)
    async with (
        fake_provider(_respond) as provider,
        serving(config_of(_CONFIG.replace("{url}", provider.url)), fetch, clock) as served,
    ):
        served.app.reloads.last_failure = clock.time()
        served.app.metrics.directory = lambda: DirectoryStatus("/lists", "", 1, 0, 0)
        served.app.metrics.shared_store = lambda: StoreState(True, "", clock.time(), 1, 0, 0)
        served.client.headers["authorization"] = f"Bearer {KEY}"
        await asyncio.gather(*(served.call() for _ in range(6)))
        fetch.lists("b", model, "n")
        await clock.advance(150)
        yield served


def labels_in(text: str) -> Mapping[str, set[str]]:
    """Name of a series, as in queries -> the names of its labels, in the text format."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"(?m)^(\w+)(?:\{(.*)\})? \S+$", text):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found

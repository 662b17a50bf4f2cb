"""The README's first call against a proxy with a new key and a fake provider."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from click.testing import CliRunner

from proxy.cli.main import main
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, fake_provider, replies

MODEL = "gpt-4o-mini"
WORDS = ("Good ", "day.")


@dataclass(frozen=True)
class NewKey:
    """What `keygen` prints."""

    key: str
    entry: str
    """The lines to paste into config.yaml."""


def new_key() -> NewKey:
    """Run the README's `keygen` command."""
    printed = CliRunner().invoke(main, ["keygen", "--name", "alice"]).output
    key, entry = re.search(r"(?m)^  (mp-\S+)$", printed), re.search(r"(?m)^keys:\n  - .+$", printed)
    assert key
    assert entry
    return NewKey(key[1], entry[0])


@dataclass(frozen=True)
class FirstCall:
    """A running proxy that accepts the first call."""

    url: str
    key: str

    def adapted(self, snippet: str) -> str:
        """A snippet of the README with the URL and the key of this proxy; everything else is as printed there."""
        assert "http://127.0.0.1:8000" in snippet
        assert "mp-..." in snippet
        return snippet.replace("http://127.0.0.1:8000", self.url).replace("mp-...", self.key)


async def _complete(exchange: Exchange) -> None:
    """A chat completion, as a stream if the request contains `stream`."""
    body = msgspec.json.decode(exchange.request.body)
    events = (chunk_event(MODEL, word) for word in WORDS)
    respond = streams(*events, DONE) if body.get("stream") else replies(completion(MODEL, "".join(WORDS)))
    await respond(exchange)


@asynccontextmanager
async def first_call(fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[FirstCall]:
    """A proxy with the entry that `keygen` printed, and a provider that lists and serves the README's model."""
    created = new_key()
    fetch.lists("openai", MODEL)
    async with fake_provider(_complete) as openai:
        provider = f'providers: [{{name: openai, base_url: "{openai.url}/v1", api_key: sk-fake-for-tests}}]'
        async with serving(config_of(f"{provider}\n{created.entry}\n"), fetch, clock) as served:
            yield FirstCall(served.url, created.key)


async def output_of(*command: str, cwd: Path | None = None) -> str:
    """Run a command, which must succeed. Returns its stdout."""
    direct = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=cwd, env=direct)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()

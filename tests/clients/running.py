"""A proxy in its own process, and client programs that can reach nothing but the loopback interface."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import processes
from tests.fakes import digest
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders, Script, replies
from tests.providers.server import Request

KEY, UPSTREAM_KEY = "sk-canary-of-a-client", "sk-canary-of-a-provider"
PREFIX = "own/"
"""The provider's ids begin with it; those of clients do not."""
TIMEOUT = 60.0
"""Seconds until a client program that does not end fails its test."""

_CONFIG = """
server: {{cors: ["{origin}"]}}
providers:
  - {{name: up, kind: {kind}, base_url: "{url}", api_key: {upstream}, aliases: {{"*": "{prefix}*"}}{more}}}
keys:
  - {{name: alice, hash: "{hash}", models: ["*"]}}
"""


@dataclass(frozen=True)
class Setup:
    """A running proxy and what is around it."""

    url: str
    provider: FakeProvider
    egress: FakeProvider
    """The HTTP proxy of the client programs for all other hosts. It rejects every request."""
    home: Path
    """The home directory of the client programs."""
    log: Sequence[str]
    """The lines of the proxy's log."""

    @property
    def calls(self) -> Sequence[Request]:
        """The requests that the provider received, without those for its list."""
        return [request for request in self.provider.requests if request.method == "POST"]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a client program in its home directory, with these environment variables."""
        egress = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), self.egress.url)
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "NO_PROXY": "127.0.0.1"}
        return subprocess.run(  # noqa: S603  # our own command
            command,
            cwd=self.home,
            env={**own, **egress, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def output(self, *command: str, **variables: str) -> str:
        """Run a client program, which must succeed. Returns its stdout."""
        result = self.run(*command, **variables)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        return result.stdout


@contextmanager
def setup(
    home: Path, script: Script, *models: str, kind: str = "openai", more: str = "", origin: str = "http://localhost"
) -> Iterator[Setup]:
    """A proxy, and a provider that lists these models and responds to calls with `script`.

    `more`: a further setting of the provider. `origin`: the origin of the pages that can read the proxy's responses.
    """
    with FakeProviders() as upstreams:
        provider, egress = upstreams.open(_listing(models, script)), upstreams.open(replies({}, 403))
        config = _CONFIG.format(
            origin=origin,
            kind=kind,
            more=f", {more}" if more else "",
            url=provider.url,
            upstream=UPSTREAM_KEY,
            prefix=PREFIX,
            hash=digest(KEY),
        )
        with processes.serving(home / "config.yaml", config) as process:
            yield Setup(process.url, provider, egress, home, process.err)
        assert not any(KEY.encode() in request.head + request.body for request in provider.requests)


def _listing(models: Sequence[str], script: Script) -> Script:
    listed = replies({"object": "list", "data": [{"id": f"{PREFIX}{model}", "object": "model"} for model in models]})

    async def respond(exchange: Exchange) -> None:
        await (listed if exchange.request.method == "GET" else script)(exchange)

    return respond

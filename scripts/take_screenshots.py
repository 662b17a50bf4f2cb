"""Take the screenshots of the status page in docs/, in Chromium: an hour of a proxy with fake providers and calls.

    .venv/bin/python -m scripts.take_screenshots [DIRECTORY]

Needs Chromium, and the npm packages of tests/clients, which its tests install. The screenshots are reproducible except
for the fonts: times and calls are those of a fake clock and of a seeded generator.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from tests import npm
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import serving
from tests.paths import ROOT
from tests.telemetry.calls import record

ADMIN = "sk-fake-of-an-operator"
BEGIN = 1_798_707_600.0
"""2026-12-31 at 09:00 UTC."""
MODELS = {
    "openai": ("gpt-5", "gpt-5-mini", "gpt-4o", "text-embedding-3-small"),
    "anthropic": ("claude-opus-5", "claude-sonnet-5", "claude-haiku-5"),
    "gemini": ("gemini-3-pro", "gemini-3-flash"),
    "aihubmix": ("gpt-5", "claude-sonnet-5", "gemini-3-pro", "deepseek-v4"),
    "ollama": ("llama-4", "qwen-3"),
}
WEIGHTS = {"openai": 9, "anthropic": 6, "gemini": 3, "aihubmix": 4, "ollama": 1}
KEYS = ("ci", "search", "support-bot", "alice", "bob", "notebooks")
FAILS_FROM = 41
"""The minute from which the reseller fails."""
SIZES: Any = {"width": 1200, "height": 1000}
PAGES = (
    {"path": "/status", "file": "status.png", "colorScheme": "light", **SIZES},
    {"path": "/status", "file": "status-dark.png", "colorScheme": "dark", **SIZES},
    {"path": "/status/models/claude-sonnet-5", "file": "status-model.png", "colorScheme": "light", **SIZES},
)


def config_text() -> str:
    providers = [f"  - {{name: {name}, base_url: 'http://127.0.0.1/{name}/v1'}}" for name in MODELS]
    keys = [f"  - {{name: {name}, hash: '{digest(f'sk-fake-of-{name}')}', group: staff}}" for name in KEYS]
    root = f"  - {{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}"
    settings = "cache: {ttl: 5m}\ngroups: {staff: {models: ['*', '!claude-opus-5']}}"
    return "\n".join((settings, "providers:", *providers, "keys:", root, *keys))


def minute(app: Proxy, number: int, chance: random.Random) -> None:
    """The calls of one minute."""
    for name, weight in WEIGHTS.items():
        fails = name == "aihubmix" and number >= FAILS_FROM
        for _ in range(chance.randint(weight, 3 * weight)):
            is_ok = not fails and chance.random() > 0.01
            call = record(
                key=chance.choices(KEYS, range(len(KEYS), 0, -1))[0],
                model=chance.choice(MODELS[name]),
                provider=name,
                outcome="ok" if is_ok else "failed",
                first_byte=chance.lognormvariate(-1.0, 0.4) if is_ok else None,
                input_tokens=chance.randint(50, 4000) if is_ok else 0,
                output_tokens=chance.randint(20, 900) if is_ok else 0,
            )
            app.usage.usage.calls_ended([call])
            app.usage.recent.calls_ended([call])


async def take(directory: Path) -> None:
    chromium = shutil.which("chromium")
    assert chromium, "install chromium"
    clock, fetch = FakeClock(time=BEGIN), FakeFetch()
    chance = random.Random(20)  # noqa: S311  # always the same picture
    random.seed(20)  # the jitter of refreshes
    for name, models in MODELS.items():
        fetch.lists(name, *({"id": model, "owned_by": name} for model in models))
    async with serving(config_of(config_text()), fetch, clock) as served:
        for number in range(60):
            if number == 20:
                fetch.lists("gemini", *MODELS["gemini"], "gemini-3-ultra")
            if number == FAILS_FROM:
                fetch.fails("aihubmix", UpstreamError("status", "503 Service Unavailable", retryable=True))
            minute(served.app, number, chance)
            await clock.advance(60.0)
        pages = json.dumps([{**page, "file": str(directory / str(page["file"]))} for page in PAGES])
        variables = {"URL": served.url, "KEY": ADMIN, "PAGES": pages, "CHROMIUM": chromium}
        script = ROOT / "tests" / "clients" / "screenshot.mjs"
        process = await asyncio.create_subprocess_exec(npm.NODE, script, env={**os.environ, **variables})
        assert await process.wait() == 0


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"))

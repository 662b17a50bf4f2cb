"""operations.md documents what `/health` returns."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, code, rows, section
from tests.fakes import FakeClock, FakeFetch, asked, config_of, digest, started

pytestmark = pytest.mark.anyio

KEY = "sk-canary-admin"
CONFIG = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/a/v1"}}]
keys: [{{name: admin, hash: "{digest(KEY)}", models: ["*"], admin: true}}]
"""


async def test_every_field_of_a_provider_in_health_is_documented(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await asked(app, "/health", {"x-api-key": KEY})

    (provider,) = reply.json["providers"]
    table = rows(section(DOCS / "operations.md", "Probes").partition("With the key")[2])
    assert [name for row in table for name in code(row[0])] == list(provider)

"""operations.md documents what `/health` returns, and probes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config import ConfigError, read
from proxy.config.server import Server
from proxy.server.run import LAST_SECONDS
from tests.docs.pages import DOCS, code, rows, section, text_of
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

LONGEST_SHUTDOWN = Server().drain_delay + Server().shutdown_timeout + LAST_SECONDS
KEY = "sk-canary-admin"
CONFIG = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/a/v1"}}]
keys: [{{name: admin, hash: "{digest(KEY)}", models: ["*"], admin: true}}]
"""


async def test_every_field_of_a_provider_in_health_is_documented(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, "/health", {"x-api-key": KEY})

    (provider,) = reply.json["providers"]
    table = rows(section(DOCS / "operations.md", "Probes").partition("With the key")[2])
    assert [name for row in table for name in code(row[0])] == list(provider)


def test_the_example_of_several_files_is_a_configuration(tmp_path: Path) -> None:
    text = section(DOCS / "operations.md", "Several files")
    main, keys, message = re.findall(r"```(?:yaml|text)\n(.*?)```", text, re.DOTALL)
    (tmp_path / "keys").mkdir()
    (tmp_path / "config.yaml").write_text(main)
    (tmp_path / "providers.yaml").write_text("providers: [{name: a, base_url: http://h}]")
    (tmp_path / "keys" / "search.yaml").write_text(keys)
    config = read(tmp_path / "config.yaml")

    assert [key.name for key in config.keys] == ["dora", "emil"]
    (tmp_path / "keys" / "ads.yaml").write_text("keys:\n- {name: dora, models: [], hash: 'sha256:" + "0a" * 32 + "'}\n")
    with pytest.raises(ConfigError) as raised:
        read(tmp_path / "config.yaml")
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems] == [message.strip()]


@pytest.mark.parametrize("example", [r"--stop-timeout (\d+)`", r"`docker stop -t (\d+)`"])
def test_examples_wait_for_the_end_of_a_shutdown(example: str) -> None:
    (seconds,) = re.findall(example, text_of(DOCS / "operations.md"))
    assert int(seconds) > LONGEST_SHUTDOWN

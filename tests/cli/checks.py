"""Runs of `models-proxy check`, and a file with one provider of each state."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.fakes import digest
from tests.providers.lists import CTYUN_WRONG_KEY, lists
from tests.providers.scripted import FakeProviders, replies

CANARIES = {
    "UPSTREAM_KEY": "sk-canary-upstream-0123456789",
    "CLIENT_KEY": "sk-canary-client-0123456789",
    "HEADER": "sk-canary-header-0123456789",
    "EGRESS": "http://user:sk-canary-proxy-0123456789@127.0.0.1:9",
}


def run(config: Path, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    config.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["check", "--config", str(config), *arguments], env=env)


def checked(config: Path, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(config, text, "--json", *arguments, env=env).stdout)
    return document


def without_times(output: str) -> str:
    """The output with every duration and every port of a fake provider replaced."""
    return re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:1", re.sub(r"\b[0-9]+\.[0-9] s", "0.0 s", output))


def three(upstreams: FakeProviders) -> str:
    """Two providers with one id in common and one that rejects its key, with canaries; and two not contacted."""
    first = lists(
        {"id": "gpt-4o", "created": 1715367049, "owned_by": "system"},
        "gpt-4o-mini",
        "gpt-5-preview",
        {"id": ""},
        {"id": ""},
    )
    second = lists({"id": "gpt-4o", "owned_by": "system"}, "测试模型名称1")
    return f"""
providers:
  - {{name: openai, base_url: "{upstreams.open(first).url}", api_key: "${{UPSTREAM_KEY}}", exclude: ["*-preview"]}}
  - {{name: reseller, base_url: "{upstreams.open(second).url}", owner: reseller, headers: {{X-Team: "${{HEADER}}"}}}}
  - {{name: ctyun, base_url: "{upstreams.open(replies(CTYUN_WRONG_KEY, 401)).url}", api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: paid, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", optional: true}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
groups: {{default: {{models: ["gpt-*"], call: false}}, staff: {{models: ["*", "!llama-*"]}}}}
keys:
  - {{name: alice, key: "${{CLIENT_KEY}}", models: ["provider:reseller", "provider:lab"]}}
  - {{name: old, hash: "{digest("old")}", group: staff, expires: 2020-01-01}}
"""

"""The fingerprint of what decides a provider's list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import Provider
from proxy.store.fingerprint import fingerprint
from tests.fakes import config_of

BASE = "name: a, base_url: 'http://127.0.0.1:9/v1', api_key: sk-fake-old"
OAUTH = "name: a, base_url: 'http://127.0.0.1:9/v1', oauth: {url: 'https://login.example/t', id: me, secret: sk-fake-1}"


def provider(settings: str = BASE) -> Provider:
    return config_of(f"providers: [{{{settings}}}]").providers[0]


@pytest.mark.parametrize(
    "added",
    [
        "exclude: [x]", "prefix: p/", "aliases: {x: y}", "owner: me", "overrides: [{match: x, context_length: 1}]",
        "drop_fields: [description]", "models: [x]", "max_in_flight: 1", "ttl: 60s", "max_stale: 60s", "call: false",
    ],
)  # fmt: skip
def test_other_settings_do_not_count(added: str) -> None:
    assert fingerprint(provider(f"{BASE}, {added}")) == fingerprint(provider())


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("old", "new"), BASE.replace(":9/", ":8/"), f"{BASE}, kind: gpustack", f"{BASE}, timeout: 3s",
        f"{BASE}, headers: {{x-team: a}}", f"{BASE}, proxy: 'http://127.0.0.1:1'", f"{BASE}, extra_fields: [root]",
        f"{BASE}, hide_retired: true", f"{BASE}, params: {{a: b}}", f"{BASE}, where: [{{field: enabled, is: true}}]",
        f"{BASE}, max_models: 5", OAUTH, OAUTH.replace("fake-1", "fake-2"), OAUTH.replace("id: me", "id: you"),
    ],
)  # fmt: skip
def test_settings_of_the_fetch_rules_over_private_fields_and_credentials_count(changed: str) -> None:
    before, after = fingerprint(provider()), fingerprint(provider(changed))

    assert before.name != after.name
    assert before.key != after.key


def test_values_of_rules_count_because_stored_lists_contain_their_results() -> None:
    one, other = (provider(f"{BASE}, where: [{{field: enabled, is: {value}}}]") for value in ("true", "false"))

    assert fingerprint(one).name != fingerprint(other).name


def test_all_secrets_of_two_providers_can_be_told_apart_but_not_guessed() -> None:
    mapped = fingerprint(provider(f"{BASE}, headers: {{x-token: sk-fake-header}}"))

    assert len(mapped.name) == 32
    assert set(mapped.name) <= set("0123456789abcdef")
    assert mapped.key.hex() not in repr(mapped)
    assert mapped.name not in mapped.key.hex()


def test_content_of_a_file_counts_and_not_its_path(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("sk-fake-old")
    other.write_text("sk-fake-old")
    template = "name: a, base_url: 'http://127.0.0.1:9/v1', api_key_file: "

    first, second = (provider(f"{template}'{file}'") for file in (one, other))
    assert fingerprint(first) == fingerprint(second) == fingerprint(provider())

    before = fingerprint(first)
    one.write_text("sk-fake-renewed")
    first.secret_files[0].reload()
    assert fingerprint(first).name != before.name


SCRIPT = f"""
from proxy.config import parse
from proxy.store.fingerprint import fingerprint
text = '''providers:
- {{{BASE}, headers: {{b: x, a: y}}, where: [{{field: enabled, in: [a, b]}}], fields: {{type: kind}}}}
- {{name: w, kind: bedrock, region: eu-west-1, access_key_id: AKIAFAKE, secret_access_key: fake-secret}}'''
print([fingerprint(provider) for provider in parse(text, environ={{}}).providers])
"""


def test_fingerprint_is_the_same_in_every_process() -> None:
    results = {
        subprocess.run(  # noqa: S603
            [sys.executable, "-c", SCRIPT], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(results) == 1

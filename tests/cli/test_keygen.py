"""`models-proxy keygen`: a random API key, its digest, and an entry for config.yaml."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.access import Access
from proxy.cli.main import main
from tests.fakes import config_of, digest

LAB = "providers: [{name: lab, kind: static, models: [{id: m}]}]\n"


def generated(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["keygen", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def key_in(output: str) -> str:
    (key,) = re.findall(r"(?m)^ +(mp-[A-Za-z0-9_-]+)$", output)
    return str(key)


def pasted(output: str) -> str:
    return re.search(r"(?m)^keys:\n(?:  .*\n)+", output)[0]  # type: ignore[index]


def test_a_key_has_a_prefix_and_at_least_128_random_bits() -> None:
    random = key_in(generated()).removeprefix("mp-")
    assert len(base64.urlsafe_b64decode(random + "=" * (-len(random) % 4))) * 8 >= 128


def test_all_keys_are_different() -> None:
    assert len({key_in(generated()) for _ in range(20)}) == 20


def test_the_key_is_shown_once_and_the_entry_contains_only_its_digest() -> None:
    output = generated()
    key = key_in(output)
    assert output.startswith(
        f"New API key (shown once; store it now):\n\n  {key}\n\nSHA-256 digest (safe to commit):\n"
    )
    assert output.count(key) == 1
    assert f"  {digest(key)}\n" in output
    assert digest(key) in pasted(output)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("alice", id="a plain word"),
        pytest.param("007", id="a number in yaml"),
        pytest.param("no", id="a boolean in yaml"),
        pytest.param("2027-01-31", id="a date in yaml"),
    ],
)
def test_the_pasted_entry_identifies_the_key_by_its_name(name: str) -> None:
    output = generated("--name", name)
    config = config_of(LAB + pasted(output))
    caller = Access(config, lambda: 0.0).identify([(b"authorization", f"Bearer {key_in(output)}".encode())])
    assert (caller.name, caller.policy.rules, caller.admin) == (name, ("*",), False)


@pytest.mark.parametrize("name", ["", "with blanks", "x" * 65, 'a", admin: true, b: "', "a\nb"])
def test_a_name_that_is_invalid_in_the_file_is_a_usage_error(name: str) -> None:
    result = CliRunner().invoke(main, ["keygen", "--name", name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: Invalid value for '--name': must be 1 to 64 letters, digits" in result.stderr


def test_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generated()
    assert list(tmp_path.iterdir()) == []

"""`models-proxy keygen`: a key that nobody can guess, its digest, and lines that can be pasted."""

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


def made(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["keygen", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def key_in(said: str) -> str:
    (key,) = re.findall(r"(?m)^ +(mp-[A-Za-z0-9_-]+)$", said)
    return str(key)


def pasted(said: str) -> str:
    return re.search(r"(?m)^keys:\n(?:  .*\n)+", said)[0]  # type: ignore[index]


def test_a_key_has_a_prefix_and_at_least_128_random_bits() -> None:
    random = key_in(made()).removeprefix("mp-")
    assert len(base64.urlsafe_b64decode(random + "=" * (-len(random) % 4))) * 8 >= 128


def test_no_two_keys_are_the_same() -> None:
    assert len({key_in(made()) for _ in range(20)}) == 20


def test_the_key_is_shown_once_and_the_lines_hold_only_its_digest() -> None:
    said = made()
    key = key_in(said)
    assert said.count(key) == 1
    assert f"  {digest(key)}\n" in said
    assert digest(key) in pasted(said)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("alice", id="a plain word"),
        pytest.param("007", id="a number in yaml"),
        pytest.param("no", id="a truth value in yaml"),
        pytest.param("2027-01-31", id="a date in yaml"),
    ],
)
def test_what_is_pasted_lets_the_key_in_under_its_name(name: str) -> None:
    said = made("--name", name)
    config = config_of(LAB + pasted(said))
    caller = Access(config, lambda: 0.0).identify([(b"authorization", f"Bearer {key_in(said)}".encode())])
    assert (caller.name, caller.policy.rules, caller.admin) == (name, ("*",), False)


@pytest.mark.parametrize("name", ["", "with blanks", "x" * 65, 'a", admin: true, b: "', "a\nb"])
def test_a_name_that_the_file_would_refuse_is_a_usage_error(name: str) -> None:
    result = CliRunner().invoke(main, ["keygen", "--name", name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: Invalid value for '--name': must be at most 64 letters, digits" in result.stderr


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made()
    assert list(tmp_path.iterdir()) == []

"""Large configurations are read in a process of their own: the same result, and clear problems if the process fails."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from proxy.config import Config, ConfigError, read
from proxy.config.sources import Sources
from proxy.server.config_process import COMMAND, LARGE, load, load_first
from tests.config.test_loader import EVERYTHING

CANARY = "sk-canary-1234567890"
BROKEN = ("/no/such/command",)
PROVIDER = "providers: [{name: a, base_url: 'http://h'}]\n"
ODD_VALUES = """\
  - name: odd
    base_url: http://odd.example
    api_key_file: KEY_FILE
    prefix: "${NOT_UTF_8}/"
    models:
      - {id: m, released: 2027-01-31, at: 2027-01-31T10:00:00Z, large: 1_000_000_000_000_000_000_000, half: .5}
  - {name: pangu-by-number, kind: pangu, base_url: "http://h", workspace_id: 007, model_ids: [2027-01-31], api_key: k}
  - {name: skipped, base_url: "http://h", api_key: "${NOPE}", optional: true}
  - {name: no-file, base_url: "http://h", api_key_file: /no/such/file, optional: true}
"""


def entries(count: int) -> str:
    digests = (hashlib.sha256(b"key-%d" % number).hexdigest() for number in range(count))
    return "".join(
        f"  - {{name: key-{number}, hash: 'sha256:{digest}', group: staff, expires: 2027-01-31}}\n"
        for number, digest in enumerate(digests)
    )


def with_keys(count: int, text: str = PROVIDER) -> str:
    return f"{text}groups: {{staff: {{models: ['*', '!*-preview', '[x]']}}}}\nkeys:\n{entries(count)}"


def outcome(path: Path, command: Sequence[str] = COMMAND, timeout: float = 60) -> Config | str:
    """What `load` returns, or its problems as text."""
    try:
        return load(path, Sources(), command, timeout)
    except ConfigError as error:
        return str(error).replace(f"{path}", "FILE")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_small_configuration_starts_no_process(path: Path) -> None:
    path.write_text(with_keys(500))
    assert outcome(path, BROKEN) == read(path)
    path.write_text(with_keys(1) + "# " + "x" * LARGE.bytes)
    assert isinstance(outcome(path, BROKEN), str)


def test_small_file_is_large_if_its_aliases_are(path: Path) -> None:
    path.write_text(f"x-a: &a [{'a,' * 100}]\nx-b: [{'*a,' * 90}]\n{PROVIDER}")
    assert outcome(path, BROKEN) == read(path)
    path.write_text(f"x-a: &a [{'a,' * 100}]\nx-b: [{'*a,' * 100}]\n{PROVIDER}")
    assert isinstance(outcome(path, BROKEN), str)
    assert outcome(path) == read(path)


def test_configuration_of_several_files_is_large_by_the_sum(path: Path) -> None:
    (path.parent / "keys.yaml").write_text("keys:\n" + entries(600))
    (path.parent / "more.yaml").write_text("keys: []\n# " + "x" * (LARGE.bytes // 2))
    (path.parent / "groups.yaml").write_text("groups: {staff: {models: []}}\n")
    path.write_text(f"include: [keys.yaml, more.yaml, groups.yaml]\n{PROVIDER}groups: {{unused: {{models: ['*']}}}}\n")

    assert isinstance(outcome(path, BROKEN), str)
    config = outcome(path)
    assert isinstance(config, Config)
    assert (config, config.sources) == (read(path), read(path).sources)


def test_configuration_of_the_process_equals_one_that_was_read_here(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = path.with_name("corp.pem")
    trustme.CA().cert_pem.write_to_path(str(authority))
    monkeypatch.setenv("API_KEY", CANARY)
    monkeypatch.setenv("CI_KEY", CANARY)
    monkeypatch.setenv("NOT_UTF_8", "caf\udce9")
    secret = path.parent / "secret"
    secret.write_text("sk-canary-in-a-file")
    text = EVERYTHING.replace("CORP_PEM", str(authority)).replace("/run/secrets/files", str(secret))
    text = text.replace("/run/secrets/more", str(secret)).replace(f", {secret}]", "]")
    main, keys = text.split("groups:\n")
    head, models = main.split("models:\n  - {id: smart")
    odd = ODD_VALUES.replace("KEY_FILE", str(secret))
    text = f"{head}{odd}models:\n  - {{id: smart{models}groups:\n{keys}{entries(1500)}"
    path.write_text(text.replace("staff: {models: ['*', ", "staff: {models: ['*', '[x]', "))
    here, there = read(path), outcome(path)

    assert isinstance(there, Config)
    assert there == here
    assert repr(there) == repr(here)
    assert there.generation == here.generation
    assert (there.sources, there.warnings, there.skipped) == (here.sources, here.warnings, here.skipped)
    assert there.places.packed == here.places.packed
    assert [len(provider.secret_files) for provider in there.providers] == [
        len(provider.secret_files) for provider in here.providers
    ]


def test_rules_of_groups_are_not_validated_again(path: Path) -> None:
    """Validating 300,000 rules takes a second."""
    rules = ", ".join(f"'m-{number}'" for number in range(100))
    path.write_text(f"{PROVIDER}groups:\n" + "".join(f"  g{number}: {{models: [{rules}]}}\n" for number in range(500)))
    path.write_text(f"{path.read_text()}keys:\n{entries(1).replace('staff', 'g0')}")
    whole = time.process_time()
    here = read(path)
    whole = time.process_time() - whole
    handed_over = time.process_time()
    there = outcome(path)
    handed_over = time.process_time() - handed_over

    assert there == here
    assert handed_over < whole / 4


def test_problems_of_the_process_equal_those_that_are_found_here(path: Path) -> None:
    path.write_text(with_keys(1500, "server: {prot: 1}\n" + PROVIDER) + entries(2) + "  - {name: '', key: sk-canary}\n")
    with pytest.raises(ConfigError) as here:
        read(path)
    with pytest.raises(ConfigError) as there:
        load(path, Sources())

    assert len(here.value.problems) == 8
    assert there.value.problems == here.value.problems
    assert there.value.sources == here.value.sources


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("command", "text", "timeout"),
    [
        pytest.param(BROKEN, "could not be started: No such file or directory", 60, id="not there"),
        pytest.param(python("exit(3)"), "ended with status 3", 60, id="a failure"),
        pytest.param(
            python("import os; os.kill(os.getpid(), 9)"),
            "was ended by SIGKILL; check the memory limit",
            60,
            id="out of memory",
        ),
        pytest.param(python("import os; os.kill(os.getpid(), 15)"), "was ended by SIGTERM", 60, id="a signal"),
        pytest.param(python("print('sk-canary')"), "returned something else", 60, id="other output"),
        pytest.param(
            python("import time; time.sleep(600)"), "took longer than 0.5 s, so it was stopped", 0.5, id="a hang"
        ),
    ],
)
def test_failure_of_the_process_is_a_problem(path: Path, command: Sequence[str], text: str, timeout: float) -> None:
    path.write_text(with_keys(1500))

    assert outcome(path, command, timeout) == (
        f"FILE has 1 problem:\n  FILE: could not be read: the process that validates large configurations {text}"
    )


def test_start_reads_the_configuration_itself_if_the_process_fails(path: Path) -> None:
    path.write_text(with_keys(1500))
    config = read(path)

    assert [load_first(path), load_first(path, BROKEN), load_first(path, python("exit(1)"))] == [config] * 3


def test_start_reads_a_pipe_itself(path: Path) -> None:
    os.mkfifo(path)
    with ThreadPoolExecutor() as threads:
        threads.submit(path.write_text, with_keys(1500))

        assert len(load_first(path, BROKEN).keys) == 1500


def test_problems_at_the_start_are_those_of_the_file(path: Path) -> None:
    path.write_text(with_keys(1500, "server: {prot: 1}\n" + PROVIDER))
    with pytest.raises(ConfigError, match=r"server.prot: unknown setting; did you mean 'port'"):
        load_first(path)


def test_after_a_failure_of_the_process_the_same_files_are_watched(path: Path) -> None:
    path.write_text(with_keys(1500))
    before = read(path).sources
    with pytest.raises(ConfigError) as raised:
        load(path, before, BROKEN)

    assert raised.value.sources == before


def test_process_imports_the_same_package_from_any_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(with_keys(1500))
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__init__.py").write_text("raise SystemExit(1)")
    (tmp_path / "os.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)

    assert outcome(path) == read(path)


def test_large_configuration_costs_little_in_this_process(path: Path) -> None:
    path.write_text(with_keys(10_000))
    began = time.thread_time()
    read(path)
    here = time.thread_time() - began
    began = time.thread_time()
    load(path, Sources())

    assert time.thread_time() - began < here / 2

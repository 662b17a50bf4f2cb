"""`models-proxy keys`: adds, lists, revokes and rotates keys in a configuration file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.access import Access
from proxy.cli.main import main
from proxy.config import parse, read
from tests.fakes import digest
from tests.processes import Process

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
LAB = "providers: [{name: lab, kind: static, models: [{id: m}]}]\n"
GROUPS = "groups: {staff: {models: ['*']}}\n"
TEXT = f"""\
# The team
{LAB}{GROUPS}keys:
  - {{name: alice, hash: "{A}", group: staff}}   # laptop
  - {{name: ci, key: "${{CI_KEY}}", models: [m, "!*-preview"], expires: 2020-01-31}}
  - name: bob
    hashes: ["{C}", "{B}"]
    models: []
    admin: true
"""
BOMB = f"{LAB}x-a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"x-{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n" for before, name in pairwise("abcdefgh")
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def run(*arguments: str, path: Path) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments, "--config", str(path)])


def key_of(result: Result) -> str:
    """The key that a command printed: all of its stdout."""
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(r"mp-[\w-]{43}\n", result.stdout)
    return result.stdout.strip()


def error_of(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr.removeprefix("Error: ").removesuffix("\n")


def caller(path: Path, key: str) -> str | None:
    """The name of the client who sends this key."""
    config = parse(path.read_text(encoding="utf-8"), environ={"CI_KEY": "sk-fake-of-ci"})
    return Access(config, time.time).identify([(b"authorization", f"Bearer {key}".encode())]).name


def test_an_added_key_is_the_only_output_and_only_its_digest_is_in_the_file(path: Path) -> None:
    result = run("add", "carol", "--group", "staff", path=path)
    key = key_of(result)
    entry = f'  - name: "carol"\n    hash: "{digest(key)}"\n    group: "staff"\n'
    assert path.read_text(encoding="utf-8") == TEXT + entry
    assert key not in result.stderr
    assert caller(path, key) == "carol"


def test_a_change_prints_a_line_with_the_time_the_user_the_change_and_the_file(path: Path) -> None:
    results = [
        run("add", "carol", "--group", "staff", path=path),
        run("rotate", "carol", path=path),
        run("revoke", "carol", "--old", path=path),
        run("revoke", "carol", path=path),
    ]
    lines = [result.stderr.partition("\n")[0] for result in results]
    assert [re.sub(r"^\S+Z keys: \S+ |sha256:\w{8}", "", line) for line in lines] == [
        f"added carol in {path} (...)",
        f"added a key of carol in {path} (...)",
        f"removed the old keys of carol in {path}",
        f"removed carol in {path}",
    ]
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ keys: \S+ added", lines[0])
    assert path.read_text(encoding="utf-8") == TEXT


def test_all_settings_of_a_key_can_be_given(path: Path) -> None:
    options = ["--models", "m,owner:lab", "--models", "!*-preview", "--expires", "2099-01-31", "--admin"]
    options += ["--not-before", "2098-01-01", "--allow-ip", "10.0.0.0/8", "--allow-ip", "192.0.2.7"]
    key_of(run("add", "carol", *options, path=path))
    *_, carol = parse(path.read_text(encoding="utf-8"), environ={"CI_KEY": "sk-fake-of-ci"}).keys
    assert (carol.name, carol.group, carol.rules) == ("carol", None, ("m", "owner:lab", "!*-preview"))
    assert (str(carol.not_before), str(carol.expires), carol.admin) == ("2098-01-01", "2099-01-31", True)
    assert carol.allowed_ips == ("10.0.0.0/8", "192.0.2.7/32")


def test_a_rotated_key_and_the_old_one_are_the_same_client_until_the_old_one_is_revoked(path: Path) -> None:
    old = key_of(run("add", "carol", "--group", "staff", path=path))
    result = run("rotate", "carol", path=path)
    new = key_of(result)
    assert [caller(path, key) for key in (old, new)] == ["carol", "carol"]
    assert f"models-proxy keys revoke carol --old --config {path}\n" in result.stderr
    assert run("revoke", "carol", "--old", path=path).exit_code == 0
    assert f'hashes: ["{digest(new)}"]' in path.read_text(encoding="utf-8")
    assert digest(old) not in path.read_text(encoding="utf-8")
    assert caller(path, new) == "carol"


def test_the_first_key_is_announced_with_what_is_still_possible_without_one(path: Path) -> None:
    path.write_text(f"{LAB}groups: {{default: {{models: ['*']}}}}\n")
    stderr = run("add", "alice", "--group", "default", path=path).stderr
    assert "This is the first key: from now on, other keys are rejected.\n" in stderr
    assert "groups.default: requests without a key can still list the models of this group" in stderr
    assert "first key" not in run("add", "bob", "--group", "default", path=path).stderr


# -- list --------------------------------------------------------------------------------------------------------------


def test_keys_are_listed_without_digests(path: Path) -> None:
    result = run("list", path=path)
    assert result.output == (
        "name   group  models         expires               admin      keys\n"
        "alice  staff  of the group   -                     -             1\n"
        "ci     -      m, !*-preview  2020-01-31 (expired)  -      variable\n"
        "bob    -      none           -                     yes           2\n"
    )


def test_limits_of_keys_are_listed_if_there_are_any(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("name: bob\n", "name: bob\n    limits: {requests: [5/m, 1k/d], concurrent: 2}\n"))
    lines = run("list", path=path).stdout.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == [
        "limits",
        "of the group",
        "-",
        "requests 5/m 1k/d, concurrent 2",
    ]
    listed = json.loads(run("list", "--json", path=path).stdout)["keys"]
    assert [each["limits"] for each in listed] == [None, None, {"requests": ["5/m", "1k/d"], "concurrent": 2}]


def test_when_and_from_where_keys_are_valid_is_listed_if_a_key_has_a_restriction(path: Path) -> None:
    run("add", "carol", "--group", "staff", "--not-before", "2098-01-01", "--allow-ip", "192.0.2.7", path=path)
    lines = run("list", path=path).output.splitlines()
    assert lines[0] == ("name   group  models         valid from  expires               allowed IPs   admin      keys")
    assert lines[1].split() == ["alice", "staff", "of", "the", "group", "-", "-", "everywhere", "-", "1"]
    assert lines[4].split() == ["carol", "staff", "of", "the", "group", "2098-01-01", "-", "192.0.2.7/32", "-", "1"]


def test_keys_are_listed_as_json(path: Path) -> None:
    assert json.loads(run("list", "--json", path=path).stdout) == {
        "keys": [
            {
                "name": "alice", "group": "staff", "models": None, "not_before": None,
                "expires": None, "expired": False, "allowed_ips": None, "admin": False,
                "limits": None, "digests": 1, "file": str(path),
            },
            {
                "name": "ci", "group": None, "models": ["m", "!*-preview"], "not_before": None,
                "expires": "2020-01-31", "expired": True, "allowed_ips": None,
                "admin": False, "limits": None, "digests": 0, "file": str(path),
            },
            {
                "name": "bob", "group": None, "models": [], "not_before": None,
                "expires": None, "expired": False, "allowed_ips": None, "admin": True,
                "limits": None, "digests": 2, "file": str(path),
            },
        ],
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", LAB, f"{LAB}keys: []\n", f"{LAB}keys:\n"])
def test_a_file_without_keys_is_listed(text: str, path: Path) -> None:
    path.write_text(text)
    result = run("list", path=path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"no keys in {path}\n")


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(
            ["add", "alice", "--group", "staff"],
            "FILE already has a key alice; use another name, or add a second key: models-proxy keys rotate alice "
            "--config FILE",
            id="the name exists",
        ),
        pytest.param(["rotate", "alcie"], "FILE has no key alcie; did you mean 'alice'?", id="a typo"),
        pytest.param(["revoke", "zoe"], "FILE has no key zoe; available: alice, ci, bob", id="no such key"),
        pytest.param(
            ["rotate", "ci"],
            "the key of ci is in an environment variable (`key:` in FILE); change the variable instead",
            id="a key in a variable",
        ),
        pytest.param(
            ["revoke", "alice", "--old"],
            "alice has no old key; to remove the client, run: models-proxy keys revoke alice --config FILE",
            id="no old key",
        ),
        pytest.param(
            ["add", "carol", "--group", "stuff"],
            "nothing was changed: after this change, FILE has 1 problem:\n"
            "  FILE:11: keys[3].group: no such group; did you mean 'staff'?",
            id="no such group",
        ),
        pytest.param(
            ["add", "carol", "--models", "onwer:x"],
            "nothing was changed: after this change, FILE has 1 problem:\n"
            "  FILE:11: keys[3].models[0]: unknown rule type; did you mean 'owner:x'?",
            id="an invalid rule",
        ),
    ],
)
def test_a_change_that_is_not_possible_changes_nothing(arguments: list[str], problem: str, path: Path) -> None:
    message = error_of(run(*arguments, path=path))
    assert re.sub(r"FILE:\d+", "FILE:11", message.replace(str(path), "FILE")) == problem
    assert path.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["add", "a b", "--group", "staff"], "Invalid value for 'NAME': "),
        (["add", "mp-" + "a1" * 20, "--group", "staff"], "Invalid value for 'NAME': looks like an API key"),
        (["add", "carol"], "one of --group and --models is required."),
        (
            ["add", "carol", "--group", "staff", "--expires", "soon"],
            "'--expires': must be a valid date, like 2027-01-31",
        ),
        (["add", "carol", "--group", "staff", "--expires", "2020-01-31"], "'--expires': is in the past"),
        (
            ["add", "carol", "--group", "staff", "--not-before", "soon"],
            "'--not-before': must be a valid date, like 2027-01-31; the key is valid from the start of that day (UTC)",
        ),
        (
            ["add", "carol", "--group", "staff", "--allow-ip", "10.0.0.1/8"],
            "'--allow-ip': must be a network such as 10.0.0.0/8, or an address; did you mean 10.0.0.0/8?",
        ),
    ],
)
def test_invalid_arguments_are_usage_errors(arguments: list[str], problem: str, path: Path) -> None:
    result = run(*arguments, path=path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert path.read_text(encoding="utf-8") == TEXT


def test_the_last_key_is_not_revoked_since_the_proxy_would_be_open(path: Path) -> None:
    path.write_text(text := f"{LAB}keys: [{{name: a, hash: '{A}', models: []}}]\n")
    expected = (
        f"this is the last key of {path}; without keys, the proxy would accept every request; add another key first"
    )
    assert error_of(run("revoke", "a", path=path)) == f"nothing was changed: {expected}"
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(
            f"{LAB}groups: {{default: {{models: ['*']}}}}\nserver: {{prot: 1}}\n",
            "nothing was changed: fix the configuration first: FILE has 1 problem:\n"
            "  FILE:3: server.prot: unknown setting; did you mean 'port'?",
            id="an invalid setting",
        ),
        pytest.param(
            f"{LAB}keys:\n\t- x\n",
            "FILE has 1 problem:\n"
            "  FILE:3: invalid YAML: indent with spaces, not tabs; quote values that begin with `@`, `%` or a backtick",
            id="a tab",
        ),
        pytest.param(
            "a: ü".encode("latin-1"),
            "FILE:1: contains bytes that are not UTF-8; save the file as UTF-8",
            id="Latin-1",
        ),
        pytest.param(
            f"x-all: &all [{{name: a, hash: '{A}', group: staff}}]\n{LAB}{GROUPS}keys: *all\n",
            "cannot edit `keys` in FILE: it uses anchors, aliases or merge keys there, or a layout that is not "
            "supported; edit it by hand",
            id="an alias",
        ),
        pytest.param(
            BOMB,
            "FILE has 1 problem:\n  FILE:2: more than 300,000 values in all files, with aliases expanded; use fewer",
            id="aliases",
        ),
    ],
)
def test_a_file_that_cannot_be_edited_is_an_error(content: str | bytes, problem: str, path: Path) -> None:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(raw)
    assert error_of(run("add", "carol", "--group", "staff", path=path)).replace(str(path), "FILE") == problem
    assert path.read_bytes() == raw


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "nothing.yaml"
    missing = f"{path} cannot be read: No such file or directory"
    assert error_of(run("add", "carol", "--group", "staff", path=path)) == missing
    assert error_of(run("revoke", "a", "--file", str(path), path=path)) == missing
    for command in (["list"], ["revoke", "a"]):
        assert f"{path}: No such file or directory" in error_of(run(*command, path=path))


def test_variables_and_secret_files_of_the_server_are_not_needed(path: Path) -> None:
    text = "providers:\n  - {name: a, base_url: http://h, api_key: '${NOT_SET}'}\n"
    text += "  - {name: b, base_url: http://h, api_key_file: /run/secrets/nothing}\n"
    path.write_text(text + GROUPS)
    key_of(run("add", "carol", "--group", "staff", path=path))


# -- several files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def team(path: Path) -> Path:
    """A file that the main file includes, with the key of dora."""
    path.write_text(f"include: [keys/*.yaml]\n{TEXT}", encoding="utf-8")
    team = path.parent / "keys" / "team.yaml"
    team.parent.mkdir()
    team.write_text(f"# The second team\nkeys:\n  - {{name: dora, hash: '{D}', group: staff}}\n")
    return team


def test_a_key_is_added_to_an_included_file_with_a_group_of_the_main_file(path: Path, team: Path) -> None:
    before = team.read_text(encoding="utf-8")
    key = key_of(run("add", "emil", "--group", "staff", "--file", str(team), path=path))
    entry = f'  - {{name: "emil", hash: "{digest(key)}", group: "staff"}}\n'
    assert team.read_text(encoding="utf-8") == before + entry
    assert read(path, {"CI_KEY": "sk-fake-of-ci"}).keys[-1].name == "emil"


def test_a_key_is_found_in_an_included_file(path: Path, team: Path) -> None:
    before = path.read_text(encoding="utf-8")
    result = run("rotate", "dora", path=path)
    assert digest(key_of(result)) in team.read_text(encoding="utf-8")
    assert f"added a key of dora in {team} (" in result.stderr
    assert run("revoke", "dora", "--old", path=path).exit_code == 0
    assert D not in team.read_text(encoding="utf-8")
    assert run("revoke", "dora", path=path).exit_code == 0
    assert team.read_text(encoding="utf-8") == "# The second team\nkeys: []\n"
    assert path.read_text(encoding="utf-8") == before


def test_keys_of_all_files_are_listed_with_their_file(path: Path, team: Path) -> None:
    lines = run("list", path=path).stdout.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [
        ("name", "file"), ("alice", str(path)), ("ci", str(path)), ("bob", str(path)), ("dora", str(team)),
    ]  # fmt: skip
    assert len(run("list", "--file", str(team), path=path).stdout.splitlines()) == 2


def test_a_name_in_another_file_is_not_added_again(path: Path, team: Path) -> None:
    before = team.read_text(encoding="utf-8")
    message = error_of(run("add", "alice", "--group", "staff", "--file", str(team), path=path))
    assert "nothing was changed: after this change, " in message
    assert f"duplicate name 'alice', also at {path}:" in message
    assert team.read_text(encoding="utf-8") == before


def test_a_typo_is_compared_with_the_keys_of_all_files(path: Path, team: Path) -> None:
    assert error_of(run("revoke", "dara", path=path)) == f"{path} has no key dara; did you mean 'dora'?"


def test_the_last_key_of_all_files_is_not_revoked(path: Path, team: Path) -> None:
    path.write_text(f"include: [keys/*.yaml]\n{LAB}groups: {{default: {{models: []}}, staff: {{models: []}}}}\n")
    message = error_of(run("revoke", "dora", path=path))
    assert message.startswith(f"nothing was changed: this is the last key of {path}; ")


def test_a_file_that_is_not_included_is_a_configuration_of_its_own(path: Path, team: Path) -> None:
    path.write_text(TEXT, encoding="utf-8")
    message = error_of(run("add", "emil", "--group", "staff", "--file", str(team), path=path))
    assert f"nothing was changed: fix the configuration first: {team} has" in message
    assert message.endswith("\nIf another file includes this one, name that with --config.")
    missing = path.parent / "missing.yaml"
    assert key_of(run("add", "emil", "--group", "staff", "--file", str(path), path=missing))


# -- processes ---------------------------------------------------------------------------------------------------------


def test_changes_at_the_same_time_are_all_made(path: Path) -> None:
    names = [f"client-{number}" for number in range(3)]
    with ThreadPoolExecutor(len(names)) as threads:

        def add(name: str) -> int:
            with Process("-m", "proxy", "keys", "add", name, "--group", "staff", "--config", str(path)) as process:
                return process.wait()

        assert list(threads.map(add, names)) == [0] * len(names)
    listed = json.loads(run("list", "--json", path=path).stdout)["keys"]
    assert sorted(key["name"] for key in listed) == sorted(["alice", "bob", "ci", *names])


def test_a_key_that_cannot_be_printed_is_an_error_that_says_so(path: Path) -> None:
    with Process("-c", CLOSED, "keys", "add", "carol", "--group", "staff", "--config", str(path)) as process:
        assert process.wait() != 0
    hint = f"remove it: models-proxy keys revoke carol --config {path}"
    assert f"Error: the key was added but could not be printed (No space left on device); {hint}" in process.err


CLOSED = "import sys; sys.stdout = open('/dev/full', 'w'); from proxy.cli.main import main; main()"


def two_thousand_keys(line: Callable[[int], str]) -> str:
    return LAB + GROUPS + "keys:\n" + "".join(line(number) for number in range(2_000))


@pytest.mark.parametrize("command", [["add", "new", "--group", "staff"], ["rotate", "k500"], ["revoke", "k500"]])
def test_a_file_with_two_thousand_keys_changes_in_one_place(command: list[str], path: Path) -> None:
    before = two_thousand_keys(lambda n: f'  - {{name: k{n}, hash: "sha256:{n:064x}", group: staff}}   # client {n}\n')
    path.write_text(before)
    result = run(*command, path=path)
    assert result.exit_code == 0
    changed = set(before.splitlines()) ^ set(path.read_text(encoding="utf-8").splitlines())
    assert len(changed) == (2 if command[0] == "rotate" else 1)

"""Several files: what is included in which order, and problems with the right file and line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config import Config, ConfigError, parse, read
from proxy.config.files import MAX_FILES
from proxy.config.loader import read_again
from tests.config.outcomes import DIGEST, ENVIRON, LIST, OTHER_DIGEST, PROVIDER

MAIN = f"include: [keys/*.yaml]\n{PROVIDER}groups: {{staff: {{models: ['*']}}}}\n"


def key(name: str, digest: str = DIGEST, group: str = "staff") -> str:
    return f"{{name: {name}, hash: '{digest}', group: {group}}}"


class Folder:
    """Files below a folder; `config.yaml` is the main file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)

    def read(self, *, offline: bool = False) -> Config:
        return read(self.path / "config.yaml", ENVIRON, offline=offline)

    def problems(self) -> list[str]:
        """As shown to the operator, with paths relative to the folder."""
        with pytest.raises(ConfigError) as raised:
            self.read()
        return [str(problem).replace(f"{self.path}", "DIR").removeprefix("DIR/") for problem in raised.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# -- what is included --------------------------------------------------------------------------------------------------


def test_sections_are_joined_in_the_order_of_the_list_and_sorted_within_a_pattern(folder: Folder) -> None:
    folder.write(
        {
            "config.yaml": "include: [more/z.yaml, more/*.yaml]\nmodels: [{id: v0, targets: [m]}]\n"
            f"owners: [{{match: [a], owner: o0}}]\n{PROVIDER}keys: [{key('k0')}]\nrouting: []\n",
            "more/b.yaml": "providers: [{name: b, base_url: http://h}]\nowners: [{match: [a], owner: ob}]\n",
            "more/a.yaml": "providers: [{name: c, base_url: http://h}, {name: d, base_url: http://h}]\n"
            "models: [{id: va, targets: [m]}]\nrouting: [{match: m, strategy: order}]\n",
            "more/z.yaml": f"groups: {{staff: {{models: [z]}}}}\nkeys: [{key('kz', OTHER_DIGEST)}]\n",
            "more/.hidden.yaml": "not read",
        }
    )
    config = folder.read()

    assert [provider.name for provider in config.providers] == ["a", "c", "d", "b"]
    assert [rule.owner for rule in config.owners] == ["o0", "ob"]
    assert [each.id for each in config.models] == ["v0", "va"]
    assert [rule.match for rule in config.routing] == [("m",)]
    assert [(each.name, each.rules) for each in config.keys] == [("k0", ("z",)), ("kz", ("z",))]
    assert [*config.groups] == ["staff"]
    assert [*config.sources.files] == [
        f"{folder.path}/{name}" for name in ("config.yaml", "more/z.yaml", "more/a.yaml", "more/b.yaml")
    ]
    assert config.sources.patterns == {
        f"{folder.path}/more/*.yaml": tuple(f"{folder.path}/more/{name}.yaml" for name in "abz")
    }


def test_new_file_that_matches_a_pattern_is_a_change(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN, "keys/a.yaml": f"keys: [{key('a')}]"})
    sources = folder.read().sources
    assert sources.look() == sources
    folder.write({"keys/b.yaml": f"keys: [{key('b', OTHER_DIGEST)}]"})

    assert sources.look() != sources


def test_main_file_does_not_include_itself_through_a_pattern(folder: Folder) -> None:
    folder.write({"config.yaml": PROVIDER + "include: ['*.yaml']", "a.yaml": "owners: [{match: [a], owner: o}]"})

    assert [rule.owner for rule in folder.read().owners] == ["o"]


def test_paths_are_relative_to_the_folder_of_the_main_file_as_named_and_can_have_variables(folder: Folder) -> None:
    """In Kubernetes the main file is a link into another folder."""
    folder.write(
        {
            "..data/config.yaml": f"{PROVIDER}include: ['${{LIST}}.yaml', '{folder.path}/absolute.yaml']\n",
            "a,b.yaml": "owners: [{match: [a], owner: o}]",
            "absolute.yaml": "owners: [{match: [a], owner: p}]",
        }
    )
    (folder.path / "config.yaml").symlink_to("..data/config.yaml")

    assert [rule.owner for rule in folder.read().owners] == ["o", "p"]


def test_included_provider_inherits_from_the_main_file(folder: Folder) -> None:
    folder.write(
        {
            "config.yaml": "include: [p.yaml]\ndefaults: {timeout: 7s}\ncache: {ttl: 9s}\n",
            "p.yaml": f"x-shared: &shared {{retries: 1}}\n{PROVIDER}    <<: *shared\n",
        }
    )
    (provider,) = folder.read().providers

    assert (provider.timeout, provider.ttl, provider.retries) == (7, 9, 1)


def test_text_of_a_configuration_includes_files_too(folder: Folder) -> None:
    folder.write({"keys/a.yaml": f"keys: [{key('a')}]"})

    assert [each.name for each in parse(MAIN, f"{folder.path}/config.yaml").keys] == ["a"]


def test_optional_provider_of_an_included_file_is_skipped_without_its_secret(folder: Folder) -> None:
    folder.write(
        {
            "config.yaml": f"include: [more.yaml]\n{PROVIDER}",
            "more.yaml": "providers:\n"
            "  - {name: b, base_url: http://h, api_key: '${NOPE}', optional: true}\n"
            "  - {name: c, base_url: http://h, api_key_file: /no/such/file, optional: true}\n",
        }
    )
    reasons = [(each.name, each.reason) for each in folder.read().skipped]

    assert reasons == [
        ("b", "NOPE not set or empty"),
        ("c", f"api_key_file ({folder.path}/more.yaml:3) does not exist"),
    ]


SPLITTABLE = f"""\
owners: [{{match: [a], owner: x}}, {{match: [b], owner: y}}, {{match: [c], owner: z}}]
providers:
- {{name: a, base_url: "http://h"}}
- {{name: b, base_url: "http://h", api_key: "${{API_KEY}}"}}
- {{name: c, base_url: "http://h", optional: true, api_key: "${{NOPE}}"}}
- {{name: d, base_url: "http://h", aliases: {{x: y}}}}
models: [{{id: v, targets: [m]}}, {{id: w, targets: [m]}}]
routing: [{{match: m, strategy: order}}, {{match: n, strategy: weighted}}]
groups: {{staff: {{models: ['*', '!x']}}, default: {{models: [m], call: false}}, ops: {{models: ["provider:d"]}}}}
keys: [{key("k")}, {key("l", OTHER_DIGEST, "ops")}, {{name: m, key: "${{API_KEY}}", models: ["owner:x"]}}]
"""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_configuration_does_not_depend_on_how_it_is_split_into_files(data: st.DataObject, folder: Folder) -> None:
    whole = yaml.safe_load(SPLITTABLE)
    files: list[dict[str, object]] = [{} for _ in range(3)]
    for section, entries in whole.items():
        first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(entries))] * 2), label=section))
        for file, (start, end) in zip(files, ((0, first), (first, second), (second, None)), strict=True):
            of_file = dict([*entries.items()][start:end]) if section == "groups" else entries[start:end]
            if of_file:
                file[section] = of_file
    main, *included = files
    folder.write({f"{number}.yaml": yaml.safe_dump(file) for number, file in enumerate(included) if file})
    names = [f"{number}.yaml" for number, file in enumerate(included) if file]
    folder.write({"config.yaml": yaml.safe_dump({**main, "include": names})})
    expected, config = parse(SPLITTABLE, environ=ENVIRON), folder.read()

    assert config == expected
    assert config.generation == expected.generation


# -- problems ----------------------------------------------------------------------------------------------------------


def test_problems_name_the_file_with_its_own_lines_and_numbers(folder: Folder) -> None:
    folder.write(
        {
            "config.yaml": f"include: [b.yaml, a.yaml]\n{PROVIDER}    ttl: soon\ngroups: {{staff: {{models: [c]}}}}\n",
            "a.yaml": f"keys:\n- {key('x')}\n- {key('y', OTHER_DIGEST, 'stuff')}\n",
            "b.yaml": "# one\nproviders:\n- {name: b, base_url: http://h}\n- {name: c, base_url: http://h, tll: 1s}\n"
            "- {name: d, base_url: http://h, api_key: '${NOPE}'}\n"
            "groups:\n  dev: {models: ['provider:z', '!provider:b']}\n",
        }
    )

    assert folder.problems() == [
        "config.yaml:5: providers[0].ttl: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found 'soon'",
        "a.yaml:3: keys[1].group: no such group; did you mean 'staff'?",
        "b.yaml:4: providers[1].tll: unknown setting; did you mean 'ttl'?",
        "b.yaml:5: providers[2].api_key: environment variable NOPE is not set or empty; set it, or add a default: "
        "${NOPE:-...}, or set `optional: true` for the provider",
        "b.yaml:7: groups.dev.models[0]: no such provider",
    ]


def test_warnings_name_the_file(folder: Folder) -> None:
    folder.write({"config.yaml": f"include: [a.yaml]\n{PROVIDER}", "a.yaml": "owners:\n- {match: ['[a]'], owner: o}\n"})

    assert folder.read().warnings == (
        f"{folder.path}/a.yaml:2: owners[0].match[0]: `[` is matched literally; character classes like [0-9] are not "
        "supported",
    )


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        pytest.param(
            f"keys:\n- {key('k')}\n", f"\nkeys:\n- {key('k', OTHER_DIGEST)}\n",
            "b.yaml:3: keys[0].name: duplicate name 'k', also at DIR/a.yaml:2; names must be unique", id="names of "
            "keys",
        ),
        pytest.param(
            f"keys:\n- {key('k')}\n", f"\nkeys:\n- {key('l')}\n",
            "b.yaml:3: keys[0]: is the same key as keys[0] at DIR/a.yaml:2; use a different key for each entry",
            id="keys",
        ),
        pytest.param(
            "providers:\n- {name: b, base_url: http://h}\n", "\nproviders:\n- {name: b, base_url: http://h}\n",
            "b.yaml:3: providers[0].name: duplicate name 'b', also at DIR/a.yaml:2; names must be unique",
            id="providers",
        ),
        pytest.param(
            "groups:\n  dev: {models: []}\n", "\ngroups:\n  dev: {models: []}\n",
            "b.yaml:3: groups.dev: duplicate group, also at DIR/a.yaml:2; remove one", id="groups",
        ),
        pytest.param(
            "models:\n- {id: v, targets: [m]}\n", "\nmodels:\n- {id: v, targets: [m]}\n",
            "b.yaml:3: models[0].id: duplicate id 'v', also at DIR/a.yaml:2; ids must be unique", id="virtual models",
        ),
    ],
)  # fmt: skip
def test_duplicates_across_files_name_both_places(folder: Folder, first: str, second: str, problem: str) -> None:
    main = f"{PROVIDER}groups: {{staff: {{models: ['*']}}}}\nkeys: [{{name: ci, key: '${{CI_KEY}}', models: []}}]\n"
    folder.write({"config.yaml": f"include: [a.yaml, b.yaml]\n{main}", "a.yaml": first, "b.yaml": second})

    assert folder.problems() == [problem]


CONTENTS = "`owners`, `providers`, `models`, `routing`, `keys` or `groups`"
MUST_CONTAIN = f"must contain {CONTENTS}; add entries, or remove the file from `include`"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *(
            pytest.param(
                f"{section}: {{}}",
                f":1: {section}: belongs in the main file, DIR/config.yaml; an included file can contain {CONTENTS}",
                id=section,
            )
            for section in ("server", "cache", "defaults", "merge")
        ),
        pytest.param(
            "include: [b.yaml]",
            ":1: include: an included file cannot include files; list them in `include` of DIR/config.yaml",
            id="include",
        ),
        pytest.param("\nkey: []", ":2: key: unknown setting; did you mean 'keys'?", id="an unknown setting"),
        pytest.param("keys: {}", f":1: keys: {LIST}", id="a mapping of keys"),
        pytest.param(
            "groups: []",
            ":1: groups: must be a mapping of group names, like `staff: {models: [...]}`",
            id="a list of groups",
        ),
        pytest.param("", f": {MUST_CONTAIN}", id="an empty file"),
        pytest.param("# comment\n", f": {MUST_CONTAIN}", id="only a comment"),
        pytest.param("- a", f":1: {MUST_CONTAIN}", id="a list"),
        pytest.param("a: [", ":2: invalid YAML: missing value or unclosed bracket", id="invalid YAML"),
        pytest.param("keys: []\nkeys: []", ":2: keys: duplicate key; remove one", id="a section twice"),
    ],
)
def test_included_file_contains_lists_and_groups_only(folder: Folder, text: str, problem: str) -> None:
    folder.write({"config.yaml": f"include: [a.yaml]\n{PROVIDER}", "a.yaml": text})

    assert folder.problems() == [f"a.yaml{problem}"]


def test_sections_without_entries_are_allowed_in_included_files(folder: Folder) -> None:
    folder.write(
        {"config.yaml": f"include: [a.yaml]\n{PROVIDER}", "a.yaml": "keys:\ngroups:\nproviders: []\nx-any: 1\n"}
    )

    assert folder.read() == parse(PROVIDER)


HINT = "in DIR; check the path, or set `include` of a provider to select models"


@pytest.mark.parametrize(
    ("include", "problem"),
    [
        ("keys/*.yaml", f"include: {LIST}"),
        ("[keys/*.yaml]", f"include[0]: matches no file {HINT}"),
        ("['gpt-*']", f"include[0]: matches no file {HINT}"),
        ("[a.yaml, b.yaml]", f"include[1]: no such file {HINT}"),
        ("[config.yaml]", "include[0]: is the main file itself; remove it"),
        ("[./a/../config.yaml]", "include[0]: is the main file itself; remove it"),
        ("['']", "include[0]: must be the path of a file, or a pattern like keys/*.yaml"),
        ("[1]", "include[0]: must be the path of a file, or a pattern like keys/*.yaml"),
        ("[null]", "include[0]: must be the path of a file, or a pattern like keys/*.yaml"),
        ('["a\\0"]', "include[0]: must be the path of a file, or a pattern like keys/*.yaml"),
        ("['$A']", "include[0]: variable without braces; write `${NAME}` instead of `$NAME`"),
    ],
)
def test_mistake_in_include_is_one_problem(folder: Folder, include: str, problem: str) -> None:
    folder.write({"config.yaml": f"{PROVIDER}include: {include}\nkeys: [{key('k')}]", "a.yaml": "keys: []"})

    assert folder.problems() == [f"config.yaml:4: {problem}"]


def test_variable_in_include_must_be_set(folder: Folder) -> None:
    folder.write({"config.yaml": f"{PROVIDER}include: ['${{NOPE}}/a.yaml']"})
    text = "environment variable NOPE is not set or empty"

    assert folder.problems() == [f"config.yaml:4: include[0]: {text}; set it, or add a default: ${{NOPE:-...}}"]
    assert folder.read(offline=True).warnings == (
        f"{folder.path}/config.yaml:4: include[0]: {text}; this value was not checked",
    )


def loop(path: Path) -> None:
    path.symlink_to(path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "Not a regular file"),
        (zero, "Not a regular file"),
        (loop, "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("missing"), "No such file or directory"),
    ],
    ids=["a folder", "a named pipe", "/dev/zero", "a link to itself", "a broken link"],
)
def test_what_is_no_regular_file_is_an_error_and_no_hang(
    folder: Folder, make: Callable[[Path], None], why: str
) -> None:
    folder.write({"config.yaml": f"include: [a.yaml]\n{PROVIDER}"})
    make(folder.path / "a.yaml")

    assert folder.problems() == [f"a.yaml: cannot be read: {why}; it is included by DIR/config.yaml"]


@pytest.mark.parametrize("make", [os.mkfifo, zero])
def test_main_file_and_secrets_must_be_regular_files_when_they_are_read_again(
    folder: Folder, make: Callable[[Path], None]
) -> None:
    folder.write({"config.yaml": f"{PROVIDER}    api_key_file: {folder.path}/key\n    ca_file: {folder.path}/key\n"})
    make(folder.path / "key")

    assert folder.problems() == [
        "config.yaml:4: providers[0].api_key_file: cannot be read: Not a regular file",
        "config.yaml:5: providers[0].ca_file: cannot be read: Not a regular file",
    ]
    with pytest.raises(ConfigError, match="key: Not a regular file; set another path with --config"):
        read_again(f"{folder.path}/key")


def test_secret_in_a_large_file_is_an_error(folder: Folder) -> None:
    folder.write({"config.yaml": f"{PROVIDER}    api_key_file: {folder.path}/key\n", "key": "k" * 65_537})

    assert folder.problems() == ["config.yaml:4: providers[0].api_key_file: cannot be read: Larger than 65,536 bytes"]


def test_bytes_that_are_not_utf_8_are_an_error_in_their_file(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN, "keys/a.yaml": "keys: []"})
    (folder.path / "keys" / "b.yaml").write_bytes(b"\n\xff")

    assert folder.problems() == ["keys/b.yaml:2: contains bytes that are not UTF-8; save the file as UTF-8"]


def test_errors_of_several_files_are_reported_at_once(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN, "keys/a.yaml": "keys: [", "keys/b.yaml": "keys: ]", "keys/c.yaml": "a: 1\na: 1"})

    assert [problem.partition(": ")[0] for problem in folder.problems()] == [
        "keys/a.yaml:2", "keys/b.yaml:1", "keys/c.yaml:2",
    ]  # fmt: skip


def test_size_of_all_files_together_is_bounded(folder: Folder) -> None:
    half = "# " + "x" * (5 * 1024 * 1024 // 2)
    folder.write({"config.yaml": MAIN, "keys/a.yaml": f"keys: []\n{half}", "keys/b.yaml": f"keys: []\n{half}"})

    assert folder.problems() == [
        "keys/b.yaml: makes the configuration larger than 5,242,880 bytes; check that it is a configuration file"
    ]


def test_expanded_aliases_of_all_files_together_are_bounded(folder: Folder) -> None:
    """Each file expands to 150,000 values, and has 800 bytes."""
    bomb = f"x-a: &a [{'a,' * 400}]\nx-b: [{'*a,' * 375}]\nkeys: []\n"
    folder.write({"config.yaml": f"include: [keys/*.yaml]\n{PROVIDER}", "keys/a.yaml": bomb})
    assert folder.read().keys == ()
    folder.write({"keys/b.yaml": bomb})

    assert folder.problems() == [
        "keys/b.yaml:1: more than 300,000 values in all files, with aliases expanded; use fewer"
    ]


def test_number_of_files_is_bounded(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN} | {f"keys/{number}.yaml": "keys: []" for number in range(MAX_FILES + 1)})

    assert folder.problems() == ["config.yaml:1: include: matches more than 1,000 files; check the patterns"]


def test_error_has_the_included_files_and_patterns_as_sources(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN, "keys/a.yaml": "keys: ["})
    with pytest.raises(ConfigError) as raised:
        folder.read()
    sources = raised.value.sources

    assert [*sources.files] == [f"{folder.path}/config.yaml", f"{folder.path}/keys/a.yaml"]
    assert [*sources.patterns] == [f"{folder.path}/keys/*.yaml"]


def test_name_of_a_file_cannot_add_lines_to_a_message(folder: Folder) -> None:
    folder.write({"config.yaml": MAIN, "keys/a\n\x1b[31m.yaml": "keys: ["})

    assert folder.problems() == ["keys/a\\n\\x1b[31m.yaml:2: invalid YAML: missing value or unclosed bracket"]


# -- places ------------------------------------------------------------------------------------------------------------


def test_loaded_settings_know_their_file(folder: Folder) -> None:
    folder.write(
        {
            "config.yaml": f"include: [a.yaml]\n{PROVIDER}owners: [{{match: [a], owner: o}}]\n",
            "a.yaml": "\nowners:\n- {match: [b], owner: p}\n"
            "providers:\n- {name: b, base_url: http://h, exclude: [x]}\n",
        }
    )
    find = folder.read().places.find

    assert find("owners", 0, "owner") == (f"{folder.path}/config.yaml", 5, "owners[0].owner")
    assert find("owners", 1, "owner") == (f"{folder.path}/a.yaml", 3, "owners[0].owner")
    assert find("providers", "b", "exclude", 0) == (f"{folder.path}/a.yaml", 5, "providers[0].exclude[0]")

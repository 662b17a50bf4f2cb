"""YAML documents: values and their lines, variables, merge keys, invalid and oversized files."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import ConfigError
from proxy.config import document as yamldoc
from proxy.config.document import Document, setting
from proxy.config.problems import Problem

ENVIRON = {"HOST": "h", "PORT": "80", "EMPTY": "", "TRICKY": "${HOST}"}


def read(text: str) -> Document:
    return yamldoc.read(text, "c.yaml", ENVIRON)


def found(line: int, setting: str, text: str) -> Problem:
    return Problem(line, setting, text, "c.yaml")


def problems_of(text: str) -> list[Problem]:
    """The problems of a text, whether it could be parsed or not."""
    try:
        return read(text).problems
    except ConfigError as error:
        return list(error.problems)


def test_values_have_yaml_types_and_names_are_strings() -> None:
    document = read("a: {on: 1, 5: 2.5, ~: null, =: yes}\nb: [x, '7', 2027-01-31, =, 007]\n")
    assert document.value == {
        "a": {"on": 1, "5": 2.5, "~": None, "=": True},
        "b": ["x", "7", date(2027, 1, 31), "=", 7],
    }
    assert document.texts["b", 4] == "007"
    assert document.problems == []


def test_every_value_has_its_line() -> None:
    document = read("a:\n  b: 1\n  c:\n    - x\n    -\n      d: 2\n")
    assert document.lines == {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 6, ("a", "c", 1, "d"): 6,
    }  # fmt: skip
    assert document.line(("a", "c", 0)) == 4
    assert document.line(("a", "missing", "deeper")) == 1, "the nearest enclosing value"


def test_aliased_values_have_the_line_of_their_anchor() -> None:
    document = read("a: &all\n  - x\nb: *all\n")
    assert document.value == {"a": ["x"], "b": ["x"]}
    assert (document.line(("b",)), document.line(("b", 0))) == (3, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("http://${HOST}:${PORT}/v1", "http://h:80/v1", id="inside a string"),
        pytest.param("${PORT}", "80", id="always a string"),
        pytest.param("${NOPE:-here}", "here", id="a default"),
        pytest.param("${HOST:-here}", "h", id="a default that is not needed"),
        pytest.param("${EMPTY:-here}", "here", id="a default where the variable is empty"),
        pytest.param("${NOPE:-}", "", id="an empty default"),
        pytest.param("${NOPE:-a:-b$ {}", "a:-b$ {", id="any character except a brace in a default"),
        pytest.param("$${HOST}", "${HOST}", id="a literal reference"),
        pytest.param("$HOST $ $$ {HOST}", "$HOST $ $$ {HOST}", id="no reference"),
        pytest.param("${TRICKY}", "${HOST}", id="values of variables are not expanded"),
    ],
)
def test_variables_are_replaced(text: str, value: str) -> None:
    document = read(f"a: '{text}'")
    assert document.value == {"a": value}
    assert (document.texts["a",], document.unset, document.problems) == (text, {}, [])


def test_unset_variables_are_recorded_with_their_path() -> None:
    document = read("a: ${NOPE}\nb: ['${HOST}', '${NOPE}:${EMPTY}:${NOPE}']\n")
    assert document.unset == {("a",): ("NOPE",), ("b", 1): ("NOPE", "EMPTY")}
    assert document.problems == []


@pytest.mark.parametrize("text", ["${MY-KEY}", "${HOST", "${}", "${1}", "${HOST-x}", "${NOPE:-${HOST}}"])
def test_invalid_variable_reference_is_a_problem(text: str) -> None:
    hint = "invalid variable reference; write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`"
    assert problems_of(f"a:\n  b: '{text}'") == [found(2, "a.b", hint)]
    assert read(f"a:\n  b: '{text}'").malformed == {("a", "b")}


def test_duplicate_key_is_a_problem_at_any_level() -> None:
    assert problems_of("a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\na: 2\n") == [
        found(5, "b[0].c", "duplicate key; remove one"),
        found(6, "a", "duplicate key; remove one"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "a:\n  <<: b\n",
            found(2, "a", "`<<` must be a mapping or a list of mappings, like `<<: *name`"),
            id="a string to merge",
        ),
        pytest.param(
            "? [a]\n: b\n",
            found(1, "", "a setting name must be a string, not a list or mapping"),
            id="a list for a name",
        ),
        pytest.param(
            "? &a [*a]\n: b\n",
            found(1, "", "a setting name must be a string, not a list or mapping"),
            id="a recursive list for a name",
        ),
        pytest.param("a:\n  - !b\n", found(2, "a[0]", "quote values that begin with `!`"), id="a tag"),
        pytest.param(
            "a: !!python/object/apply:os.system ls",
            found(1, "a", "quote values that begin with `!`"),
            id="a tag that would run code",
        ),
        pytest.param("a: !!binary aGk=", found(1, "a", "quote values that begin with `!`"), id="bytes"),
    ],
)
def test_unsupported_yaml_features_are_problems(text: str, problem: Problem) -> None:
    assert problems_of(text) == [problem]


@pytest.mark.parametrize(
    "text", ["2027-13-45", "!!int x", "!!float ''", "!!bool x", "!!timestamp x", "!!int ''", "0b_", "0x" + "f" * 9999]
)
def test_invalid_dates_and_numbers_are_strings(text: str) -> None:
    value = read(f"a: {text}").value["a"]
    assert value == text.split(" ")[-1].strip("'")


NO_ANCHOR = 'no such anchor; define it above, or quote values that begin with `*`, like "*"'


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        pytest.param("a:\n  b: *\n", 2, 'quote values that begin with `*`, like "*"', id="a star"),
        pytest.param("a: [*]", 1, 'quote values that begin with `*`, like "*"', id="a star in a list"),
        pytest.param("a: *x", 1, NO_ANCHOR, id="an undefined alias"),
        pytest.param("a: [*-x]", 1, NO_ANCHOR, id="an alias that begins with a dash"),
        pytest.param("a: &", 1, "quote values that begin with `&`", id="an ampersand"),
        pytest.param('a: ["*", !*-x]', 1, 'quote values that begin with `!`, like "!*-preview"', id="a deny rule"),
        pytest.param(
            "a:\n\tb: 1\n",
            2,
            "indent with spaces, not tabs; quote values that begin with `@`, `%` or a backtick",
            id="a tab",
        ),
        pytest.param("a:\n  - b\n\t- c\n", 3, "indent with spaces, not tabs", id="a tab in a list"),
        pytest.param(
            "a: @b",
            1,
            "indent with spaces, not tabs; quote values that begin with `@`, `%` or a backtick",
            id="an at sign",
        ),
        pytest.param(
            "a:\n  - {b: ${HOST}}\n",
            2,
            'missing comma or closing bracket; inside { } and [ ], quote variables, like "${NAME}"',
            id="a reference without quotes in braces",
        ),
        pytest.param(
            "a: {b: c\nd: e\n",
            2,
            'missing comma or closing bracket; inside { } and [ ], quote variables, like "${NAME}"',
            id="an open brace",
        ),
        pytest.param("a: [\n", 2, "missing value or unclosed bracket", id="an open bracket at the end"),
        pytest.param("a: [b,, c]", 1, "missing value or unclosed bracket", id="two commas"),
        pytest.param(
            "a: b: c",
            1,
            "check the indentation and the `:` in the line above, or quote a value that contains `: `",
            id="two colons",
        ),
        pytest.param(
            "a\nb: c",
            2,
            "check the indentation and the `:` in the line above, or quote a value that contains `: `",
            id="a line without a colon",
        ),
        pytest.param(
            "a: 1\nb:c\n", 2, "write `name: value`, with a space after the colon", id="no space after the colon"
        ),
        pytest.param(
            "a:\n  - b: 1\n  c: 2\n",
            3,
            "check this line's indentation, or start the entry with `- `",
            id="a missing dash",
        ),
        pytest.param(
            "a:\n  b: 1\n c: 2\n",
            3,
            "check this line's indentation, and that quotes and brackets are closed",
            id="inconsistent indentation",
        ),
        pytest.param(
            'a: "b" c',
            1,
            "check this line's indentation, and that quotes and brackets are closed",
            id="text after a closing quote",
        ),
        pytest.param("a: - b", 1, "start each `- ` entry on a new line", id="an inline dash"),
        pytest.param('a: 1\nb: "c\nd: e\n', 2, "the quote that starts here is not closed", id="an open quote"),
        pytest.param(
            'a: "\\q"',
            1,
            "invalid escape sequence in double quotes; use single quotes for a literal backslash",
            id="a backslash",
        ),
        pytest.param(
            "a: b\n---\nc: d\n",
            2,
            "only one document per file is supported; remove the second `---`",
            id="two documents",
        ),
        pytest.param(
            "a: &x 1\nb: &x 2",
            2,
            "duplicate anchor; rename one of the `&` names",
            id="two anchors of a name",
        ),
        pytest.param("a: >=5", 1, "quote values that begin with `|` or `>`", id="a greater-than sign"),
        pytest.param("%YAML x\n", 1, "did not find expected version number", id="any other error of libyaml"),
    ],
)
def test_invalid_yaml_is_an_error_with_line_and_fix(text: str, line: int, hint: str) -> None:
    assert problems_of(text) == [found(line, "", f"invalid YAML: {hint}")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("é:\n  \x07", found(2, "", "contains a control character (U+0007); remove it"), id="a bell"),
        pytest.param("a: \x00", found(1, "", "contains a control character (U+0000); remove it"), id="a zero"),
        pytest.param(
            "\n\ud800", found(2, "", "contains an unpaired surrogate; save the file as UTF-8"), id="a surrogate"
        ),
        pytest.param(
            "a" * (5 * 1024 * 1024 + 1),
            found(0, "", "is larger than 5,242,880 bytes; check that it is a configuration file"),
            id="too large",
        ),
        pytest.param(
            "模" * (5 * 1024 * 1024 // 3 + 1),
            found(0, "", "is larger than 5,242,880 bytes; check that it is a configuration file"),
            id="too large in bytes",
        ),
        pytest.param(
            "a:\n " + "[" * 200_000,
            found(2, "", "is nested more than 50 levels deep; check brackets and indentation"),
            id="brackets that would overflow the stack",
        ),
        pytest.param(
            "a:\n  " + "- " * 51 + "b",
            found(2, "", "is nested more than 50 levels deep; check brackets and indentation"),
            id="dashes",
        ),
        pytest.param(
            "a: [" + "a," * 300_001 + "]",
            found(1, "", "contains more than 300,000 values; check that it is a configuration file"),
            id="too many values",
        ),
        pytest.param(
            "a:\n  &a [*a]",
            found(2, "", "alias refers to itself or is nested too deeply"),
            id="a recursive list",
        ),
        pytest.param(
            "a:\n  b: &a {c: *a}",
            found(2, "", "alias refers to itself or is nested too deeply"),
            id="a recursive mapping",
        ),
    ],
)
def test_oversized_and_recursive_documents_are_errors(text: str, problem: Problem) -> None:
    assert problems_of(text) == [problem]


def test_alias_bomb_stops_at_the_maximum_number_of_values() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    assert problems_of("\n".join(lines)) == [
        found(1, "", "more than 300,000 values in all files, with aliases expanded; use fewer")
    ]


MERGED = """\
x: &x {a: 1, b: {c: 2}}
y: &y {b: 3, d: 4, <<: *x}
z:
  b: 5
  <<: [*y, {e: 6, d: 7}]
"""


def test_merge_keys_add_the_settings_of_other_mappings() -> None:
    document = read(MERGED)
    assert document.value["y"] == {"b": 3, "d": 4, "a": 1}, "own keys take precedence"
    assert document.value["z"] == {"b": 5, "d": 4, "a": 1, "e": 6}, "then the first mapping in the list"
    assert (document.line(("z", "a")), document.line(("z", "d")), document.line(("z", "b"))) == (1, 2, 4)
    assert document.problems == []


def test_duplicate_keys_in_a_mapping_with_a_merge_key_are_problems() -> None:
    assert problems_of("x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}") == [found(2, "y.b", "duplicate key; remove one")]
    assert problems_of('y: {"<<": 1}') == [], "a quoted key is not a merge key"


@pytest.mark.parametrize("text", ["a: &a {<<: *a}", "a: &a {<<: [*a, *a]}", "a: &a\n  <<: {<<: *a, b: 1}"])
def test_mapping_that_merges_itself_is_an_error(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.text == "alias refers to itself or is nested too deeply"


def test_merge_bomb_stops_at_the_maximum_number_of_values() -> None:
    lines = ["a: &a {k: 1}"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 10)}]}}")
    (problem,) = problems_of("\n".join(lines))
    assert problem.text == "more than 300,000 values in all files, with aliases expanded; use fewer"


def test_fifty_levels_are_allowed() -> None:
    assert read("a: " + "[" * 48 + "]" * 48).problems == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param((), "", id="the file"),
        pytest.param(("providers", 2, "base_url"), "providers[2].base_url", id="a setting"),
        pytest.param(("groups", "team 1", "models", 0), "groups.team 1.models[0]", id="a name chosen by the operator"),
        pytest.param(("providers", 0, "aliases", "a/b:c"), "providers[0].aliases.a/b:c", id="a model's name"),
        pytest.param(("keys", 0, "key:sk-canary-1", "x"), "keys[0]", id="a misplaced secret"),
        pytest.param(("providers", 0, "headers", "sk-canary-1"), "providers[0].headers", id="a secret for a header"),
        pytest.param(("groups", "a\nb"), "groups", id="a line break"),
    ],
)
def test_setting_path_ends_before_a_possible_secret(path: yamldoc.Path, shown: str) -> None:
    assert setting(path) == shown


@settings(deadline=None)
@given(st.text() | st.text("abc:-[]{}\"'*&!|>#%@`~<=?, \n\t$01", max_size=60))
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    for problem in problems_of(text):
        assert problem.text
        assert 0 <= problem.line <= text.count("\n") + 2

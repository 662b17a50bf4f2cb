"""YAML as an operator writes it: values and their lines, variables, and files that are broken or a trap."""

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


def problems_of(text: str) -> list[Problem]:
    """What is wrong with a text, whether it could be read or not."""
    try:
        return read(text).problems
    except ConfigError as error:
        return list(error.problems)


def test_values_are_those_of_yaml_and_names_are_plain_text() -> None:
    document = read("a: {on: 1, 5: 2.5, ~: null, =: yes}\nb: [x, '7', 2027-01-31, =, 007]\n")
    assert document.value == {
        "a": {"on": 1, "5": 2.5, "~": None, "=": True},
        "b": ["x", "7", date(2027, 1, 31), "=", 7],
    }
    assert document.texts["b", 4] == "007"
    assert document.problems == []


def test_every_value_knows_its_line() -> None:
    document = read("a:\n  b: 1\n  c:\n    - x\n    -\n      d: 2\n")
    assert document.lines == {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 6, ("a", "c", 1, "d"): 6,
    }  # fmt: skip
    assert document.line(("a", "c", 0)) == 4
    assert document.line(("a", "missing", "deeper")) == 1, "the nearest value around it"


def test_what_an_alias_stands_for_is_where_its_anchor_is() -> None:
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
        pytest.param("${NOPE:-a:-b$ {}", "a:-b$ {", id="any character but a brace in a default"),
        pytest.param("$${HOST}", "${HOST}", id="a literal reference"),
        pytest.param("$HOST $ $$ {HOST}", "$HOST $ $$ {HOST}", id="no reference"),
        pytest.param("${TRICKY}", "${HOST}", id="what a variable holds is not read again"),
    ],
)
def test_variables_are_filled_in(text: str, value: str) -> None:
    document = read(f"a: '{text}'")
    assert document.value == {"a": value}
    assert (document.texts["a",], document.unset, document.problems) == (text, {}, [])


def test_variables_that_are_not_set_are_noted_with_their_place() -> None:
    document = read("a: ${NOPE}\nb: ['${HOST}', '${NOPE}:${EMPTY}:${NOPE}']\n")
    assert document.unset == {("a",): ("NOPE",), ("b", 1): ("NOPE", "EMPTY")}
    assert document.problems == []


@pytest.mark.parametrize("text", ["${MY-KEY}", "${HOST", "${}", "${1}", "${HOST-x}", "${NOPE:-${HOST}}"])
def test_a_reference_that_cannot_be_read_is_a_problem_and_no_value(text: str) -> None:
    hint = "holds `${` without `NAME}` or `NAME:-default}` behind it; write `$${` for a plain `${`"
    assert problems_of(f"a:\n  b: '{text}'") == [Problem(2, "a.b", hint)]


def test_a_name_that_stands_twice_is_a_problem_wherever_it_stands() -> None:
    assert problems_of("a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\na: 2\n") == [
        Problem(5, "b[0].c", "stands here a second time; keep one"),
        Problem(6, "a", "stands here a second time; keep one"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "a:\n  <<: {b: 1}\n",
            Problem(2, "a", "`<<` is not known here; what several providers share stands under `defaults`"),
            id="a merge key",
        ),
        pytest.param("? [a]\n: b\n", Problem(1, "", "a name must be a plain word, no list"), id="a list for a name"),
        pytest.param(
            "? &a [*a]\n: b\n", Problem(1, "", "a name must be a plain word, no list"), id="itself for a name"
        ),
        pytest.param(
            "a:\n  - !b\n", Problem(2, "a[0]", "a value that begins with `!` must stand in quotes"), id="a tag"
        ),
        pytest.param(
            "a: !!python/object/apply:os.system ls",
            Problem(1, "a", "a value that begins with `!` must stand in quotes"),
            id="a tag that would run code",
        ),
        pytest.param(
            "a: !!binary aGk=", Problem(1, "a", "a value that begins with `!` must stand in quotes"), id="bytes"
        ),
    ],
)
def test_what_no_settings_need_is_a_problem(text: str, problem: Problem) -> None:
    assert problems_of(text) == [problem]


@pytest.mark.parametrize(
    "text", ["2027-13-45", "!!int x", "!!float ''", "!!bool x", "!!timestamp x", "!!int ''", "0b_", "0x" + "f" * 9999]
)
def test_what_only_looks_like_a_date_or_a_number_is_text(text: str) -> None:
    value = read(f"a: {text}").value["a"]
    assert value == text.split(" ")[-1].strip("'")


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        pytest.param("a:\n  b: *\n", 2, 'a value that begins with `*` must stand in quotes, like "*"', id="a star"),
        pytest.param("a: [*]", 1, 'a value that begins with `*` must stand in quotes, like "*"', id="a star in a list"),
        pytest.param("a: *x", 1, 'a value that begins with `*` must stand in quotes, like "*"', id="a pattern"),
        pytest.param(
            "a: [*-x]", 1, 'a value that begins with `*` must stand in quotes, like "*"', id="another pattern"
        ),
        pytest.param("a: &", 1, "a value that begins with `&` must stand in quotes", id="an ampersand"),
        pytest.param(
            'a: ["*", !*-x]', 1, 'a value that begins with `!` must stand in quotes, like "!*-preview"', id="a ban"
        ),
        pytest.param(
            "a:\n\tb: 1\n",
            2,
            "indent with blanks, not tabs; quote a value that begins with `@`, `%` or a backtick",
            id="a tab",
        ),
        pytest.param("a:\n  - b\n\t- c\n", 3, "indent with blanks, not with a tab", id="a tab in a list"),
        pytest.param(
            "a: @b",
            1,
            "indent with blanks, not tabs; quote a value that begins with `@`, `%` or a backtick",
            id="an at sign",
        ),
        pytest.param(
            "a:\n  - {b: ${HOST}}\n",
            2,
            'a comma or the closing bracket is missing; inside { } and [ ] quote references, like "${NAME}"',
            id="a reference without quotes in braces",
        ),
        pytest.param(
            "a: {b: c\nd: e\n",
            2,
            'a comma or the closing bracket is missing; inside { } and [ ] quote references, like "${NAME}"',
            id="an open brace",
        ),
        pytest.param("a: [\n", 2, "a value is missing, or a bracket is not closed", id="an open bracket at the end"),
        pytest.param("a: [b,, c]", 1, "a value is missing, or a bracket is not closed", id="two commas"),
        pytest.param(
            "a: b: c",
            1,
            "check this line's indent and the `:` in the line above, or quote a value that holds `: `",
            id="two colons",
        ),
        pytest.param(
            "a\nb: c",
            2,
            "check this line's indent and the `:` in the line above, or quote a value that holds `: `",
            id="a line without a colon",
        ),
        pytest.param(
            "a: 1\nb:c\n", 2, "write `name: value`, with a blank after the colon", id="no blank after the colon"
        ),
        pytest.param(
            "a:\n  - b: 1\n  c: 2\n", 3, "check this line's indent, or begin the entry with `- `", id="a missing dash"
        ),
        pytest.param(
            "a:\n  b: 1\n c: 2\n",
            3,
            "check this line's indent, and that quotes and brackets end where they should",
            id="a crooked indent",
        ),
        pytest.param(
            'a: "b" c',
            1,
            "check this line's indent, and that quotes and brackets end where they should",
            id="something behind a quote",
        ),
        pytest.param("a: - b", 1, "an entry that begins with `- ` stands on a line of its own", id="a dash in a line"),
        pytest.param('a: 1\nb: "c\nd: e\n', 2, "the quote that begins here is never closed", id="an open quote"),
        pytest.param(
            'a: "\\q"', 1, "in double quotes a backslash begins an escape; use single quotes", id="a backslash"
        ),
        pytest.param(
            "a: b\n---\nc: d\n",
            2,
            "only one document may stand in the file; take the second `---` away",
            id="two documents",
        ),
        pytest.param(
            "a: &x 1\nb: &x 2",
            2,
            "this `&` name stands here a second time; give it another",
            id="two anchors of a name",
        ),
        pytest.param("a: >=5", 1, "a value that begins with `|` or `>` must stand in quotes", id="a greater-than sign"),
        pytest.param("%YAML x\n", 1, "did not find expected version number", id="the rest in the words of libyaml"),
    ],
)
def test_a_text_that_is_no_yaml_is_refused_with_its_line_and_a_cure(text: str, line: int, hint: str) -> None:
    assert problems_of(text) == [Problem(line, "", f"no valid YAML: {hint}")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("é:\n  \x07", Problem(2, "", "holds a control character (U+0007); take it away"), id="a bell"),
        pytest.param("a: \x00", Problem(1, "", "holds a control character (U+0000); take it away"), id="a zero"),
        pytest.param("\n\ud800", Problem(2, "", "holds half a character; save the file as UTF-8"), id="a surrogate"),
        pytest.param(
            "a" * (5 * 1024 * 1024 + 1),
            Problem(0, "", "is larger than 5,242,880 bytes; is it the right file?"),
            id="too large",
        ),
        pytest.param(
            "模" * (5 * 1024 * 1024 // 3 + 1),
            Problem(0, "", "is larger than 5,242,880 bytes; is it the right file?"),
            id="too large in bytes",
        ),
        pytest.param(
            "a:\n " + "[" * 200_000,
            Problem(2, "", "is nested more than 50 levels deep; no setting is"),
            id="brackets that would end the process",
        ),
        pytest.param(
            "a:\n  " + "- " * 51 + "b", Problem(2, "", "is nested more than 50 levels deep; no setting is"), id="dashes"
        ),
        pytest.param(
            "a: [" + "a," * 300_001 + "]",
            Problem(1, "", "holds more than 300,000 values; is it the right file?"),
            id="too many values",
        ),
        pytest.param(
            "a:\n  &a [*a]",
            Problem(2, "", "holds an alias of itself, or aliases nested too deeply"),
            id="a list of itself",
        ),
        pytest.param(
            "a:\n  b: &a {c: *a}",
            Problem(2, "", "holds an alias of itself, or aliases nested too deeply"),
            id="a mapping of itself",
        ),
    ],
)
def test_a_text_that_is_a_trap_is_refused(text: str, problem: Problem) -> None:
    assert problems_of(text) == [problem]


def test_a_bomb_of_aliases_goes_off_before_it_has_grown() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    assert problems_of("\n".join(lines)) == [
        Problem(1, "", "stands for more than 300,000 values, through aliases of aliases")
    ]


def test_fifty_levels_are_not_too_many() -> None:
    assert read("a: " + "[" * 48 + "]" * 48).problems == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param((), "", id="the file"),
        pytest.param(("providers", 2, "base_url"), "providers[2].base_url", id="a setting"),
        pytest.param(("groups", "team 1", "models", 0), "groups.team 1.models[0]", id="a name the operator invents"),
        pytest.param(("providers", 0, "aliases", "a/b:c"), "providers[0].aliases.a/b:c", id="a model's name"),
        pytest.param(("keys", 0, "key:sk-canary-1", "x"), "keys[0]", id="a secret in the wrong place"),
        pytest.param(("providers", 0, "headers", "sk-canary-1"), "providers[0].headers", id="a secret for a header"),
        pytest.param(("groups", "a\nb"), "groups", id="a line break"),
    ],
)
def test_a_setting_is_named_as_an_operator_would_unless_it_could_be_a_secret(path: yamldoc.Path, said: str) -> None:
    assert setting(path) == said


@settings(deadline=None)
@given(st.text() | st.text("abc:-[]{}\"'*&!|>#%@`~<=?, \n\t$01", max_size=60))
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    for problem in problems_of(text):
        assert problem.text
        assert 0 <= problem.line <= text.count("\n") + 2

"""Edits of `keys:`: every other byte of the file stays as it is, in any layout."""

from __future__ import annotations

from datetime import date

import pytest

from proxy.cli.key_edits import KeyFile, digests
from proxy.cli.key_positions import NotEditable

A, B, NEW = (f"sha256:{digit * 64}" for digit in "abc")
PROVIDERS = "providers: [{name: lab, kind: static, models: [{id: m}]}]\n"
ENTRY = {"name": "bob", "hash": NEW, "group": "staff"}
BOB = f'{{name: "bob", hash: "{NEW}", group: "staff"}}'


def file(text: str) -> KeyFile:
    return KeyFile(text, "config.yaml")


def named(text: str, name: str) -> dict[str, object]:
    return next(dict(entry) for entry in file(text).entries if entry["name"] == name)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            f"# top\nkeys:\n  - {{name: a, hash: {A}}}   # first\n\n# end\n",
            f"# top\nkeys:\n  - {{name: a, hash: {A}}}   # first\n  - {BOB}\n\n# end\n",
            id="after the last one, with its comment",
        ),
        pytest.param(
            f"keys:\n- name: a\n  hash: {A}\n  # expires: soon\n\n# other\ngroups: {{}}\n",
            f'keys:\n- name: a\n  hash: {A}\n  # expires: soon\n- name: "bob"\n  hash: "{NEW}"\n  group: "staff"\n'
            "\n# other\ngroups: {}\n",
            id="in block style, after a comment that belongs to the last one",
        ),
        pytest.param(
            f"keys:\n  - name: a\n    hash: >-\n      {A}\n\ngroups: {{}}\n",
            f'keys:\n  - name: a\n    hash: >-\n      {A}\n  - name: "bob"\n    hash: "{NEW}"\n    group: "staff"\n'
            "\ngroups: {}\n",
            id="after a block scalar",
        ),
        pytest.param(f"keys:\n  - {{name: a, hash: {A}}}", f"keys:\n  - {{name: a, hash: {A}}}\n  - {BOB}\n", id="eof"),
        pytest.param(
            f"keys:\r\n  - {{name: a, hash: {A}}}\r\ngroups: {{}}\r\n",
            f"keys:\r\n  - {{name: a, hash: {A}}}\r\n  - {BOB}\r\ngroups: {{}}\r\n",
            id="CRLF",
        ),
        pytest.param(
            f"\ufeffkeys:\n  - {{name: ü, hash: {A}}}\n",
            f"\ufeffkeys:\n  - {{name: ü, hash: {A}}}\n  - {BOB}\n",
            id="BOM",
        ),
        pytest.param(
            "keys: []  # none\ngroups: {}\n", f"keys:  # none\n  - {BOB}\ngroups: {{}}\n", id="empty brackets"
        ),
        pytest.param("keys:\t[ ]\n", f"keys:\t\n  - {BOB}\n", id="empty brackets after a tab"),
        pytest.param("keys:   # none\ngroups: {}\n", f"keys:   # none\n  - {BOB}\ngroups: {{}}\n", id="no value"),
        pytest.param("keys: ~\n", f"keys:\n  - {BOB}\n", id="null"),
        pytest.param("keys: [ # none\n]\n", f"keys: [{BOB} # none\n]\n", id="brackets with a comment"),
        pytest.param("keys: [{name: a}]\n", f"keys: [{{name: a}}, {BOB}]\n", id="brackets"),
        pytest.param("keys: [{name: a},]\n", f"keys: [{{name: a}}, {BOB},]\n", id="brackets and a comma"),
        pytest.param(
            "keys: [\n  {name: a}  # first\n]\n",
            f"keys: [\n  {{name: a}},  # first\n  {BOB}\n]\n",
            id="lines in brackets",
        ),
        pytest.param(
            "keys: [\n  {name: a},  # first\n]\n",
            f"keys: [\n  {{name: a}},  # first\n  {BOB},\n]\n",
            id="lines in brackets, each with a comma",
        ),
        pytest.param(PROVIDERS, f"{PROVIDERS}\nkeys:\n  - {BOB}\n", id="no section"),
        pytest.param(
            f"{PROVIDERS}# keys:\n#   - x", f"{PROVIDERS}# keys:\n#   - x\n\nkeys:\n  - {BOB}\n", id="examples"
        ),
        pytest.param("---\na: 1\n...\n", f"---\na: 1\n\nkeys:\n  - {BOB}\n...\n", id="no section, end of the document"),
        pytest.param("  a: 1\n  b: 2\n", f"  a: 1\n  b: 2\n\n  keys:\n    - {BOB}\n", id="an indented file"),
        pytest.param("", f"keys:\n  - {BOB}\n", id="an empty file"),
        pytest.param("# keys of the team", f"# keys of the team\n\nkeys:\n  - {BOB}\n", id="only a comment"),
        pytest.param(
            '{"keys": [{"name": "a"}]}\n',
            f'{{"keys": [{{"name": "a"}}, {{"name": "bob", "hash": "{NEW}", "group": "staff"}}]}}\n',
            id="JSON",
        ),
        pytest.param(
            '{"a": 1}\n',
            f'{{"a": 1, "keys": [{{"name": "bob", "hash": "{NEW}", "group": "staff"}}]}}\n',
            id="JSON without keys",
        ),
    ],
)
def test_a_key_is_appended(before: str, after: str) -> None:
    assert file(before).with_key(ENTRY).text == after


def test_all_settings_of_a_key_are_written() -> None:
    entry = {**ENTRY, "models": ["m", "!*-preview"], "expires": date(2027, 1, 31), "admin": True}
    assert file("keys: []\n").with_key(entry).text == (
        f'keys:\n  - {{name: "bob", hash: "{NEW}", group: "staff", models: ["m", "!*-preview"], expires: 2027-01-31, '
        "admin: true}\n"
    )
    assert (
        '"expires": "2027-01-31"' in file('{"keys": [{"name": "a"}]}').with_key({**ENTRY, "expires": "2027-01-31"}).text
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "keys:\n  # staff\n  - {name: a}   # first\n  - {name: x}   # x\n      # also x\n  - {name: b}\n",
            "keys:\n  # staff\n  - {name: a}   # first\n  - {name: b}\n",
            id="with the comments on its line and below it",
        ),
        pytest.param(
            "keys:\n- name: x\n  hash: |\n    a\n- name: b # last\n# end\n",
            "keys:\n- name: b # last\n# end\n",
            id="block style",
        ),
        pytest.param(
            "keys:\n- # laptop-x\n  name: x\n- name: b\n", "keys:\n- name: b\n", id="a line with only the dash"
        ),
        pytest.param("keys:\r\n  - name: b\r\n  - name: x", "keys:\r\n  - name: b\r\n", id="the last line, CRLF"),
        pytest.param("keys:  # all\n  - {name: x}\na: 1\n", "keys: []  # all\na: 1\n", id="the only one"),
        pytest.param("keys: [{name: x}]\n", "keys: []\n", id="the only one in brackets"),
        pytest.param("keys: [{name: x}, {name: b}]\n", "keys: [{name: b}]\n", id="the first in brackets"),
        pytest.param("keys: [{name: b}, {name: x}]\n", "keys: [{name: b}]\n", id="the last in brackets"),
        pytest.param("keys: [{name: b}, {name: x} , ]\n", "keys: [{name: b},  ]\n", id="with a comma"),
        pytest.param(
            "keys: [\n  {name: b}, # b\n  {name: x} # x\n]\n",
            "keys: [\n  {name: b}, # b\n   # x\n]\n",
            id="lines in brackets",
        ),
        pytest.param(
            "keys: [\n  {name: b},\n  {name: x},\n]\n",
            "keys: [\n  {name: b},\n]\n",
            id="lines in brackets, each with a comma",
        ),
        pytest.param('{"keys": [{"name": "x"}, {"name": "b"}]}', '{"keys": [{"name": "b"}]}', id="JSON"),
    ],
)
def test_a_key_is_removed(before: str, after: str) -> None:
    assert file(before).without_key(named(before, "x")).text == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(f"{{name: x, hash: {A}}}", f'{{name: x, hashes: [{A}, "{NEW}"]}}', id="one in brackets"),
        pytest.param(
            f"name: x\n    hash: '{A}'  # h", f"name: x\n    hashes: ['{A}', \"{NEW}\"]  # h", id="one on a line"
        ),
        pytest.param(f'{{"name": "x", "hash": "{A}"}}', f'{{"name": "x", "hashes": ["{A}", "{NEW}"]}}', id="JSON"),
        pytest.param(f"name: x\n    hashes: [{A}, {B}]", f'name: x\n    hashes: [{A}, {B}, "{NEW}"]', id="several"),
        pytest.param(
            f"name: x\n    hashes:\n    - {A}  # old\n    # note\n    group: staff",
            f'name: x\n    hashes:\n    - {A}  # old\n    - "{NEW}"\n    # note\n    group: staff',
            id="several on lines",
        ),
    ],
)
def test_a_digest_is_appended(before: str, after: str) -> None:
    text, expected = (f"keys:\n  # first\n  - {{name: a, hash: {B}}}\n  - {each}\n# end\n" for each in (before, after))
    edited = file(text).with_digest(named(text, "x"), NEW)
    assert edited.text == expected
    assert digests(named(edited.text, "x")) == [*digests(named(text, "x")), NEW]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(f"{{name: x, hashes: [{A}, {B}, {NEW}]}}", f"{{name: x, hashes: [{NEW}]}}", id="in brackets"),
        pytest.param(
            f"name: x\n    hashes:\n      - {A}  # old\n      - {B}\n      # new\n      - {NEW}\n    group: g",
            f"name: x\n    hashes:\n      # new\n      - {NEW}\n    group: g",
            id="on lines",
        ),
    ],
)
def test_old_digests_are_removed(before: str, after: str) -> None:
    text, expected = (f"keys:\n  - {each}\n" for each in (before, after))
    assert file(text).without_old_digests(named(text, "x")).text == expected


LAYOUTS = [
    pytest.param(
        f"# é\nkeys:\n  - {{name: a, hash: {A}}} # c\n# end\n\nx-y: |\n  text\n", id="block of mappings in brackets"
    ),
    pytest.param(f"keys:\n- name: a\n  hash: {A} # c\n  # d\n- name: b\n  hash: {B}\n\n\nz: 1\n", id="block of blocks"),
    pytest.param(f"keys: [{{name: a, hash: {A}}}, {{name: b}}] # c\n", id="brackets"),
    pytest.param(f"keys: [\n  {{name: a, hash: {A}}}, # c\n  {{name: b}}, # d\n]\n", id="lines in brackets"),
    pytest.param(f'{{"a": [1, 2],\n "keys":\n [{{"name": "a", "hash": "{A}"}}\n ]}}\n', id="JSON"),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["no BOM", "BOM"])
@pytest.mark.parametrize("text", LAYOUTS)
def test_a_key_that_is_added_and_removed_leaves_no_trace(text: str, bom: str, ending: str) -> None:
    text = bom + text.replace("\n", ending)
    added = file(text).with_key(ENTRY)
    assert added.without_key(named(added.text, "bob")).text == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"x-all: &all\n  - {{name: x, hashes: [{A}, {B}]}}\nkeys: *all\n", id="an alias for the list"),
        pytest.param(f"x-base: &base {{hash: {A}}}\nkeys:\n  - {{<<: *base, name: x}}\n", id="a merge key"),
        pytest.param(f"x-digest: &digest {A}\nkeys:\n  - {{name: x, hash: *digest}}\n", id="an alias for the digest"),
        pytest.param(f"keys:\n  - name: x\n    hash: |-\n      {A}\n", id="a digest in a block scalar"),
    ],
)
def test_what_the_edit_does_not_support_is_refused(text: str) -> None:
    with pytest.raises(NotEditable):
        file(text).with_digest(named(text, "x"), NEW)


@pytest.mark.parametrize(
    "text", ["keys: {}\n", "keys: text\n", "- a\n", "text\n", "{}\n", "keys:\r  - {name: a}\rx: 1\r"]
)
def test_a_key_is_not_added_to_what_is_no_list(text: str) -> None:
    with pytest.raises(NotEditable):
        file(text).with_key(ENTRY)


def test_an_anchor_that_others_use_is_not_removed() -> None:
    text = f"keys:\n  - &x {{name: x, hash: {A}}}\n  - {{<<: *x, name: y}}\n"
    with pytest.raises(NotEditable):
        file(text).without_key(named(text, "x"))


def test_entries_that_are_no_mappings_are_left_out() -> None:
    assert file("keys: [1, {name: a}, text]\n").entries == [{"name": "a"}]
    assert file("keys: 5\n").entries == file("text").entries == file("").entries == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [({"hash": A}, [A]), ({"hashes": [A, B]}, [A, B]), ({"key": "${CI_KEY}"}, []), ({"hash": None}, [])],
)
def test_digests_of_an_entry(entry: dict[str, object], expected: list[str]) -> None:
    assert digests(entry) == expected

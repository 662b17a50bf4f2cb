"""Groups and keys: who may see and call what, and every mistake in them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping

import pytest

from proxy.config import ConfigError
from tests.config.outcomes import CANARY, DIGEST, KEY, LIST, NO_VALUE, OTHER_DIGEST, PROVIDER, parsed, problems_of


@pytest.mark.parametrize(
    ("access", "anonymous", "is_open"),
    [
        pytest.param("", ("*",), True, id="neither keys nor groups: open, everything is shown"),
        pytest.param("groups: {default: {models: [m]}}\n", ("m",), True, id="only the default group: open, its rules"),
        pytest.param("groups: {default: {models: []}}\n", (), True, id="a default group that sees nothing"),
        pytest.param(
            f"keys: [{{name: k, hash: '{DIGEST}', models: []}}]\n", None, False, id="only keys: none, refused"
        ),
        pytest.param(
            f"groups: {{g: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', group: g}}]\n",
            None,
            False,
            id="keys and another group: none, refused",
        ),
        pytest.param(
            f"groups: {{default: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', models: []}}]\n",
            ("m",),
            False,
            id="keys and a default group",
        ),
    ],
)
def test_who_brings_no_key_is_the_default_group(access: str, anonymous: tuple[str, ...] | None, is_open: bool) -> None:
    config = parsed(access + PROVIDER)
    assert (config.anonymous and config.anonymous.models, config.is_open) == (anonymous, is_open)


@pytest.mark.parametrize(
    ("group", "anonymous", "key"),
    [
        pytest.param("", False, True, id="nothing said: keys may, who brings none may not"),
        pytest.param(", call: true", True, True, id="true: all may"),
        pytest.param(", call: false", False, False, id="false: nobody may"),
    ],
)
def test_a_group_says_whether_its_members_may_call(group: str, anonymous: bool, key: bool) -> None:
    config = parsed(f"groups: {{default: {{models: ['*']{group}}}}}\n{KEY}    group: default\n")
    assert config.anonymous is not None
    assert (bool(config.anonymous.call), config.keys[0].may_call) == (anonymous, key)


def test_a_keys_own_rules_stand_before_those_of_its_group() -> None:
    groups = "groups: {staff: {models: ['*']}}\n"
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n").keys] == [("*",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: [m]\n").keys] == [("m",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: []\n").keys] == [()]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param(
            f"name: k, hash: '{DIGEST}'",
            ": has neither `group: ...` nor `models: [...]`; add one, or nobody knows what it may see",
            id="without rules",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: ", f".models: {NO_VALUE}", id="with rules that are missing"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: stuff", ".group: no such group; did you mean 'staff'?", id="typo"
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: x", ".group: no such group; there are staff", id="no such group"
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', group: [staff]", ".group: must be a string", id="a list of groups"),
        pytest.param("name: k, models: []", ': needs either `hash: "sha256:..."` or `key: "${NAME}"`', id="no key"),
        pytest.param(
            f"name: k, models: [], hash: '{DIGEST}', key: '${{CI_KEY}}'",
            ': needs either `hash: "sha256:..."` or `key: "${NAME}"`',
            id="two keys",
        ),
        pytest.param("name: k, models: [], hash: ", f".hash: {NO_VALUE}", id="an empty hash"),
        pytest.param("name: k, models: [], key: ", f".key: {NO_VALUE}", id="an empty key"),
        pytest.param(f"hash: '{DIGEST}', models: []", ".name: is missing; add `name: ...`", id="no name"),
        pytest.param(f"name: k, hash: '{DIGEST}', models: '*'", f".models: {LIST}; found '*'", id="a string for rules"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], modles: []",
            ".modles: unknown setting; did you mean 'models'?",
            id="an unknown setting",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], expires: 2027-13-45",
            ".expires: must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC; "
            "found '2027-13-45'",
            id="a day that does not exist",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], expires: 2027-01-31 10:00:00",
            ".expires: must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC; "
            "found '2027-01-31 10:00:00'",
            id="a time of day",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: [], expires: ", f".expires: {NO_VALUE}", id="no last day"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], admin: maybe",
            ".admin: must be true or false; found 'maybe'",
            id="no flag",
        ),
    ],
)
def test_a_mistake_in_a_key_is_told_once_with_its_cure(key: str, problem: str) -> None:
    text = f"{PROVIDER}groups: {{staff: {{models: []}}}}\nkeys:\n  - {{{key}}}\n"
    assert problems_of(text) == [f"line 6, keys[0]{problem}"]


def test_a_group_is_looked_for_even_where_there_are_none() -> None:
    assert problems_of(f"{KEY}    group: staff\n") == ["line 7, keys[0].group: no such group; there are none"]
    assert problems_of(f"groups: 5\n{KEY}    group: staff\n") == [
        "line 1, groups: must be groups by name: `staff: {models: [...]}`",
        "line 8, keys[0].group: no such group; there are none",
    ]


@pytest.mark.parametrize(
    "value", [CANARY, f"'{CANARY}'", f"${{NOPE:-{CANARY}}}", f"{CANARY[:3]}${{REST}}", "'sk-canary-1234567890'"]
)
def test_a_key_in_plain_text_is_answered_with_the_line_to_paste_and_never_repeated(value: str) -> None:
    text = f'{PROVIDER}keys:\n  - name: k\n    models: ["*"]\n    key: {value}\n'
    digest = "sha256:" + hashlib.sha256(CANARY.encode()).hexdigest()
    with pytest.raises(ConfigError) as refused:
        parsed(text, {"REST": CANARY[3:]})
    assert [str(problem) for problem in refused.value.problems] == [
        f'line 7, keys[0].key: is a secret in plain text; write hash: "{digest}" instead'
    ]
    assert "canary" not in f"{refused.value} {refused.value!r}"
    (key,) = parsed(re.sub(r"    key: .*", f'    hash: "{digest}"', text)).keys
    assert key.digest == hashlib.sha256(CANARY.encode()).digest(), "the pasted line is the same key"


def test_a_number_is_a_key_in_plain_text_as_it_stands_in_the_file() -> None:
    digest = hashlib.sha256(b"0123456").hexdigest()
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], key: 0123456}}]\n") == [
        f'line 4, keys[0].key: is a secret in plain text; write hash: "sha256:{digest}" instead'
    ]


@pytest.mark.parametrize(
    ("value", "environ", "problem"),
    [
        ("''", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("'${K:-}'", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("[sk-canary]", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("{sk-canary: x}", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        (
            "'${K}'",
            {"K": "sk-canary\n"},
            "must be printable ASCII without blanks around it, because it is sent in a header",
        ),
        (
            "'${K}'",
            {"K": "sk-canary钥"},
            "must be printable ASCII without blanks around it, because it is sent in a header",
        ),
    ],
)
def test_a_key_that_no_client_could_send_is_refused(value: str, environ: Mapping[str, str], problem: str) -> None:
    text = f"{PROVIDER}keys: [{{name: k, models: [], key: {value}}}]\n"
    assert problems_of(text, environ) == [f"line 4, keys[0].key: {problem}"]


@pytest.mark.parametrize(
    "value",
    ["sk-canary", "0a" * 32, f"SHA256:{'0a' * 32}", f"sha256:{'0a' * 31}", f"sha256:{'0a' * 33}", "5", "[x]", "''"],
)
def test_a_hash_that_is_none_is_answered_with_the_command_that_makes_one(value: str) -> None:
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], hash: {value}}}]\n") == [
        'line 4, keys[0].hash: must be "sha256:" and 64 hexadecimal digits; this prints them: '
        'printf %s "$KEY" | sha256sum'
    ]


def test_names_and_keys_stand_once() -> None:
    text = f"""\
{PROVIDER}keys:
  - {{name: a, hash: "{DIGEST}", models: []}}
  - {{name: b, hash: "{DIGEST.replace("0a", "0A")}", models: []}}
  - {{name: a, hash: "{OTHER_DIGEST}", models: []}}
  - {{name: c, key: "${{CI_KEY}}", models: []}}
  - {{name: d, hash: "sha256:{hashlib.sha256(CANARY.encode()).hexdigest()}", models: []}}
"""
    assert problems_of(text) == [
        "line 6, keys[1]: is the same key as keys[0]; give each its own",
        "line 7, keys[2].name: 'a' stands here a second time; names are unique",
        "line 9, keys[4]: is the same key as keys[3]; give each its own",
    ]


def test_rules_that_only_forbid_are_a_warning() -> None:
    config = parsed(f"groups:\n  default: {{models: ['!a']}}\n  staff: {{models: []}}\n{KEY}    models: ['!a', '!b']\n")
    assert config.warnings == (
        'config.yaml, line 2: group default has only `!` rules and sees nothing; add "*" to see the rest',
        'config.yaml, line 10: key k has only `!` rules and sees nothing; add "*" to see the rest',
    )


def test_a_provider_in_brackets_is_a_misspelt_name() -> None:
    text = f"{PROVIDER}groups: {{default: {{models: ['*', '!provider:[a]']}}}}\n"
    assert problems_of(text) == ["line 4, groups.default.models[1]: no such provider"]


def test_ten_thousand_keys_are_read_in_good_time(capsys: pytest.CaptureFixture[str]) -> None:
    keys = "".join(f'  - {{name: k{n}, hash: "sha256:{n:064x}", group: staff}}\n' for n in range(10_000))
    text = f"groups: {{staff: {{models: ['*']}}}}\n{PROVIDER}keys:\n{keys}"
    began = time.process_time()
    config = parsed(text)
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f" [10,000 keys: {seconds:.2f} s of CPU] ", end="")
    assert len(config.keys) == 10_000


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        pytest.param("!provider:lb", "no such provider; did you mean 'lab'?", id="a provider that is not there"),
        pytest.param("!onwer:x", "begins with an unknown word; did you mean 'owner:x'?", id="a misspelt word"),
        pytest.param("!Provider:lab", "begins with an unknown word; did you mean 'provider:lab'?", id="capitals"),
        pytest.param("!owner: x", "must not hold a blank behind `!` or around `:`", id="a blank behind the colon"),
        pytest.param("! secret-*", "must not hold a blank behind `!` or around `:`", id="a blank behind the !"),
        pytest.param("gpt-* ", "must not hold a blank behind `!` or around `:`", id="a blank at the end"),
        pytest.param("!", "names nothing", id="nothing behind the !"),
        pytest.param("owner:", "names nothing", id="nothing behind the colon"),
    ],
)
def test_a_misspelt_rule_is_refused_since_it_would_show_what_it_should_hide(rule: str, problem: str) -> None:
    text = f"""providers:
  - {{name: lab, kind: static, models: [{{id: m}}]}}
groups:
  default:
    models: ["*", "{rule}"]
"""
    assert problems_of(text) == [f"line 5, groups.default.models[1]: {problem}"]


@pytest.mark.parametrize("rule", ["llama3:8b", "!a:*", "provider:la*", "!provider:lab", "owner:nobody-yet", "*: x"])
def test_a_rule_over_ids_with_colons_or_patterns_is_none_of_that(rule: str) -> None:
    text = 'providers: [{name: lab, kind: static, models: [{id: m}]}]\ngroups: {default: {models: ["%s"]}}'
    assert problems_of(text % rule) == []

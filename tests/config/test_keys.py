"""Groups and keys: access of keys and of requests without one, and every mistake in them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping

import pytest

from proxy.config import ConfigError, Key
from tests.config.outcomes import CANARY, DIGEST, KEY, LIST, NO_VALUE, OTHER_DIGEST, PROVIDER, parsed, problems_of

EXACTLY_ONE = 'must have exactly one of `hash: "sha256:..."`, `hashes: [...]` and `key: "${NAME}"`'


@pytest.mark.parametrize(
    ("access", "anonymous", "is_open"),
    [
        pytest.param("", ("*",), True, id="neither keys nor groups: open, all models"),
        pytest.param("groups: {default: {models: [m]}}\n", ("m",), True, id="only the default group: open, its rules"),
        pytest.param("groups: {default: {models: []}}\n", (), True, id="a default group without models"),
        pytest.param(f"keys: [{{name: k, hash: '{DIGEST}', models: []}}]\n", None, False, id="only keys: rejected"),
        pytest.param(
            f"groups: {{g: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', group: g}}]\n",
            None,
            False,
            id="keys and another group: rejected",
        ),
        pytest.param(
            f"groups: {{default: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', models: []}}]\n",
            ("m",),
            False,
            id="keys and a default group",
        ),
    ],
)
def test_requests_without_a_key_get_the_default_group(
    access: str, anonymous: tuple[str, ...] | None, is_open: bool
) -> None:
    config = parsed(access + PROVIDER)
    assert (config.anonymous and config.anonymous.models, config.is_open) == (anonymous, is_open)


@pytest.mark.parametrize(
    ("group", "anonymous", "key"),
    [
        pytest.param("", False, True, id="default: requests with a key can call"),
        pytest.param(", call: true", True, True, id="true: all can call"),
        pytest.param(", call: false", False, False, id="false: none can call"),
    ],
)
def test_call_setting_of_a_group_decides_who_can_call(group: str, anonymous: bool, key: bool) -> None:
    config = parsed(f"groups: {{default: {{models: ['*']{group}}}}}\n{KEY}    group: default\n")
    assert config.anonymous is not None
    assert (bool(config.anonymous.call), config.keys[0].may_call) == (anonymous, key)


def test_rules_of_a_key_override_those_of_its_group() -> None:
    groups = "groups: {staff: {models: ['*']}}\n"
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n").keys] == [("*",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: [m]\n").keys] == [("m",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: []\n").keys] == [()]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param(
            f"name: k, hash: '{DIGEST}'",
            ": has neither `group: ...` nor `models: [...]`; add one",
            id="without rules",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: ", f".models: {NO_VALUE}", id="models without a value"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: stuff", ".group: no such group; did you mean 'staff'?", id="typo"
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: x", ".group: no such group; defined groups: staff", id="no such group"
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', group: [staff]", ".group: must be a string", id="a list of groups"),
        pytest.param("name: k, models: []", f": {EXACTLY_ONE}", id="no key"),
        pytest.param(
            f"name: k, models: [], hash: '{DIGEST}', key: '${{CI_KEY}}'",
            f": {EXACTLY_ONE}",
            id="two keys",
        ),
        pytest.param(
            f"name: k, models: [], hash: '{DIGEST}', hashes: ['{OTHER_DIGEST}']",
            f": {EXACTLY_ONE}",
            id="a digest and a list of digests",
        ),
        pytest.param("name: k, models: [], hashes: []", ".hashes: must not be empty", id="no digest"),
        pytest.param(f"name: k, models: [], hashes: '{DIGEST}'", f".hashes: {LIST}", id="a single digest for a list"),
        pytest.param("name: k, models: [], hashes: ", f".hashes: {NO_VALUE}", id="empty hashes"),
        pytest.param(
            f"name: k, models: [], hashes: ['{DIGEST}', '{CANARY}']",
            '.hashes[1]: must be "sha256:" and 64 hexadecimal digits; to compute it: printf %s "$KEY" | sha256sum',
            id="a key in the list of digests",
        ),
        pytest.param(
            f"name: k, models: [], hashes: ['{DIGEST}', '{DIGEST.replace('0a', '0A')}']",
            ".hashes[1]: duplicate digest; remove one",
            id="a digest twice",
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
            ".expires: must be a valid date, like 2027-01-31; the key expires at the end of that day (UTC); "
            "found '2027-13-45'",
            id="an invalid date",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], expires: 2027-01-31 10:00:00",
            ".expires: must be a valid date, like 2027-01-31; the key expires at the end of that day (UTC); "
            "found '2027-01-31 10:00:00'",
            id="a date with a time",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], not_before: 2027-02-01, expires: 2027-01-31",
            ".not_before: is after `expires`, so the key is never valid",
            id="a first day after the last one",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], allowed_ips: [10.0.0.1/8]",
            ".allowed_ips[0]: must be a network such as 10.0.0.0/8, or an address; did you mean 10.0.0.0/8?; "
            "found '10.0.0.1/8'",
            id="an address with a netmask",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], allowed_ips: []",
            ".allowed_ips: must not be empty: remove it to allow the key from any address",
            id="no address",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: [], expires: ", f".expires: {NO_VALUE}", id="no date"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], admin: maybe",
            ".admin: must be true or false; found 'maybe'",
            id="not a boolean",
        ),
    ],
)
def test_mistake_in_a_key_is_one_problem_with_a_fix(key: str, problem: str) -> None:
    text = f"{PROVIDER}groups: {{staff: {{models: []}}}}\nkeys:\n  - {{{key}}}\n"
    assert problems_of(text) == [f"config.yaml:6: keys[0]{problem}"]


def test_unknown_group_is_a_problem_even_without_groups() -> None:
    assert problems_of(f"{KEY}    group: staff\n") == [
        "config.yaml:7: keys[0].group: no such group; defined groups: none"
    ]
    assert problems_of(f"groups: 5\n{KEY}    group: staff\n") == [
        "config.yaml:1: groups: must be a mapping of group names, like `staff: {models: [...]}`",
        "config.yaml:8: keys[0].group: no such group; defined groups: none",
    ]


@pytest.mark.parametrize(
    "value", [CANARY, f"'{CANARY}'", f"${{NOPE:-{CANARY}}}", f"{CANARY[:3]}${{REST}}", "'sk-canary-1234567890'"]
)
def test_plaintext_key_is_a_problem_with_the_hash_to_paste(value: str) -> None:
    text = f'{PROVIDER}keys:\n  - name: k\n    models: ["*"]\n    key: {value}\n'
    digest = "sha256:" + hashlib.sha256(CANARY.encode()).hexdigest()
    with pytest.raises(ConfigError) as rejected:
        parsed(text, {"REST": CANARY[3:]})
    assert [str(problem) for problem in rejected.value.problems] == [
        f'config.yaml:7: keys[0].key: is a plaintext secret; write hash: "{digest}" instead'
    ]
    assert "canary" not in f"{rejected.value} {rejected.value!r}"
    (key,) = parsed(re.sub(r"    key: .*", f'    hash: "{digest}"', text)).keys
    assert key.digests == (hashlib.sha256(CANARY.encode()).digest(),), "the pasted line is the same key"


def test_numeric_plaintext_key_is_hashed_as_written() -> None:
    digest = hashlib.sha256(b"0123456").hexdigest()
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], key: 0123456}}]\n") == [
        f'config.yaml:4: keys[0].key: is a plaintext secret; write hash: "sha256:{digest}" instead'
    ]


@pytest.mark.parametrize(
    ("value", "environ", "problem"),
    [
        ("''", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("'${K:-}'", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("$CI_KEY", {}, "variable without braces; write `${NAME}` instead of `$NAME`"),
        (
            "'${K}'",
            {"K": '"sk-canary"'},
            "must not begin or end with a quote; remove the quotes: they are part of the value",
        ),
        ("[sk-canary]", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("{sk-canary: x}", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        (
            "'${K}'",
            {"K": "sk-canary\n"},
            "must be printable ASCII without leading or trailing spaces, because it is sent in a header",
        ),
        (
            "'${K}'",
            {"K": "sk-canary钥"},
            "must be printable ASCII without leading or trailing spaces, because it is sent in a header",
        ),
    ],
)
def test_keys_that_clients_cannot_send_are_problems(value: str, environ: Mapping[str, str], problem: str) -> None:
    text = f"{PROVIDER}keys: [{{name: k, models: [], key: {value}}}]\n"
    assert problems_of(text, environ) == [f"config.yaml:4: keys[0].key: {problem}"]


@pytest.mark.parametrize(
    "value",
    ["sk-canary", "0a" * 32, f"SHA256:{'0a' * 32}", f"sha256:{'0a' * 31}", f"sha256:{'0a' * 33}", "5", "[x]", "''"],
)
def test_invalid_hash_is_a_problem_with_the_command_to_compute_it(value: str) -> None:
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], hash: {value}}}]\n") == [
        'config.yaml:4: keys[0].hash: must be "sha256:" and 64 hexadecimal digits; to compute it: printf %s "$KEY" '
        "| sha256sum"
    ]


def test_duplicate_names_and_keys_are_problems() -> None:
    text = f"""\
{PROVIDER}keys:
  - {{name: a, hash: "{DIGEST}", models: []}}
  - {{name: b, hash: "{DIGEST.replace("0a", "0A")}", models: []}}
  - {{name: a, hash: "{OTHER_DIGEST}", models: []}}
  - {{name: c, key: "${{CI_KEY}}", models: []}}
  - {{name: d, hash: "sha256:{hashlib.sha256(CANARY.encode()).hexdigest()}", models: []}}
"""
    assert problems_of(text) == [
        "config.yaml:6: keys[1]: is the same key as keys[0] at config.yaml:5; use a different key for each entry",
        "config.yaml:7: keys[2].name: duplicate name 'a', also at config.yaml:5; names must be unique",
        "config.yaml:9: keys[4]: is the same key as keys[3] at config.yaml:8; use a different key for each entry",
    ]


def test_several_digests_are_one_key_and_no_other_entry_can_have_one_of_them() -> None:
    entry = f"name: a, hashes: ['{DIGEST}', '{OTHER_DIGEST}'], models: [m]"
    digests = (bytes.fromhex("0a" * 32), bytes.fromhex("0b" * 32))
    assert parsed(f"{PROVIDER}keys: [{{{entry}}}]\n").keys == (Key(name="a", digests=digests, rules=("m",)),)
    text = f"{PROVIDER}keys:\n  - {{{entry}}}\n  - {{name: b, hash: '{OTHER_DIGEST}', models: []}}\n"
    assert problems_of(text) == [
        "config.yaml:6: keys[1]: is the same key as keys[0] at config.yaml:5; use a different key for each entry"
    ]


def test_only_deny_rules_are_a_warning() -> None:
    config = parsed(f"groups:\n  default: {{models: ['!a']}}\n  staff: {{models: []}}\n{KEY}    models: ['!a', '!b']\n")
    assert config.warnings == (
        "config.yaml:2: groups.default.models: group default has only deny rules (`!`), so it allows no model; "
        'add "*" to allow the rest',
        "config.yaml:10: keys[0].models: key k has only deny rules (`!`), so it allows no model; "
        'add "*" to allow the rest',
    )


ANONYMOUS = "requests without a key can still list the models of this group; remove it, or add `call: false` to keep it"


@pytest.mark.parametrize(
    ("group", "warnings"),
    [
        pytest.param("models: ['*']", (f"config.yaml:1: groups.default: {ANONYMOUS}",), id="after a first key"),
        pytest.param("models: ['*'], call: false", (), id="confirmed, list only"),
        pytest.param("models: ['*'], call: true", (), id="confirmed, with calls"),
        pytest.param("models: []", (), id="no models"),
    ],
)
def test_keys_with_a_default_group_are_a_warning(group: str, warnings: tuple[str, ...]) -> None:
    groups = f"groups: {{default: {{{group}}}}}\n"
    assert parsed(f"{groups}{KEY}    models: ['*']\n").warnings == warnings
    assert parsed(groups + PROVIDER).warnings == (), "without keys the group is expected"


def test_provider_rule_with_brackets_is_an_unknown_provider() -> None:
    text = f"{PROVIDER}groups: {{default: {{models: ['*', '!provider:[a]']}}}}\n"
    assert problems_of(text) == ["config.yaml:4: groups.default.models[1]: no such provider"]


def test_ten_thousand_keys_are_loaded(capsys: pytest.CaptureFixture[str]) -> None:
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
        pytest.param("!provider:lb", "no such provider; did you mean 'lab'?", id="an unknown provider"),
        pytest.param("!onwer:x", "unknown rule type; did you mean 'owner:x'?", id="a misspelled prefix"),
        pytest.param("!Provider:lab", "unknown rule type; did you mean 'provider:lab'?", id="upper case"),
        pytest.param(
            "!owner: x", "must not have spaces after `!`, around `:` or at the end", id="a space after the colon"
        ),
        pytest.param(
            "! secret-*", "must not have spaces after `!`, around `:` or at the end", id="a space after the !"
        ),
        pytest.param("gpt-* ", "must not have spaces after `!`, around `:` or at the end", id="a space at the end"),
        pytest.param("!", "has no pattern", id="nothing after the !"),
        pytest.param("owner:", "has no pattern", id="nothing after the colon"),
    ],
)
def test_misspelled_rule_is_a_problem(rule: str, problem: str) -> None:
    text = f"""providers:
  - {{name: lab, kind: static, models: [{{id: m}}]}}
groups:
  default:
    models: ["*", "{rule}"]
"""
    assert problems_of(text) == [f"config.yaml:5: groups.default.models[1]: {problem}"]


@pytest.mark.parametrize("rule", ["llama3:8b", "!a:*", "provider:la*", "!provider:lab", "owner:future-owner", "*: x"])
def test_rules_over_ids_with_colons_are_valid(rule: str) -> None:
    text = 'providers: [{name: lab, kind: static, models: [{id: m}]}]\ngroups: {default: {models: ["%s"]}}'
    assert problems_of(text % rule) == []

"""Checks across several settings of one provider: each mistake is one problem that says how to fix it."""

from __future__ import annotations

import pytest

from proxy.dialects import DIALECTS
from tests.config.outcomes import BEARER, CANARY, LIST, NO_VALUE, PAIRS, PROVIDER, QUOTES, STRING, parsed, problems_of

ONE_STAR = "a pattern needs exactly one `*` on both sides, like `claude-*: anthropic/claude-*`"
STATUSES = (
    "must be a list of status codes (400 to 599) and the names no_connection, stream_error, empty_stream and timeout, "
    "like [no_connection, 429, 503]"
)


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        pytest.param("api_keys: []", ["config.yaml:4: providers[0].api_keys: must not be empty"], id="no key"),
        pytest.param("api_keys: sk-canary", [f"config.yaml:4: providers[0].api_keys: {LIST}"], id="a string"),
        pytest.param("api_keys: [1]", [f"config.yaml:4: providers[0].api_keys[0]: {STRING}"], id="a number"),
        pytest.param(
            "api_keys: [Bearer sk-canary, sk-canary-2]",
            [f"config.yaml:4: providers[0].api_keys[0]: {BEARER}"],
            id="a prefix",
        ),
        pytest.param(
            "api_keys: [sk-1, '${NOPE}']",
            [
                "config.yaml:4: providers[0].api_keys[1]: environment variable NOPE is not set or empty; set it, or "
                "add a "
                "default: ${NOPE:-...}, or set `optional: true` for the provider"
            ],
            id="a variable that is not set",
        ),
        pytest.param(
            "api_keys: [sk-canary, sk-2, sk-canary]",
            ["config.yaml:4: providers[0].api_keys[2]: is the same key as providers[0].api_keys[0]; remove one"],
            id="a key twice",
        ),
        pytest.param(
            "api_keys_files: [f, g]",
            [
                "config.yaml:4: providers[0].api_keys_files[1]: is the same key as providers[0].api_keys_files[0]; "
                "remove one"
            ],
            id="a key in two files",
        ),
        pytest.param(
            "api_keys_files: [f, sk-canary]",
            ["config.yaml:4: providers[0].api_keys_files[1]: cannot be read: No such file or directory"],
            id="a key instead of a path",
        ),
        pytest.param(
            "{api_key: sk-1, api_keys: [sk-2], api_keys_files: [f]}",
            [
                "config.yaml:4: providers[0].api_keys: conflicts with api_key; set only one",
                "config.yaml:4: providers[0].api_keys_files: conflicts with api_key; set only one",
            ],
            id="several credentials",
        ),
        pytest.param(
            "{api_keys: [sk-1], key_strategy: random}",
            ["config.yaml:4: providers[0].key_strategy: must be 'order' or 'spread'; found 'random'"],
            id="an unknown strategy",
        ),
    ],
)
def test_mistakes_in_api_keys_are_problems(settings: str, problems: list[str]) -> None:
    own = settings.strip("{}")
    text = f"providers:\n  - name: a\n    base_url: http://h\n    <<: {{{own}}}\n"
    assert problems_of(text, files={"f": CANARY, "g": f"{CANARY}\n"}) == problems


def test_login_without_a_password_is_a_problem() -> None:
    text = (
        "providers: [{name: p, kind: pangu, base_url: 'http://h', workspace_id: w, model_ids: [m], "
        "iam: {url: 'https://i', domain: d, user: u, project: p}}]"
    )
    assert problems_of(text) == ["config.yaml:1: providers[0].iam.password: is missing; add `password: ...`"]


@pytest.mark.parametrize(
    ("providers", "problem"),
    [
        ("server: {}\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers:\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers: []\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers:\n  name: a\n  base_url: http://h\n", f"config.yaml:1: providers: {LIST}"),
        ("providers:\n  a: {base_url: http://h}\n", f"config.yaml:1: providers: {LIST}"),
        ("providers: http://h\n", f"config.yaml:1: providers: {LIST}"),
        ("providers:\n  - http://h\n", "config.yaml:2: providers[0]: must be a mapping that starts with `name: ...`"),
        ("providers:\n  -\n", "config.yaml:2: providers[0]: must be a mapping that starts with `name: ...`"),
        ("providers:\n  - base_url: http://h\n", "config.yaml:2: providers[0].name: is missing; add `name: ...`"),
        (
            "providers:\n  - name: 360\n    base_url: http://h\n",
            f"config.yaml:2: providers[0].name: {STRING}; found '360'",
        ),
        (
            "providers:\n  - name: on\n    base_url: http://h\n",
            f"config.yaml:2: providers[0].name: {STRING}; found 'on'",
        ),
        ("providers:\n  - name:\n    base_url: http://h\n", f"config.yaml:2: providers[0].name: {NO_VALUE}"),
        (
            "providers:\n  - name: a\n",
            "config.yaml:2: providers[0].base_url: is missing; add the URL of the provider's API, like https://api.example.com/v1",
        ),
        (
            f"{PROVIDER}  - name: a\n    base_url: http://i\n",
            "config.yaml:4: providers[1].name: duplicate name 'a', also at config.yaml:2; names must be unique",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n",
            "config.yaml:2: providers[0].models: is missing; kind static lists only the models declared there",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n    models: []\n",
            "config.yaml:4: providers[0].models: is missing; kind static lists only the models declared there",
        ),
    ],
)
def test_incomplete_provider_is_one_problem_with_a_fix(providers: str, problem: str) -> None:
    assert problems_of(providers) == [problem]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("base_ulr: http://h", "base_ulr: unknown setting; did you mean 'base_url'?"),
        ("duplicates: by_provider", "duplicates: unknown setting; it belongs under `merge`"),
        ("kind: openai\n    workspace_id: w", "workspace_id: is only supported by kind pangu"),
        ("include: '*'", f"include: {LIST}; found '*'"),
        ("exclude: {a: b}", f"exclude: {LIST}"),
        ("ttl: 5 min", "ttl: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found "
         "'5 min'"),
        ("max_body: 16MB", "max_body: must be a positive size, like 512KiB or 16MiB; "
         "found '16MB'"),
        ("extra_fields: some", "extra_fields: must be `all`, `none` or a list of field names; found 'some'"),
        ("extra_fields:", f"extra_fields: {NO_VALUE}"),
        ("api_key:", f"api_key: {NO_VALUE}"),
        ("api_key: ''", "api_key: is empty; set a value or remove it"),
        ("api_key: 1234567", f"api_key: {STRING}"),
        *(
            (f"headers: {{{name}: x}}", f"headers.{name}: invalid name: must not be a header that frames a request; "
             "remove it: the proxy sets it")
            for name in ("Connection", "TE", "Upgrade", "Expect")
        ),
        ("headers: {Content-Length: '5'}",
         "headers: invalid name: must not be a header that frames a request; remove it: the proxy sets it"),
        ("api_key_file: ''", "api_key_file: must not be empty"),
        ("kind: opnai", "kind: unknown kind; did you mean 'openai'?"),
        ("kind: bedlam", f"kind: unknown kind; valid kinds: {', '.join(DIALECTS)}"),
        ("kind: 7", f"kind: {STRING}; found '7'"),
        ("kind: [openai]", "kind: must be a string"),
        ("kind:", f"kind: {NO_VALUE}"),
        ("optional: maybe", "optional: must be true or false; found 'maybe'"),
        ("aliases: [a]", f"aliases: {PAIRS}"),
        ("aliases: {a: 5}", f"aliases.a: {STRING}; found '5'"),
        ("aliases: {a: }", f"aliases.a: {NO_VALUE}"),
        ("aliases: {'': a}", "aliases: invalid name: must not be empty"),
        ("aliases: {a: ''}", "aliases.a: must not be empty"),
        ("aliases: {'c-*': gpt-9}", f"aliases.c-*: {ONE_STAR}"),
        ("aliases: {c: 'gpt-*'}", f"aliases.c: {ONE_STAR}"),
        ("aliases: {'c-*-*': 'd-*-*'}", f"aliases.c-*-*: {ONE_STAR}"),
        ("aliases: {'c-?': 'd-?'}", "aliases.c-?: `?` is not supported in aliases; use one `*` on both sides"),
        ("accept: '*:online'", f"accept: {LIST}; found '*:online'"),
        ("speaks: [openai, grpc]", "speaks[1]: must be 'openai', 'anthropic', 'gemini' or 'ollama'; found 'grpc'"),
        ("speaks: [grpc]", "speaks[0]: must be 'openai', 'anthropic', 'gemini' or 'ollama'; found 'grpc'"),
        ("speaks: openai", f"speaks: {LIST}; found 'openai'"),
        ("speaks: []", "speaks: must not be empty"),
        ("call: false\n    speaks: [openai]",
         "speaks: has no effect: the models of this provider cannot be called; remove it, or set `call`"),
        ("call: false\n    accept: ['*']",
         "accept: has no effect: the models of this provider cannot be called; remove it, or set `call`"),
        ("list_aliases: some", "list_aliases: must be true or false; found 'some'"),
        ('prefix: "a\\n"', "prefix: must not contain control characters; found 'a\\n'"),
        ("kind: openai\n    iam: {url: 'https://i', domain: d, user: u, password: p, project: p}",
         "iam: is only supported by kind pangu; this provider has kind openai"),
        ("models: {id: m}", f"models: {LIST}"),
        ("models: [[m]]",
         "models[0]: must be an id in quotes, or a mapping like {id: my-model, context_length: 32768}"),
        ("models: [{id: m}, {owned_by: o}]",
         "models[1]: missing `id`; add `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: 5}]",
         "models[0]: id is not a string; add `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: ''}]",
         "models[0]: empty id; add `id: ...`, in quotes if it looks like a number"),
        ("call: true", "call: must be `false` or {base_url: ..., auth: ...}; found 'true'"),
        ("call: {}", "call.base_url: is missing; add `base_url: ...`"),
        ("call: {base_url: ftp://h}", "call.base_url: must be a URL like https://api.example.com/v1"),
        ("call: {base_url: http://h, ath: bearer}", "call.ath: unknown setting; did you mean 'auth'?"),
        ("call: {base_url: http://h, auth: x}", "call.auth: must be bearer, basic, none, {header: NAME} or "
         "{query: NAME}, with a NAME like X-Api-Key; found 'x'"),
        ("failover_on: 429", f"failover_on: {STATUSES}; found '429'"),
        ("failover_on: [200]", f"failover_on: {STATUSES}"),
        ("failover_on: [429, timeouts]", f"failover_on: {STATUSES}; did you mean 'timeout'?"),
        ("failover_on: [429, stream_errors]", f"failover_on: {STATUSES}; did you mean 'stream_error'?"),
        ("failover_to: owner", "failover_to: must be 'same_owner', 'listed' or 'any'; found 'owner'"),
        ("sse_keepalive: 3s", "sse_keepalive: unknown setting; it belongs under `server`"),
        ("headers: {X-Key: 'a', 'Auth orization': b}",
         "headers: invalid name: must be a valid HTTP header name; write `Name: value`, like `X-Team: platform`"),
        ("prefix: '${MY-PREFIX}'",
         "prefix: invalid variable reference; write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`"),
        ("api_key: $OPENAI_API_KEY", "api_key: variable without braces; write `${NAME}` instead of `$NAME`"),
        ("api_key: ${OPENAI_API_KEY:?}", "api_key: `${NAME:?}` is not supported; write `${NAME}`, which already fails "
         "if NAME is not set or empty"),
        ("api_key: Bearer sk-canary", f"api_key: {BEARER}"),
        ("api_key: '\"sk-canary\"'", f"api_key: {QUOTES}"),
        ("call: {base_url: 'http://h/v1/responses'}",
         "call.base_url: must not end with an endpoint; remove `/responses`: the proxy adds it"),
        ("max-stale: 1h", "`max-stale`: unknown setting; did you mean 'max_stale'?"),
    ],
)  # fmt: skip
def test_mistake_in_a_provider_is_one_problem_with_a_fix(setting: str, problem: str) -> None:
    line, shown = 4 + setting.count("\n"), "" if problem.startswith("`") else "."
    assert problems_of(f"{PROVIDER}    {setting}\n") == [f"config.yaml:{line}: providers[0]{shown or ': '}{problem}"]


def test_max_stale_shorter_than_ttl_is_a_warning() -> None:
    text = f"cache:\n  max_stale: 1m\n{PROVIDER}  - {{name: b, base_url: 'http://h', ttl: 30s}}\n"
    text += "  - {name: c, base_url: 'http://h', max_stale: 2m}\n"
    why = "max_stale is shorter than ttl: models expire before their list is refreshed"
    assert parsed(text).warnings == (
        f"config.yaml:2: cache.max_stale: {why}",
        f"config.yaml:7: providers[2].max_stale: {why}",
    )
    assert parsed(f"{PROVIDER}    ttl: 48h\n").warnings == (f"config.yaml:4: providers[0].ttl: {why}",)

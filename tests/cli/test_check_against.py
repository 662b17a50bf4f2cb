"""`check --against`: what a file changes in a running proxy, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import per_provider
from proxy.catalog.virtual import catalog_of
from proxy.config import parse
from proxy.cooperative import run_now
from proxy.store.overview import Lists, Views
from tests.cli.checks import run
from tests.fakes import answer_of, digest
from tests.processes import serving
from tests.providers.lists import lists
from tests.providers.scripted import FakeProvider, FakeProviders, replies

ADMIN = "sk-canary-of-the-admin"
ENV = {"MODELS_PROXY_KEY": ADMIN}


def text(first: FakeProvider, second: FakeProvider, more: str = "", keys: str = "", settings: str = "") -> str:
    return f"""
providers:
  - {{name: a, base_url: "{first.url}/v1"{settings}}}
  - {{name: b, base_url: "{second.url}/v1"}}
{more}
groups: {{default: {{models: ["m*"], call: false}}}}
keys:
  - {{name: admin, hash: "{digest(ADMIN)}", models: [], admin: true}}
{keys}
"""


def document(config: Path, file: str, url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(config, file, "--against", url, "--json", *arguments, env=ENV)
    assert "canary" not in result.output
    return result.exit_code, json.loads(result.stdout)


def test_the_same_file_has_no_differences(tmp_path: Path, upstreams: FakeProviders) -> None:
    first, second = upstreams.open(lists("m", "n")), upstreams.open(lists("m", {"id": "o", "created": 1700000000}))
    file = text(first, second, "models: [{id: smart, targets: [n, m]}]\nmerge: {ignore_case: true}")
    with serving(tmp_path / "running.yaml", file) as process:
        shown = run(tmp_path / "config.yaml", file, "--against", process.url, env=ENV)
        code, data = document(tmp_path / "config.yaml", file, process.url)

    assert (shown.exit_code, code, data["ok"], data["calls"]) == (0, 0, True, None)
    against = data["against"]
    generation = against["generation"]["file"]
    assert against == {
        "url": process.url,
        "same": True,
        "generation": {"running": generation, "file": generation},
        "not_compared": [],
        "models": {"added": [], "removed": [], "changed": []},
        "keys": {"added": [], "removed": [], "changed": []},
    }
    assert f"No differences from the running proxy at {process.url} (generation {generation})" in shown.stdout


def test_changed_models_and_keys_are_shown_and_the_exit_code_is_3(tmp_path: Path, upstreams: FakeProviders) -> None:
    first = upstreams.open(lists("m", {"id": "n", "owned_by": "lab", "context_length": 5}, "x"))
    second = upstreams.open(lists("m", "o"))
    alice, bob, eve = (
        f"  - {{name: {name}, hash: '{digest(name + '-made-up')}', models: " for name in ("al", "bo", "ev")
    )
    running = text(first, second, keys=f"{alice}['*']}}\n{bob}['provider:a']}}\n{eve}[o]}}")
    file = text(
        first,
        second,
        "models: [{id: smart, targets: [o]}]",
        f"{alice}['*', '!provider:a']}}\n{bob}['provider:a'], limits: {{requests: [5/m, 9/d]}}, "
        f"expires: 2099-01-31}}\n"
        f"  - {{name: new, hash: '{digest('new-made-up')}', models: []}}",
        ", exclude: [x], overrides: [{match: n, context_length: 6}]",
    )
    with serving(tmp_path / "running.yaml", running) as process:
        shown = run(tmp_path / "config.yaml", file, "--against", process.url, env=ENV)
        code, data = document(tmp_path / "config.yaml", file, process.url)

    assert (shown.exit_code, code, data["ok"]) == (3, 3, False)
    against = data["against"]
    generations = against["generation"]
    assert generations["running"] != generations["file"]
    assert against["models"] == {
        "added": ["smart"],
        "removed": ["x"],
        "changed": [{"id": "n", "fields": {"context_length": {"running": 5, "file": 6}}}],
    }
    assert against["keys"] == {
        "added": ["new"],
        "removed": ["ev"],
        "changed": [
            {
                "name": "al",
                "models": {"running": 4, "file": 3},
                "settings": {},
                "added": ["smart"],
                "removed": ["n", "x"],
                "rerouted": ["m"],
            },
            {
                "name": "bo",
                "models": {"running": 3, "file": 2},
                "settings": {
                    "expires": {"running": None, "file": "2099-01-31"},
                    "limits": {"running": [], "file": ["requests 5/m", "requests 9/d"]},
                },
                "added": [],
                "removed": ["x"],
                "rerouted": [],
            },
        ],
    }
    assert shown.stdout.partition("\nDifferences")[2] == (
        f" from the running proxy at {process.url} "
        f"(generation {generations['running']}, the file has {generations['file']})\n"
        "\n1 model added\n  smart\n"
        "\n1 model removed\n  x\n"
        "\n1 model changed\n  n: context_length 5 -> 6\n"
        "\n1 key added\n  new\n"
        "\n1 key removed\n  ev\n"
        "\n2 keys changed\n"
        "  al: 4 -> 3 models; added: smart; removed: n, x; from other providers: m\n"
        "  bo: 3 -> 2 models; removed: x; expires - -> 2099-01-31, "
        "limits - -> requests 5/m+requests 9/d\n"
    )


def test_the_order_of_providers_is_a_change_of_offers_and_owner(tmp_path: Path, upstreams: FakeProviders) -> None:
    first, second = upstreams.open(lists({"id": "m", "owned_by": "one"})), upstreams.open(lists("m"))
    running = text(first, second)
    a, b = (line for line in running.splitlines() if "base_url" in line)
    file = running.replace(f"{a}\n{b}", f"{b}\n{a}")
    with serving(tmp_path / "running.yaml", running) as process:
        code, data = document(tmp_path / "config.yaml", file, process.url)

    changed = data["against"]["models"]["changed"]
    assert (code, [model["id"] for model in changed]) == (3, ["m"])
    assert changed[0]["fields"]["offers"] == {"running": ["a", "b"], "file": ["b", "a"]}
    assert data["against"]["keys"]["changed"] == [
        {
            "name": "requests without an API key",
            "models": {"running": 1, "file": 1},
            "settings": {},
            "added": [],
            "removed": [],
            "rerouted": ["m"],
        }
    ]


def test_providers_without_a_list_on_one_side_are_not_compared(tmp_path: Path, upstreams: FakeProviders) -> None:
    away = '  - {name: away, base_url: "http://127.0.0.1:9/v1", api_key: "${ABSENT}", optional: true}'
    down = upstreams.open(replies({}, 500))
    first, second = upstreams.open(lists("m", "n")), upstreams.open(lists("o"))
    running = text(first, down).replace("groups:", f"{away.replace('${ABSENT}', 'sk-canary-x')}\ngroups:")
    file = (
        text(first, second).replace("groups:", f"{away}\ngroups:").replace("- {name: a,", "- {name: a, optional: true,")
    )
    with serving(
        tmp_path / "running.yaml", running.replace("sk-canary-x", "${PRESENT}"), env={"PRESENT": "k" * 9}
    ) as process:
        code, data = document(tmp_path / "config.yaml", file, process.url)
        first.script = replies({}, 500)
        failed, of_failed = document(tmp_path / "config.yaml", file, process.url)

    assert code == 0
    assert data["against"]["not_compared"] == [
        {"provider": "away", "reason": "skipped: ABSENT not set or empty"},
        {"provider": "b", "reason": "failing in the running proxy"},
    ]
    assert data["against"]["same"]
    reasons = {each["provider"]: each["reason"] for each in of_failed["against"]["not_compared"]}
    assert (failed, [*reasons], of_failed["against"]["same"]) == (0, ["a", "away", "b"], True)
    assert reasons["a"].startswith("failing: ")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "API key required (401); use --key-file or MODELS_PROXY_KEY"),
        ({"MODELS_PROXY_KEY": "sk-canary-wrong"}, "API key rejected (401): it is invalid or has expired"),
        ({"MODELS_PROXY_KEY": "plain-made-up"}, "This API key is not an admin key (`admin: true`). (403)"),
    ],
)
def test_without_an_admin_key_the_report_is_printed_and_the_exit_code_is_1(
    env: Mapping[str, str], message: str, tmp_path: Path, upstreams: FakeProviders
) -> None:
    provider = upstreams.open(lists("m"))
    file = text(provider, provider, keys=f"  - {{name: plain, hash: '{digest('plain-made-up')}', models: []}}")
    with serving(tmp_path / "running.yaml", file) as process:
        result = run(tmp_path / "config.yaml", file, "--against", process.url, env={"MODELS_PROXY_KEY": "", **env})

    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "canary" not in result.output


def test_a_server_that_does_not_respond_is_an_error(config: Path) -> None:
    file = "providers: [{name: lab, kind: static, models: [{id: m}]}]"
    result = run(config, file, "--against", "http://127.0.0.1:9", env={"MODELS_PROXY_KEY": ""})

    assert result.exit_code == 1
    assert "http://127.0.0.1:9/admin/catalog: connection refused" in result.stderr


RULES = st.lists(
    st.sampled_from(["*", "m*", "M1", "!m1", "smart", "provider:a", "!provider:b", "owner:o", "!n"]),
    max_size=4,
    unique=True,
)
LISTED = st.lists(st.sampled_from(["m1", "M1", "m2", "n", "smart"]), unique=True)


@settings(max_examples=150, deadline=None)
@given(RULES, RULES, LISTED, LISTED, st.booleans(), st.booleans())
def test_views_are_those_of_the_catalogs_and_digests_are_equal_exactly_for_equal_views(
    one: list[str], other: list[str], first: list[str], second: list[str], ignore_case: bool, virtual: bool
) -> None:
    config = parse(f"""
providers: [{{name: a, base_url: "http://h/a"}}, {{name: b, base_url: "http://h/b"}}]
merge: {{ignore_case: {str(ignore_case).lower()}}}
models: {"[{id: smart, targets: [m1, n]}]" if virtual else "[]"}
keys:
  - {{name: one, hash: "{digest("one-made-up")}", models: {one}}}
  - {{name: other, hash: "{digest("other-made-up")}", models: {other}}}
""")
    fetched = {"a": answer_of(*first), "b": answer_of(*({"id": each, "owned_by": "o"} for each in second))}
    offers = {each.name: tuple(per_provider(each, config)(fetched[each.name].entries)) for each in config.providers}
    shown = Lists(offers, {"a": "ok", "b": "ok"})
    of_config = Views(config, shown)
    keys = of_config.overview().keys
    views = [of_config.models_of(name) for name in ("one", "other")]
    assert views[0] is not None
    assert views[1] is not None

    catalogs = [run_now(catalog_of(shown.all(()), Policy(rules), config)).models for rules in (one, other)]
    listed = [[(model.id, [offer.provider for offer in model.offers]) for model in models] for models in catalogs]
    assert [[(m.id, [each.provider for each in m.offers]) for m in view.models] for view in views if view] == listed
    assert [key.models for key in keys] == [len(view.models) for view in views if view]
    assert (keys[0].digest == keys[1].digest) == (views[0].models == views[1].models)


def test_ten_thousand_models_and_a_thousand_keys_take_seconds() -> None:
    keys = "\n".join(
        f"  - {{name: k{n}, hash: '{digest(f'made-up-key-{n}')}', models: ['*', '!*-{n}', '!m-{n}*']}}"
        for n in range(1000)
    )
    config = parse(f'providers: [{{name: a, base_url: "http://h/a"}}]\nkeys:\n{keys}')
    entries = answer_of(*(f"m-{n}" for n in range(10_000))).entries
    shown = Lists({"a": tuple(per_provider(config.providers[0], config)(entries))}, {"a": "ok"})
    began = time.process_time()
    result = Views(config, shown).overview()

    assert len({key.digest for key in result.keys}) == 1000
    assert time.process_time() - began < 10

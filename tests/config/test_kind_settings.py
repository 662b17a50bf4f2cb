"""The kind of a provider, and the settings that only some kinds have."""

from __future__ import annotations

import pytest

from proxy.config import parse
from tests.config.outcomes import LIST, NO_VALUE, PAIRS, PROVIDER, STRING, problems_of

PANGU = """\
providers:
  - name: a
    kind: pangu
    base_url: http://h
"""
AZURE = PROVIDER + "    kind: azure\n    deployments: "


@pytest.mark.parametrize(
    ("value", "path"),
    [("true", "/openai/deployments"), ("'True'", "/openai/deployments"), ("false", "/openai/models"),
     ("'${ON}'", "/openai/deployments")],
)  # fmt: skip
def test_flag_of_a_kind_selects_its_list(value: str, path: str) -> None:
    (provider,) = parse(AZURE + value, environ={"ON": "true"}).providers
    assert provider.dialect.path == path


def test_params_apply_to_the_list_that_a_flag_selects() -> None:
    (provider,) = parse(AZURE + "true\n    params: {api-version: '2022-12-01'}").providers
    assert (provider.dialect.path, provider.dialect.params) == ("/openai/deployments", {"api-version": "2022-12-01"})


@pytest.mark.parametrize("value", ["maybe", "1", "[true]", "''"])
def test_flag_of_a_kind_is_true_or_false(value: str) -> None:
    (problem,) = problems_of(AZURE + value)
    assert problem.startswith("config.yaml:5: providers[0].deployments: must be true or false")


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        pytest.param(
            "",
            [
                "config.yaml:2: providers[0].model_ids: is missing; kind pangu requires it",
                "config.yaml:2: providers[0].workspace_id: is missing; kind pangu requires it",
            ],
            id="nothing",
        ),
        pytest.param(
            "    workspace_id:\n    model_ids: []\n",
            [
                "config.yaml:5: providers[0].workspace_id: is missing; kind pangu requires it",
                f"config.yaml:6: providers[0].model_ids: {LIST}; at least one entry is required",
            ],
            id="no values after the colons",
        ),
        pytest.param(
            "    workspace_id: ''\n    model_ids: [m, '', [x]]\n",
            [
                "config.yaml:5: providers[0].workspace_id: must be a non-empty string",
                "config.yaml:6: providers[0].model_ids[1]: must be a non-empty string",
                "config.yaml:6: providers[0].model_ids[2]: must be a non-empty string",
            ],
            id="empty strings, and a list in a list",
        ),
        pytest.param(
            "    workspce_id: w\n    workspace_id: w\n    model_ids: m\n",
            [
                "config.yaml:5: providers[0].workspce_id: unknown setting; did you mean 'workspace_id'?",
                f"config.yaml:7: providers[0].model_ids: {LIST}; at least one entry is required",
            ],
            id="a typo, and a string for a list",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    api_key: k\n    iam: {ulr: 'https://i', domain: d, user: u,"
            " password: , project: 5}\n",
            [
                "config.yaml:8: providers[0].iam: conflicts with api_key; set only one",
                f"config.yaml:8: providers[0].iam.password: {NO_VALUE}",
                f"config.yaml:8: providers[0].iam.project: {STRING}; found '5'",
                "config.yaml:8: providers[0].iam.ulr: unknown setting; did you mean 'url'?",
                "config.yaml:8: providers[0].iam.url: is missing; add `url: ...`",
            ],
            id="a login with mistakes, and a key",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    iam: u:p\n",
            [f"config.yaml:7: providers[0].iam: {PAIRS}"],
            id="no login",
        ),
    ],
)
def test_settings_of_a_kind_are_validated(settings: str, problems: list[str]) -> None:
    assert problems_of(PANGU + settings) == problems


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n"
            "    iam: {url: 'https://i', domain: d, user: u, password: p, project: p}\n",
            "`kind: pangu` is required by `workspace_id`, `model_ids`, `iam`",
            id="all settings of a kind",
        ),
        pytest.param("    list: {path: /c}\n", "`kind: custom` is required by `list`", id="a list"),
        pytest.param(
            "    account_id: x\n", "`kind: fireworks` or `kind: cloudflare` is required by `account_id`", id="two kinds"
        ),
    ],
)
def test_missing_kind_is_one_problem(settings: str, problem: str) -> None:
    assert problems_of(PROVIDER + settings) == [f"config.yaml:2: providers[0].kind: is missing; {problem}"]


def test_settings_of_several_kinds_are_problems_of_their_own() -> None:
    assert problems_of(f"{PROVIDER}    workspace_id: w\n    account_id: x\n") == [
        "config.yaml:4: providers[0].workspace_id: is only supported by kind pangu",
        "config.yaml:5: providers[0].account_id: is only supported by kind fireworks or cloudflare",
    ]

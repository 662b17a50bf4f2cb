"""The sections `models` and `routing`."""

from __future__ import annotations

import pytest

from proxy.config import ConfigError, parse
from proxy.config.hints import LIST

PROVIDERS = "providers: [{name: a, kind: static, models: [{id: m}]}]\n"
EXACT = "must be the exact id of a model; patterns are not supported"
STRATEGIES = "must be 'order', 'weighted' or 'least_busy'"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse(PROVIDERS + text)
    return [f"{problem.setting}: {problem.text}" for problem in error.value.problems]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "models: {id: v, targets: [m]}",
            [f"models: {LIST}"],
            id="a mapping",
        ),
        pytest.param("models: [{targets: [m]}]", ["models[0].id: is missing; add `id: ...`"], id="no id"),
        pytest.param("models: [{id: v}]", ["models[0].targets: is missing; add `targets: ...`"], id="no targets"),
        pytest.param("models: [{id: v, targets: []}]", ["models[0].targets: must not be empty"], id="empty targets"),
        pytest.param(
            "models: [{id: v, targets: ['gpt-*']}]",
            [f"models[0].targets[0]: {EXACT}; found 'gpt-*'"],
            id="a pattern as target",
        ),
        pytest.param(
            "models: [{id: 'v*', targets: [m]}]", [f"models[0].id: {EXACT}; found 'v*'"], id="a pattern as id"
        ),
        pytest.param(
            "models: [{id: v, targets: [m], strategy: random}]",
            [f"models[0].strategy: {STRATEGIES}; found 'random'"],
            id="an unknown strategy",
        ),
        pytest.param(
            "models: [{id: v, targets: [m]}, {id: v, targets: [n]}]",
            ["models[1].id: duplicate id 'v', also at config.yaml:2; ids must be unique"],
            id="a duplicate id",
        ),
        pytest.param(
            "models: [{id: v, targets: [m, m]}]",
            ["models[0].targets[1]: duplicate target 'm'; remove one"],
            id="a duplicate target",
        ),
        pytest.param(
            "models: [{id: v, targets: [w]}, {id: w, targets: [m]}]",
            [
                "models[0].targets[0]: is a virtual model; a target must be the id of a model that a provider lists",
            ],
            id="a virtual model as target",
        ),
        pytest.param("routing: [{strategy: order}]", ["routing[0].match: is missing; add `match: ...`"], id="no match"),
        pytest.param(
            "routing: [{match: 'm*'}]", ["routing[0].strategy: is missing; add `strategy: ...`"], id="no strategy"
        ),
        pytest.param(
            "routing: [{match: 'm*', strategy: busy}]",
            [f"routing[0].strategy: {STRATEGIES}; found 'busy'"],
            id="an unknown strategy of a rule",
        ),
    ],
)
def test_an_invalid_virtual_model_or_rule_is_a_problem(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


def test_a_virtual_model_can_have_the_id_of_its_target_which_it_replaces() -> None:
    [model] = parse(PROVIDERS + "models: [{id: m, targets: [m, n]}]").models
    assert (model.id, model.targets, model.strategy) == ("m", ("m", "n"), "order")


def test_brackets_in_a_pattern_of_a_rule_are_a_warning() -> None:
    [warning] = parse(PROVIDERS + "routing: [{match: 'o[0-9]', strategy: order}]").warnings
    assert warning.endswith(
        "routing[0].match[0]: `[` is matched literally; character classes like [0-9] are not supported"
    )


@pytest.mark.parametrize("weight", ["0", "1001", "1.5", "-1"])
def test_a_weight_is_a_whole_number_from_1_to_1000(weight: str) -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 1 to 1000"):
        parse(PROVIDERS.replace("kind: static", f"kind: static, weight: {weight}"))

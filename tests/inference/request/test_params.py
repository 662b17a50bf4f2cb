"""Parameters that the operator changes for a model: every other byte of the request stays."""

from __future__ import annotations

import json

import pytest

from proxy.config.overrides import Override
from proxy.cooperative import run_now
from proxy.errors import BadRequest
from proxy.inference.request.params import ParamOverrides

RENAME = Override(("m",), rename_params={"max_tokens": "max_completion_tokens"})
DROP = Override(("m",), drop_params=("temperature", "top_p"))
SET = Override(("m",), set_params={"seed": 7, "reasoning": {"effort": "low", "tags": ["é", None]}})


def changed(body: str, *overrides: Override, model: str = "m") -> str:
    return run_now(ParamOverrides(overrides).applied(body.encode(), model)).decode()


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('{"model":"m","max_tokens":5}', '{"model":"m","max_completion_tokens":5}'),
        ('{ "max_tokens" :\t5 , "model":"m" }', '{ "max_completion_tokens" :\t5 , "model":"m" }'),
        (r'{"model":"m","max\u005ftokens":5}', '{"model":"m","max_completion_tokens":5}'),
        ('{"model":"m","metadata":{"max_tokens":"5"}}', '{"model":"m","metadata":{"max_tokens":"5"}}'),
        ('{"model":"m","Max_Tokens":5}', '{"model":"m","Max_Tokens":5}'),
        (
            '{"model":"m","max_completion_tokens":9,"max_tokens":5}',
            '{"model":"m","max_completion_tokens":9}',
        ),
    ],
    ids=["compact", "spaced", "an escaped name", "not within a field", "not in another case", "set under both names"],
)
def test_a_parameter_is_renamed(body: str, wanted: str) -> None:
    assert changed(body, RENAME) == wanted


def test_two_names_can_be_swapped() -> None:
    swap = Override(("m",), rename_params={"a": "b", "b": "a"})

    assert changed('{"model":"m","a":1,"b":2}', swap) == '{"model":"m","b":1,"a":2}'


def test_of_two_parameters_with_the_same_new_name_the_first_stays() -> None:
    both = Override(("m",), rename_params={"a": "c", "b": "c"})

    assert changed('{"model":"m","a":1,"b":2}', both) == '{"model":"m","c":1}'


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('{"model":"m","temperature":1,"n":2}', '{"model":"m","n":2}'),
        ('{"model":"m","temperature":1}', '{"model":"m"}'),
        ('{ "temperature": 1,\n "top_p": 2,\n "model": "m" }', '{ "model": "m" }'),
        (
            '{"model": "m", "messages": [ 1e2 , "\\ud83d" ], "top_p": 1 }',
            '{"model": "m", "messages": [ 1e2 , "\\ud83d" ] }',
        ),
    ],
    ids=["in the middle", "at the end", "at the start", "after a lone surrogate"],
)
def test_parameters_are_dropped(body: str, wanted: str) -> None:
    assert changed(body, DROP) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('{"model":"m"}', '{"model":"m","seed":7,"reasoning":{"effort":"low","tags":["é",null]}}'),
        (
            '{ "seed" : 12345678901234567890, "model": "m" }\n',
            '{ "seed" : 7, "model": "m","reasoning":{"effort":"low","tags":["é",null]} }\n',
        ),
    ],
    ids=["added", "replaced"],
)
def test_parameters_are_set(body: str, wanted: str) -> None:
    assert changed(body, SET) == wanted


def test_a_parameter_is_renamed_before_it_is_dropped_and_set() -> None:
    every = Override(
        ("m",), set_params={"b": 1}, drop_params=("c",), rename_params={"a": "b", "x": "c", "model_version": "d"}
    )

    assert changed('{"model":"m","a":5,"x":6,"model_version":7}', every) == '{"model":"m","b":1,"d":7}'


def test_overrides_of_the_model_are_applied_in_the_order_of_the_file() -> None:
    first = Override(("m*",), set_params={"a": 1, "b": 1})
    second = Override(("other",), set_params={"a": 2})
    third = Override(("*",), drop_params=("b",))

    assert changed('{"model":"m"}', first, second, third) == '{"model":"m","a":1}'


def test_other_models_and_overrides_of_fields_change_nothing() -> None:
    body = '{ "model" : "n", "max_tokens" : 5 }'

    assert changed(body, RENAME, DROP, SET, model="n") == body
    assert not ParamOverrides([Override(("*",), {"context_length": 5})])


def test_a_body_that_has_none_of_the_parameters_is_unchanged() -> None:
    body = '{ "model":"m" ,"messages": [{"role": "user", "content": "temperature"}] }'

    assert changed(body, RENAME, DROP) == body


def test_a_duplicate_parameter_is_rejected() -> None:
    with pytest.raises(BadRequest, match="The request body contains a duplicate field: `top_p`"):
        changed('{"model":"m","top_p":1,"top_p":2}', DROP)


@pytest.mark.parametrize(
    ("field", "new_name", "value"),
    [
        ("functions_of_us", "tools", [{"type": "image_generation", "model": "secret"}]),
        ("turns", "input", [{"type": "item_reference", "id": "msg_1"}]),
        ("extensions", "plugins", [{"id": "web", "model": "secret"}]),
        ("metadata", "search", {"file_ids": ["file-1"]}),
    ],
)
def test_what_the_changed_request_selects_or_refers_to_is_checked(field: str, new_name: str, value: object) -> None:
    body = json.dumps({"model": "m", field: value})
    with pytest.raises(BadRequest, match="it would select another model or refer to stored state"):
        changed(body, Override(("m",), rename_params={field: new_name}))


def test_a_request_that_refers_to_stored_state_by_itself_is_changed() -> None:
    body = '{"model":"m","previous_response_id":"resp_1","top_p":1}'

    assert changed(body, DROP) == '{"model":"m","previous_response_id":"resp_1"}'

"""Complete JSON responses with the requested model id instead of the provider's."""

from __future__ import annotations

import json

import pytest

from proxy.inference.response.rename import rename_model
from tests.inference.response.streams import IDS, OWN, PUBLIC, UNCHANGED


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        pytest.param('{"model":"gpt-4o"}', '{"model":"openai/gpt-4o"}', id="alone"),
        pytest.param(
            ' { "a" : 1 , "model" :\n"gpt-4o" } ', ' { "a" : 1 , "model" :\n"openai/gpt-4o" } ', id="whitespace"
        ),
        pytest.param('{"model":"gpt\\u002d4o"}', '{"model":"openai/gpt-4o"}', id="escaped"),
        pytest.param('{"mod\\u0065l":"gpt-4o"}', '{"mod\\u0065l":"openai/gpt-4o"}', id="an escaped name"),
        pytest.param(
            '{"x":"\\ud800","model":"gpt-4o"}', '{"x":"\\ud800","model":"openai/gpt-4o"}', id="a lone surrogate"
        ),
    ],
)
def test_the_model_of_a_response_becomes_the_requested_one(response: str, wanted: str) -> None:
    assert rename_model(response.encode(), OWN, PUBLIC)[0] == wanted.encode()
    assert rename_model(response.encode(), OWN, OWN)[0] == response.encode()


@pytest.mark.parametrize("response", UNCHANGED, ids=lambda response: response[:40])
def test_other_values_of_a_response_stay_unchanged(response: str) -> None:
    assert rename_model(response.encode(), OWN, PUBLIC)[0] == response.encode()


@pytest.mark.parametrize(("own", "written", "public"), IDS)
def test_ids_are_compared_decoded_and_encoded_as_json(own: str, written: str, public: str) -> None:
    response = f'{{"a":1,"model":"{written}","b":2}}'
    wanted = {"a": 1, "model": public, "b": 2}

    assert json.loads(rename_model(response.encode(), own, public)[0]) == wanted


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "x/y"])
def test_without_an_own_id_every_model_becomes_the_requested_one(model: str) -> None:
    response = b'{"model":"%b","choices":[{"model":"inner"}]}' % model.encode()

    assert rename_model(response, None, PUBLIC)[0] == response.replace(model.encode(), PUBLIC.encode())


@pytest.mark.parametrize("response", ['{"model":null}', '{"a":[{"model":"inner"}]}', '{"model":5}', "[]", "{"])
def test_without_an_own_id_what_is_no_model_stays_unchanged(response: str) -> None:
    assert rename_model(response.encode(), None, PUBLIC)[0] == response.encode()

"""Models and stored state in tools and other fields of a body."""

from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.guards import REFERENCE_STATE
from proxy.inference.request.json_body import JsonBody

STATE = [f'"{name}":"x"' for name in sorted(REFERENCE_STATE - {"agent"})] + [
    '"agent":{"name":"x","type":"agent_reference"}',
    '"conversation":{"id":"x"}',
    '"prompt":{"id":"pmpt_x"}',
    '"input":[{"type":"item_reference","id":"x"}]',
    '"input":[{"type":"item\\u005freference","id":"x"}]',
    '"tools":[{"type":"file_search","vector_store_ids":["x"]}]',
    '"tools":[{"type":"file_search","vector_\\u0073tore_ids":["x"]}]',
    '"tools":[{"type":"file_search","Vector_ſtore_idſ":["x"]}]',
    '"tools":[{"type":"code_interpreter","container":"x"}]',
    '"tools":[{"type":"code_interpreter","Container":"x","y":"\\ud800"}]',
]
NO_STATE = [
    '"previous_response_id":null',
    '"prompt":"a text"',
    '"prompt":["a text"]',
    '"input":"item_reference"',
    '"input":[{"role":"user","content":"\\u00e9 \\"container\\": \\"x\\""}]',
    '"input":["\\u00e9","model"]',
    '"input":[1,2,3]',
    '"input":[{"content":"a model","x":"\\ud800"}]',
    '"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]',
    '"tools":[{"type":"file_search","vector_store_ids":[]}]',
    '"tools":null',
]


@pytest.mark.parametrize(
    ("field", "refers"), [*((field, True) for field in STATE), *((field, False) for field in NO_STATE)]
)
def test_state_stored_for_an_account_is_recognized(field: str, refers: bool) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert (bool(body.references), body.models) == (refers, ("m",))


@pytest.mark.parametrize(
    ("field", "models"),
    [
        pytest.param('"tools":[{"type":"image_generation","model":"n"}]', ("n",), id="a tool"),
        pytest.param('"tools":[{"type":"image_generation","Model":"n"}]', ("n",), id="in another case"),
        pytest.param('"tools":[{"type":"image_generation","mod\\u0065l":"n"}]', ("n",), id="escaped"),
        pytest.param('"tools":[{"model":"n","x":"\\ud800"},{"model":"a\\ud83d\\ude00"}]', ("n", "a😀"), id="UTF-16"),
        pytest.param('"tools":[{"type":"y","parameters":{"model":"n"}}]', ("n",), id="nested in a tool"),
        pytest.param('"tools":[{"type":"y","p":[{"judge_model":"n","models":["o"]}]}]', ("n", "o"), id="nested deeper"),
        pytest.param('"tools":[{"type":"y","model":null}]', (), id="none"),
        pytest.param('"plugins":[{"id":"auto","allowed_models":["n","o"]}]', ("n", "o"), id="OpenRouter"),
        pytest.param('"providerOptions":{"gateway":{"models":["n"]}}', ("n",), id="Vercel"),
        pytest.param('"compound_custom":{"models":{"answering_model":"n"}}', ("n",), id="Groq"),
        pytest.param(
            '"tools":[{"type":"function","function":{"parameters":{"properties":{"model":{"enum":["n"]}}}}}]', (),
            id="a function's parameter",
        ),
        pytest.param('"tools":[{"name":"f","input_schema":{"default":{"model":"n"}}}]', (), id="Anthropic's schema"),
    ],
)  # fmt: skip
def test_models_selected_by_tools_are_found(field: str, models: tuple[str, ...]) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert body.models == ("m", *models)


@pytest.mark.parametrize(
    "field",
    ['"tools":[{"model":"n","model":"o"}]', '"tools":[{"model":"n","Model":"o"}]', '"tools":[{"model":1}]',
     '"tools":[{"model":{}}]', '"plugins":[{"model":"n","mod\\u0065l":"o"}]'],
)  # fmt: skip
def test_an_ambiguous_tool_is_rejected(field: str) -> None:
    with pytest.raises(BadRequest):
        JsonBody(f'{{"model":"m",{field}}}'.encode())

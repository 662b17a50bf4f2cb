"""`facts_style: all`: facts under the names that the clients of other servers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import per_provider
from proxy.catalog.virtual import catalog_of
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.dialects.facts import facts_of
from tests.dialects.test_facts import GATEWAYS
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, running
from tests.store.stores import ALL, store_of

pytestmark = pytest.mark.anyio

Fields = dict[str, Any]


def config(*settings: str, style: str = "all", more: str = "") -> Config:
    providers = "".join(
        f"  - {{name: {name}, base_url: 'http://h/v1'{text}}}\n"
        for name, text in zip("ab", settings or [""], strict=False)
    )
    return config_of(f"server: {{facts_style: {style}}}\n{more}\nproviders:\n{providers}")


def listed(config: Config, *lists: list[Mapping[str, object]]) -> dict[str, Fields]:
    """The fields of all models that a list shows, by id."""
    offers = [
        offer
        for provider, payloads in zip(config.providers, lists, strict=True)
        for offer in per_provider(provider, config)(answer_of(*payloads).entries)
    ]
    catalog = run_now(catalog_of(offers, Policy.of(["*"]), config))
    return {model.id: json.loads(model.offers[0].entry.extra) for model in catalog.models}


def shown(payload: Mapping[str, object], settings: str = "", style: str = "all") -> Fields:
    return listed(config(settings, style=style), [{"id": "m", **payload}])["m"]


# -- names -------------------------------------------------------------------------------------------------------------


def test_every_name_has_the_value_of_its_fact() -> None:
    payload = {
        "type": "llm",
        "context_length": 9000,
        "max_output_tokens": 700,
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
        "supports_tools": True,
        "supports_reasoning": True,
    }

    assert shown(payload) == {
        **payload,
        "type": "chat",
        "context_window": 9000,
        "max_model_len": 9000,
        "max_input_tokens": 9000,
        "max_completion_tokens": 700,
        "top_provider": {"context_length": 9000, "max_completion_tokens": 700},
        "meta": {"n_ctx": 9000},
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
        },
        "supported_parameters": ["tools", "tool_choice", "reasoning", "include_reasoning"],
        "capabilities": ["completion", "tools", "thinking", "vision"],
    }


@pytest.mark.parametrize(
    ("payload", "added"),
    [
        pytest.param({}, {}, id="nothing is known"),
        pytest.param({"type": "surprise"}, {}, id="an unknown type"),
        pytest.param({"type": "embedding"}, {"capabilities": ["embedding"]}, id="only a type"),
        pytest.param({"supports_tools": False}, {"supported_parameters": []}, id="no tools"),
        pytest.param(
            {"output_modalities": ["text"]},
            {"architecture": {"output_modalities": ["text"]}},
            id="one side of the modalities",
        ),
        pytest.param(
            {"max_output_tokens": 5},
            {"max_completion_tokens": 5, "top_provider": {"max_completion_tokens": 5}},
            id="only the output",
        ),
    ],
)
def test_names_of_unknown_facts_are_missing(payload: Fields, added: Fields) -> None:
    assert shown(payload) == payload | added


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"context_length": 9, "context_window": 8}, id="a number"),
        pytest.param({"context_length": 9, "top_provider": {"context_length": 8}}, id="a number within an object"),
        pytest.param({"context_length": 9, "top_provider": "acme"}, id="no object"),
        pytest.param({"context_length": 9, "meta": []}, id="an empty list"),
        pytest.param({"supports_tools": True, "supported_parameters": ["seed"]}, id="a list"),
        pytest.param({"supports_tools": True, "capabilities": {"function_calling": True}}, id="an object"),
    ],
)
def test_what_the_provider_sent_stays_as_it_sent_it(sent: Fields) -> None:
    def without(fields: Fields) -> Fields:
        return {name: fields[name] for name in sent}

    kept = {**sent, "top_provider": sent["top_provider"]} if "top_provider" in sent else sent
    assert without(shown(kept)) == kept


@pytest.mark.parametrize(("payload", "facts"), GATEWAYS)
def test_of_every_gateway_the_names_have_the_facts_or_what_it_sent(payload: Fields, facts: Fields) -> None:
    fields, plain = shown(payload), shown(payload, style="plain")

    assert {name: fields[name] for name in plain if name not in ("top_provider", "architecture", "meta")} == {
        name: value for name, value in plain.items() if name not in ("top_provider", "architecture", "meta")
    }
    names = {
        "context_length": ("context_window", "max_model_len", "max_input_tokens"),
        "max_output_tokens": ("max_completion_tokens",),
    }
    for fact, value in facts.items():
        for name in names.get(fact, ()):
            assert fields[name] == plain.get(name, value)


def test_the_plain_style_adds_nothing() -> None:
    payload = {"context_length": 9, "supports_tools": True, "type": "chat"}

    assert shown(payload, style="plain") == payload
    assert listed(config(style="plain"), [{"id": "gpt-4o"}]) == {"gpt-4o": {}}


# -- declared values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sent", "expected"),
    [
        pytest.param(
            ", overrides: [{match: m, context_length: 5}]",
            {
                "max_model_len": 9,
                "inputTokenLimit": 9,
                "top_provider": {"context_length": 9, "x": 1},
                "meta": {"n_ctx": 9},
            },
            {
                "context_length": 5,
                "context_window": 5,
                "max_model_len": 5,
                "max_input_tokens": 5,
                "top_provider": {"context_length": 5, "x": 1},
                "meta": {"n_ctx": 5},
            },
            id="a limit",
        ),
        pytest.param(
            ", overrides: [{match: m, context_length: null}]", {"max_model_len": 9, "x": 1}, {"x": 1}, id="no limit"
        ),
        pytest.param(
            ", overrides: [{match: m, supports_tools: false}]",
            {"supported_parameters": ["tools", "tool_choice", "seed"], "capabilities": ["completion", "tools"]},
            {"supports_tools": False, "supported_parameters": ["seed"], "type": "chat", "capabilities": ["completion"]},
            id="no tools",
        ),
        pytest.param(
            ", overrides: [{match: m, supports_tools: true}]",
            {"supported_parameters": ["seed"], "function_calling": False},
            {"supports_tools": True, "supported_parameters": ["seed", "tools"], "capabilities": ["tools"]},
            id="tools",
        ),
        pytest.param(
            ", overrides: [{match: m, supports_tools: true}]",
            {"tags": ["new"], "features": ["web"]},
            {
                "supports_tools": True,
                "tags": ["new"],
                "features": ["web"],
                "supported_parameters": ["tools", "tool_choice"],
                "capabilities": ["tools"],
            },
            id="tools, which tags need not name",
        ),
        pytest.param(
            ", overrides: [{match: m, input_modalities: [text]}]",
            {"architecture": {"input_modalities": ["text", "image"], "tokenizer": "x"}, "vision": True},
            {"input_modalities": ["text"], "architecture": {"tokenizer": "x", "input_modalities": ["text"]}},
            id="modalities",
        ),
        pytest.param(
            ", models: [{id: m, type: embedding}]",
            {"capabilities": ["completion"], "mode": "chat"},
            {"type": "embedding", "capabilities": ["embedding"]},
            id="a declared model",
        ),
    ],
)
def test_a_declared_value_replaces_every_name(settings: str, sent: Fields, expected: Fields) -> None:
    assert shown(sent, settings) == expected


@given(
    st.sampled_from(GATEWAYS).map(lambda param: param.values[0]),
    st.fixed_dictionaries(
        {},
        optional={
            "context_length": st.sampled_from([1, 2000]),
            "max_output_tokens": st.sampled_from([1, 2000]),
            "supports_tools": st.booleans(),
            "supports_reasoning": st.booleans(),
        },
    ).filter(bool),
)
def test_the_facts_of_a_shown_entry_are_the_declared_ones_under_any_name(payload: Any, declared: Fields) -> None:
    fields = shown(payload, f", overrides: [{{match: m, {json.dumps(declared)[1:-1]}}}]")

    for name, value in declared.items():
        others = {field: fields[field] for field in fields if field != name}
        assert facts_of(others).get(name, value) == value, name


# -- which models ------------------------------------------------------------------------------------------------------


def test_facts_of_another_offer_have_all_names_too() -> None:
    models = listed(config("", "", more="merge: {fill: true}"), [{"id": "m"}], [{"id": "m", "context_window": 9}])

    assert {name: models["m"][name] for name in ("context_length", "max_model_len")} == {
        "context_length": 9,
        "max_model_len": 9,
    }


def test_a_virtual_model_has_all_names_and_none_of_its_target() -> None:
    settings = config("", more="models: [{id: smart, targets: [m]}]")
    models = listed(settings, [{"id": "m", "context_length": 9, "meta": {"path": "secret-target"}}])

    assert models["smart"]["max_model_len"] == 9
    assert "secret-target" not in json.dumps(models["smart"])


async def test_a_name_that_is_not_listed_has_all_names(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "m:latest", "context_length": 9})
    text = "server: {facts_style: all}\nproviders: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]"
    async with running(store_of(text, fetch, clock)) as store:
        view = store.view(ALL)
        found, model = view.find("m"), view.find("m:latest")

        assert found
        assert model
        assert json.loads(view.rendered.object(found))["max_model_len"] == 9
        assert json.loads(view.rendered.object(model))["max_model_len"] == 9


async def test_a_changed_style_needs_no_fetch(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "m", "context_length": 9})
    text = "server: {facts_style: STYLE}\nproviders: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]"
    async with running(store_of(text.replace("STYLE", "plain"), fetch, clock)) as store:
        later = store_of(text.replace("STYLE", "all"), fetch, clock)
        before = store.view(ALL).rendered.identity
        store.hand_over()
        await later.inherit(store, [ALL], 1.0)

        assert b"max_model_len" not in before
        assert b'"max_model_len":9' in later.view(ALL).rendered.identity
        assert fetch.requests == {"a": 1}

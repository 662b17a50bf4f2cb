"""Virtual models: which offers they have, what is listed of them, and what they replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from proxy.access import Policy
from proxy.catalog import Catalog, Offer, per_provider
from proxy.catalog.virtual import catalog_of
from proxy.cooperative import run_now
from proxy.wire.openai import model_object
from tests.fakes import config_of, entry

Payload = str | Mapping[str, object]

GPT = {
    "id": "gpt-5",
    "created": 1_700_000_000,
    "owned_by": "openai",
    "root": "gpt-5-2025-08-07",
    "parent": "gpt",
    "display_name": "GPT-5",
    "description": "The fifth GPT",
    "context_length": 400_000,
    "canonical_slug": "openai/gpt-5-2025-08-07",
}
CLAUDE = {"id": "claude-opus-5", "created": 1_710_000_000, "owned_by": "anthropic", "context_length": 200_000}
SMART = "models: [{id: smart, targets: [gpt-5, claude-opus-5]}]"


def catalog(
    more: str, *lists: Sequence[Payload], rules: Sequence[str] = ("*",), settings: Sequence[str] = ("", "", "")
) -> Catalog:
    """The catalog of a policy. `more`: sections of the file; `lists` and `settings`: of the providers a, b and c."""
    providers = [
        f"  - {{name: {name}, base_url: 'http://127.0.0.1/{name}/v1'{text}}}"
        for name, text, _ in zip("abc", settings, lists, strict=False)
    ]
    config = config_of("\n".join(("providers:", *providers, more)))
    offers: list[Offer] = []
    for provider, payloads in zip(config.providers, lists, strict=True):
        offers += per_provider(provider, config)([entry(payload) for payload in payloads])
    return run_now(catalog_of(offers, Policy(rules), config))


def ids(catalog: Catalog) -> list[str]:
    return [model.id for model in catalog.models]


def offered(catalog: Catalog, model_id: str = "smart") -> list[tuple[str, str]]:
    """Provider and own id of each offer of a model."""
    model = catalog.find(model_id)
    return [(offer.provider, offer.entry.id) for offer in model.offers] if model else []


def test_a_virtual_model_has_the_offers_of_its_targets_in_their_order_and_of_each_in_the_order_of_providers() -> None:
    lists = ["claude-opus-5", "gpt-5"], ["gpt-5", "other"], ["claude-opus-5"]

    assert offered(catalog(SMART, *lists)) == [
        ("a", "gpt-5"),
        ("b", "gpt-5"),
        ("a", "claude-opus-5"),
        ("c", "claude-opus-5"),
    ]
    assert ids(catalog(SMART, *lists)) == ["claude-opus-5", "gpt-5", "other", "smart"]


def test_the_list_shows_the_owner_the_time_and_the_facts_of_the_first_target_but_no_name_of_it() -> None:
    model = catalog(SMART, [CLAUDE, GPT]).find("smart")
    assert model is not None

    shown = msgspec.json.decode(model_object(model))

    assert {name: shown[name] for name in shown if name != "permission"} == {
        "id": "smart",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "openai",
        "root": "smart",
        "parent": None,
        "context_length": 400_000,
    }
    assert b"gpt" not in model_object(model).lower()


def test_a_target_that_no_provider_lists_is_skipped() -> None:
    assert offered(catalog(SMART, ["claude-opus-5"])) == [("a", "claude-opus-5")]
    assert ids(catalog(SMART, ["other"])) == ["other"]


def test_a_target_at_providers_that_cannot_be_called_is_skipped() -> None:
    lists = [GPT], [CLAUDE]

    assert offered(catalog(SMART, *lists, settings=[", call: false", ""])) == [("b", "claude-opus-5")]
    assert ids(catalog(SMART, *lists, settings=[", call: false"] * 2)) == ["claude-opus-5", "gpt-5"]


def test_a_virtual_model_replaces_the_listed_model_with_its_id_and_can_target_it() -> None:
    replacing = catalog("models: [{id: gpt-5, targets: [gpt-5, claude-opus-5]}]", [GPT, CLAUDE])
    assert offered(replacing, "gpt-5") == [("a", "gpt-5"), ("a", "claude-opus-5")]

    other = catalog("models: [{id: gpt-5, targets: [claude-opus-5]}]", [GPT, CLAUDE])
    assert offered(other, "gpt-5") == [("a", "claude-opus-5")]


def test_a_listed_model_stays_replaced_where_the_virtual_model_is_not_allowed() -> None:
    text = "models: [{id: gpt-5, targets: [claude-opus-5]}]"

    assert ids(catalog(text, [GPT, CLAUDE], rules=["*", "!claude-*"])) == []


def test_targets_are_listed_ids_as_aliases_prefixes_and_duplicates_make_them() -> None:
    text = "merge: {duplicates: by_provider}\nmodels: [{id: smart, targets: [b/x/m, a/short]}]"
    settings = [", aliases: {short: very-long}", ", prefix: x/"]

    assert offered(catalog(text, ["very-long"], ["m"], settings=settings)) == [("b", "m"), ("a", "very-long")]


def test_a_virtual_id_as_a_target_means_the_listed_model_of_this_id() -> None:
    text = "models: [{id: m, targets: [m, n]}]"

    assert offered(catalog(text, ["m", "n"]), "m") == [("a", "m"), ("a", "n")]


def test_with_ignore_case_every_spelling_is_a_target_and_is_replaced() -> None:
    text = "merge: {ignore_case: true}\nmodels: [{id: GPT-5, targets: [Gpt-5, m]}]"
    lists = ["gpt-5", "m"], ["GPT-5"]

    assert ids(catalog(text, *lists)) == ["GPT-5", "m"]
    assert offered(catalog(text, *lists), "GPT-5") == [("a", "gpt-5"), ("b", "GPT-5"), ("a", "m")]


@pytest.mark.parametrize(
    ("rules", "providers"),
    [
        pytest.param(["*"], ["a", "b", "a"], id="everything"),
        pytest.param(["smart"], ["a", "b", "a"], id="its id alone"),
        pytest.param(["s*"], ["a", "b", "a"], id="a pattern that matches its id"),
        pytest.param(["gpt-5", "claude-*"], [], id="its targets alone"),
        pytest.param(["owner:*"], [], id="an owner alone"),
        pytest.param(["*", "!smart"], [], id="denied itself"),
        pytest.param(["*", "!SMART"], [], id="denied itself in other letters"),
        pytest.param(["smart", "!gpt-5"], ["a"], id="a denied target"),
        pytest.param(["smart", "!provider:a"], ["b"], id="a denied provider"),
        pytest.param(["smart", "!owner:anthropic"], ["a", "b"], id="a denied owner"),
        pytest.param(["smart", "!owner:*"], [], id="every target denied"),
        pytest.param(["s*", "provider:b"], ["b"], id="a pattern and a provider"),
        pytest.param(["smart", "provider:b"], ["a", "b", "a"], id="its exact id and a provider"),
        pytest.param(["*", "owner:anthropic"], ["a"], id="everything and an owner"),
        pytest.param(["s*", "owner:meta"], [], id="an owner of no target"),
    ],
)
def test_a_policy_decides_which_targets_a_virtual_model_has(rules: list[str], providers: list[str]) -> None:
    found = offered(catalog(SMART, [GPT, CLAUDE], ["gpt-5"], rules=rules))

    assert [provider for provider, _ in found] == providers


def test_the_facts_are_those_of_the_first_target_that_the_policy_allows() -> None:
    model = catalog(SMART, [GPT, CLAUDE], rules=["smart", "!gpt-*"]).find("smart")

    assert model is not None
    assert (model.owned_by, model.created, model.offers[0].entry.extra) == (
        "anthropic",
        1_710_000_000,
        b'{"context_length":200000}',
    )

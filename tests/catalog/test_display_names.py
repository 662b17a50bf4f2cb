"""Display names differ where the operator makes ids differ."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from proxy.catalog import merge, per_provider
from tests.fakes import config_of, entry


def names(merging: str, *providers: str, display_name: object = "GPT-5.5") -> Mapping[str, object]:
    """Id -> display name of all models, where each provider lists `gpt-5.5` with this display name."""
    lines = "".join(f"  - {{base_url: 'http://127.0.0.1/v1', {provider}}}\n" for provider in providers)
    config = config_of(f"merge: {{{merging}}}\nproviders:\n{lines}")
    listed = [entry({"id": "gpt-5.5", "owned_by": "openai", "display_name": display_name})]
    offers = [offer for provider in config.providers for offer in per_provider(provider, config)(listed)]
    models = merge(offers, lambda offer: True).models
    return {model.id: msgspec.json.decode(model.offers[0].entry.extra)["display_name"] for model in models}


@pytest.mark.parametrize(
    ("merging", "providers", "shown"),
    [
        pytest.param("", ["name: a"], {"gpt-5.5": "GPT-5.5"}, id="unchanged without settings"),
        pytest.param(
            "",
            ["name: a, prefix: work/", "name: b, prefix: home-"],
            {"work/gpt-5.5": "GPT-5.5 (work)", "home-gpt-5.5": "GPT-5.5 (home)"},
            id="prefix",
        ),
        pytest.param(
            "duplicates: by_provider",
            ["name: a", "name: b"],
            {"a/gpt-5.5": "GPT-5.5 (a)", "b/gpt-5.5": "GPT-5.5 (b)"},
            id="by_provider",
        ),
        pytest.param(
            "duplicates: by_provider",
            ["name: a, prefix: team/"],
            {"a/team/gpt-5.5": "GPT-5.5 (a/team)"},
            id="by_provider and prefix",
        ),
        pytest.param(
            "duplicates: by_owner",
            ["name: a", "name: b, owner: maker"],
            {"openai/gpt-5.5": "GPT-5.5 (openai)", "maker/gpt-5.5": "GPT-5.5 (maker)"},
            id="by_owner",
        ),
        pytest.param(
            "",
            ["name: a, aliases: {smart: gpt-5.5, best: gpt-5.5}"],
            {"smart": "GPT-5.5 (smart)", "best": "GPT-5.5 (best)"},
            id="aliases",
        ),
        pytest.param(
            "",
            ["name: a, prefix: work/, overrides: [{match: 'gpt-*', display_name: Ours}]"],
            {"work/gpt-5.5": "Ours"},
            id="not what the operator sets",
        ),
        pytest.param(
            "",
            ["name: a, prefix: work/, models: [{id: gpt-5.5, display_name: Ours}]"],
            {"work/gpt-5.5": "Ours"},
            id="not what the operator declares",
        ),
        pytest.param("", ["name: a, prefix: '-'"], {"-gpt-5.5": "GPT-5.5 (-gpt-5.5)"}, id="a separator alone"),
        pytest.param(
            "", ["name: a, aliases: {other: x}"], {"gpt-5.5": "GPT-5.5"}, id="unchanged with an alias of another"
        ),
    ],
)
def test_display_name_has_what_is_added_to_the_id(
    merging: str, providers: list[str], shown: Mapping[str, object]
) -> None:
    assert names(merging, *providers) == shown


@pytest.mark.parametrize("display_name", [None, "", 7])
def test_value_that_is_no_name_is_unchanged(display_name: object) -> None:
    assert names("", "name: a, prefix: work/", display_name=display_name) == {"work/gpt-5.5": display_name}


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        pytest.param("OpenAI: GPT-5.5", "OpenAI: GPT-5.5 (work)", id="words"),
        pytest.param("GPT-5.5", "GPT-5.5 (work)", id="capital letters"),
        pytest.param("gpt-5.5", "gpt-5.5", id="the id"),
        pytest.param("gpt-5.5-2026", "gpt-5.5-2026", id="another id"),
        pytest.param("OpenAI/gpt-5.5", "OpenAI/gpt-5.5", id="an id with a vendor"),
        pytest.param(None, None, id="null"),
    ],
)
def test_name_that_is_shown_by_clients_is_labeled_too(listed: object, shown: object) -> None:
    assert name_of("prefix: work/", listed) == shown


def test_name_that_the_operator_sets_is_unchanged() -> None:
    assert name_of("prefix: work/, overrides: [{match: '*', name: Our Model}]", "GPT 5.5") == "Our Model"


def name_of(settings: str, listed: object) -> object:
    config = config_of(f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', {settings}}}]")
    [offer] = per_provider(config.providers[0], config)([entry({"id": "gpt-5.5", "name": listed})])
    return msgspec.json.decode(offer.entry.extra)["name"]

"""docs/routing.md: the example calls what the table says."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import yaml

from proxy.access import Policy
from proxy.catalog import Catalog, Offer, per_provider
from proxy.catalog.virtual import catalog_of
from proxy.config import Config, parse
from proxy.cooperative import run_now
from tests.docs.pages import DOCS, blocks
from tests.fakes import entry

PAGE = DOCS / "routing.md"
LISTED = {
    "openai": ["gpt-5", "gpt-5-mini"],
    "anthropic": ["claude-opus-5"],
    "gpu-1": ["qwen3-32b"],
    "gpu-2": ["qwen3-32b"],
}
ROWS = re.findall(r"^\| (alice|bob|carol) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)


def example() -> Config:
    [text] = [block for block in blocks(PAGE, "yaml") if "providers" in yaml.safe_load(block)]
    names = re.findall(r"\$\{(\w+)\}", text)
    return parse(text, environ={name: f"sk-fake-{name}" for name in names})


def catalog_of_key(config: Config, name: str) -> Catalog:
    offers: list[Offer] = []
    for provider in config.providers:
        offers += per_provider(provider, config)([entry(model) for model in LISTED[provider.name]])
    [key] = [key for key in config.keys if key.name == name]
    return run_now(catalog_of(offers, Policy(key.rules), config))


def written(catalog: Catalog, model_id: str) -> str:
    """The offers of a model as the table writes them."""
    model = catalog.find(model_id)
    by_target: Mapping[str, list[str]] = {offer.entry.id: [] for offer in (model.offers if model else ())}
    for offer in model.offers if model else ():
        by_target[offer.entry.id].append(offer.provider)
    return ", ".join(f"`{own_id}` at {' and '.join(names)}" for own_id, names in by_target.items()) or "not listed"


@pytest.mark.parametrize(("key", "smart", "local"), ROWS)
def test_the_table_shows_what_each_key_of_the_example_calls(key: str, smart: str, local: str) -> None:
    catalog = catalog_of_key(example(), key)

    assert (written(catalog, "smart"), written(catalog, "local-or-cloud")) == (smart, local)


def test_the_table_has_a_row_for_each_key_of_the_example() -> None:
    assert [key for key, _, _ in ROWS] == [key.name for key in example().keys]

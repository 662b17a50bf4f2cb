"""metrics.md has the scrape configuration that ships, and examples that are valid."""

from __future__ import annotations

import yaml

from tests.docs.pages import DOCS, blocks
from tests.paths import ROOT

PAGE = DOCS / "metrics.md"


def test_the_scrape_configuration_is_the_shipped_one() -> None:
    (text,) = [block for block in blocks(PAGE, "yaml") if "scrape_configs" in block]
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    assert yaml.safe_load(text)["scrape_configs"] == shipped["scrape_configs"]

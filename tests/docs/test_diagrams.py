"""The committed diagrams are those that the script draws."""

from __future__ import annotations

import re

import pytest

from scripts.draw_diagrams import DOCS, pictures
from tests.test_layout import LAYERS


@pytest.mark.parametrize("name", pictures())
def test_a_diagram_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pictures()[name], "run `python -m scripts.draw_diagrams`"


@pytest.mark.parametrize("svg", pictures().values(), ids=list(pictures()))
def test_a_diagram_loads_nothing_and_is_readable_on_dark_pages(svg: str) -> None:
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme:dark" in svg
    assert 'role="img" aria-label="' in svg


def test_the_picture_of_layers_has_every_package() -> None:
    titles = re.findall(r'<text class="title"[^>]*>([^<]+)', pictures()["layers.svg"])
    assert sorted(titles) == sorted(name for layer in LAYERS for name in layer)

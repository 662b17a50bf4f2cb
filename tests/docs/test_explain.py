"""explain.md shows what `models-proxy explain` prints for its example, and names all fields of the JSON."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from proxy.explain.values import (
    AccessPart,
    CallPart,
    Calls,
    Effect,
    Explanation,
    Fact,
    LimitPart,
    Near,
    OfferPart,
    ProviderModel,
    ProviderPart,
    Reason,
    RulePart,
    Verdict,
)
from tests.docs.pages import DOCS, blocks, code, rows, section
from tests.explain.explaining import explained, text_of

PAGE = DOCS / "explain.md"
LISTED = {
    "openai": [
        {"id": "gpt-4o", "owned_by": "system", "created": 1715367049},
        {"id": "gpt-4o-preview", "owned_by": "system", "created": 1715367050},
    ],
    "azure": [{"id": "eastus-gpt-4o", "created": 1715368132, "max_completion_tokens": 16384}],
}


@pytest.mark.parametrize(("index", "model"), [(0, "gpt-4o"), (1, "GPT-4o-preview")])
def test_the_example_shows_what_the_command_prints(index: int, model: str) -> None:
    (configuration,) = blocks(PAGE, "yaml")

    assert blocks(PAGE, "text")[index] == text_of(explained(configuration, LISTED, model, "alice"))


def test_every_verdict_is_documented() -> None:
    assert [code(row[0])[0] for row in rows(section(PAGE, "Verdicts"))] == list(get_args(Verdict))


def test_every_field_of_the_json_is_documented() -> None:
    documented = [code(row[0])[0] for row in rows(section(PAGE, "HTTP API"))]

    assert documented == [field.name for field in msgspec.structs.fields(Explanation)]


@pytest.mark.parametrize(
    "part",
    [ProviderPart, ProviderModel, AccessPart, RulePart, LimitPart, OfferPart, Fact, Calls, CallPart, Near, Reason],
)
def test_every_field_of_its_objects_is_documented(part: type[msgspec.Struct]) -> None:
    documented = set(code(section(PAGE, "HTTP API")))

    assert {field.name for field in msgspec.structs.fields(part)} <= documented


def test_every_effect_is_documented() -> None:
    documented = code(section(PAGE, "HTTP API"))

    assert set(get_args(Effect)) <= set(documented)

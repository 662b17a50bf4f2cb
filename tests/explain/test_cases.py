"""Each decision that can be explained, with its reason, file and line: `cases.yaml`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from textwrap import dedent
from typing import Any

import pytest
import yaml

from proxy.catalog.bundled import bundled
from proxy.explain.calls import NoCalls
from tests.explain.explaining import NOW, explained, text_of
from tests.fakes import digest
from tests.paths import ROOT

CASES = yaml.safe_load((ROOT / "tests" / "explain" / "cases.yaml").read_text(encoding="utf-8"))


class _Calls(NoCalls):
    """The state of calls that a case describes."""

    def __init__(
        self,
        full: Collection[str] = (),
        open: Collection[str] = (),
        new: Mapping[str, Collection[str]] | None = None,
        loads: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(new)
        self._full, self._open, self._loads = full, open, loads or {}

    def load(self, provider: str) -> int:
        return self._loads.get(provider, 0)

    def is_full(self, provider: str) -> bool:
        return provider in self._full

    def rejection(self, provider: str, key: str, model: str) -> str:
        return "circuit breaker open; retry after 30 s" if provider in self._open else ""


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_decision_is_explained(case: Mapping[str, Any]) -> None:
    config = case["config"].replace("DIGEST", f'"{digest("the key k")}"')
    calls = _Calls(**case.get("calls", {}))
    text = text_of(explained(config, case["listed"], case["model"], case.get("key"), calls))

    expected = case["expected"]
    if "VERSION" in expected:
        expected = expected.replace("VERSION", bundled().label(NOW).removeprefix("genai-prices "))
    assert _section(text, case.get("section", "")) == expected


def _section(text: str, heading: str) -> str:
    """The lines below a heading; the whole text for "", the first line for `verdict`."""
    if not heading:
        return text
    if heading == "verdict":
        return text.partition("\n")[0] + "\n"
    lines = next(part for part in text.rstrip("\n").split("\n\n") if part.startswith(heading)).split("\n")[1:]
    return dedent("\n".join(lines)) + "\n"

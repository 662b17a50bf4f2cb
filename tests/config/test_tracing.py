"""The section `tracing`."""

from __future__ import annotations

import pytest

from tests.config.outcomes import PROVIDER, parsed, problems_of


@pytest.mark.parametrize(("written", "share"), [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("'0.5'", 0.5)])
def test_a_sample_is_a_share(written: str, share: float) -> None:
    assert parsed(f"tracing: {{sample: {written}}}\n{PROVIDER}").tracing.sample == share


@pytest.mark.parametrize("written", ["-0.1", "1.1", "''", "many", "[]", "{}", "true", ".nan", ".inf"])
def test_anything_else_is_a_problem(written: str) -> None:
    (problem,) = problems_of(f"tracing: {{sample: {written}}}\n{PROVIDER}")

    assert "tracing.sample: must be a number from 0 to 1" in problem


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318/v1/traces", "https://otel.example.com/x/v1/traces/"])
def test_an_endpoint_with_the_path_of_traces_is_a_problem(endpoint: str) -> None:
    (problem,) = problems_of(f"tracing: {{endpoint: '{endpoint}'}}\n{PROVIDER}")

    assert "tracing.endpoint: must not end in /v1/traces, which is added to it" in problem

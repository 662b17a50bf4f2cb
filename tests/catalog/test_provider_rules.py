"""The rules of a provider in steps: the same offers, and short steps whatever is selected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.catalog import per_provider
from proxy.cooperative import BATCH_SIZE, run_now
from proxy.dialects.entry import Entry
from tests.fakes import config_of, entry

LISTED = [entry({"id": f"model-{number}", "enabled": number % 7 == 0}) for number in range(500)]
LISTED += [entry({"id": "model-1", "enabled": True}), entry({"id": "declared", "enabled": False})]
DECLARED = "models: [{id: declared, owned_by: us}]"


@pytest.mark.parametrize(
    "settings",
    [
        "",
        f", {DECLARED}",
        f", {DECLARED}, where: [{{field: enabled, is: true}}]",
        ", exclude: ['model-1*'], prefix: lab/",
        ", include: [nothing]",
        ", where: [{field: enabled, is: maybe}]",
    ],
)
def test_offers_are_the_same_in_short_steps(settings: str) -> None:
    config = config_of(f'providers: [{{name: lab, base_url: "http://h/v1"{settings}}}]')
    rules = per_provider(config.providers[0], config)
    consumed = [0]

    def counted() -> Iterator[Entry]:
        for each in LISTED:
            consumed[-1] += 1
            yield each

    assert run_now(rules.in_steps(LISTED)) == tuple(rules(LISTED))
    if "models:" not in settings:  # those are looked for in the list, at once
        for _ in rules.in_steps(counted()):
            consumed.append(0)
        assert (max(consumed), sum(consumed)) == (BATCH_SIZE, len(LISTED))

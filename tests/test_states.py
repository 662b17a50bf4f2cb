"""One vocabulary for the states of providers: in the start table, `check`, `/health` and the documentation."""

from __future__ import annotations

from typing import get_args

import pytest

from proxy.cli.check_report import STATES
from proxy.states import CallState, ListState, Status
from tests.docs.pages import DOCS, section

PROBES = section(DOCS / "operations.md", "Probes")
LISTS, CALLS = get_args(ListState), get_args(CallState)


def test_check_has_a_style_for_every_state_of_a_list_except_stale_which_needs_an_earlier_list() -> None:
    assert {*STATES} == {*LISTS} - {"stale"}


@pytest.mark.parametrize("state", dict.fromkeys([*LISTS, *CALLS, *get_args(Status)]))
def test_the_documentation_of_probes_explains_every_state(state: str) -> None:
    assert f"`{state}`" in PROBES

"""The calls of a provider in several processes, as one."""

from __future__ import annotations

from typing import get_args

import pytest

from proxy.api import workers
from proxy.api.workers import merged_calls, packed_calls
from proxy.states import Calls, CallState, OpenCircuit


def of_all(*calls: Calls) -> Calls:
    return merged_calls([packed_calls({"lab": each}) for each in calls])["lab"]


def test_calls_in_progress_and_in_the_queue_are_added() -> None:
    assert of_all(Calls("ok", 3, 1), Calls("ok", 2, 0)) == Calls("ok", 5, 1, [])


def test_an_open_circuit_of_any_process_is_shown_once() -> None:
    circuit = OpenCircuit("gpt", None, "open")
    one = Calls("degraded", 0, 0, [circuit], account_rejected=True)
    assert of_all(one, Calls("ok"), one) == Calls("degraded", 0, 0, [circuit], account_rejected=True)


def test_a_provider_that_only_one_process_has_is_shown() -> None:
    assert merged_calls([packed_calls({"lab": Calls("ok")}), packed_calls({"new": Calls("open")})]) == {
        "lab": Calls("ok", 0, 0, []),
        "new": Calls("open", 0, 0, []),
    }


@pytest.mark.parametrize("state", get_args(CallState))
def test_every_state_has_a_place_in_the_order(state: CallState) -> None:
    assert state in workers._SEVERITY

"""A list that lost many models is accepted after several responses of similar length over `confirm_empty`."""

from __future__ import annotations

import pytest

from proxy.store.shrinkage import Shrinkage, shrinkage_after
from tests.fakes import config_of

(PROVIDER,) = config_of('providers: [{name: a, base_url: "http://127.0.0.1/v1", confirm_empty: 60s}]').providers
NORMALLY_EMPTY = PROVIDER.model_copy(update={"may_be_empty": True})


@pytest.mark.parametrize(
    ("before", "models", "is_accepted"),
    [
        pytest.param(0, 0, True, id="nothing after nothing"),
        pytest.param(2, 0, False, id="to nothing"),
        pytest.param(10, 4, False, id="by more than half"),
        pytest.param(10, 5, True, id="by half"),
        pytest.param(5, 1, True, id="from no more than five"),
        pytest.param(3, 9, True, id="grown"),
    ],
)
def test_list_that_shrinks_too_much_must_be_confirmed(before: int, models: int, is_accepted: bool) -> None:
    expected = None if is_accepted else Shrinkage(before, models, 7.0)

    assert shrinkage_after(PROVIDER, None, before, models, 7.0) == expected


@pytest.mark.parametrize(
    ("shrinkage", "models", "now", "after"),
    [
        pytest.param(Shrinkage(9, 0, 7.0, 1), 0, 8.0, Shrinkage(9, 0, 7.0, 2), id="the second response"),
        pytest.param(Shrinkage(9, 0, 7.0, 9), 0, 66.9, Shrinkage(9, 0, 7.0, 10), id="many responses, too early"),
        pytest.param(Shrinkage(9, 0, 7.0, 1), 0, 90.0, Shrinkage(9, 0, 7.0, 2), id="late enough, but only two"),
        pytest.param(Shrinkage(9, 0, 7.0, 2), 0, 67.0, None, id="three responses over confirm_empty"),
        pytest.param(Shrinkage(9, 4, 7.0, 9), 0, 90.0, Shrinkage(9, 0, 90.0), id="shorter again: from the beginning"),
        pytest.param(Shrinkage(9, 0, 7.0, 9), 4, 90.0, Shrinkage(9, 4, 90.0), id="longer again: from the beginning"),
        pytest.param(Shrinkage(9, 4, 7.0, 9), 3, 90.0, None, id="a similar length"),
        pytest.param(Shrinkage(9, 0, 7.0, 0), 0, 90.0, Shrinkage(9, 0, 90.0), id="after a failure: from the beginning"),
    ],
)
def test_shrinkage_is_confirmed_by_three_similar_responses_over_confirm_empty(
    shrinkage: Shrinkage, models: int, now: float, after: Shrinkage | None
) -> None:
    assert shrinkage_after(PROVIDER, shrinkage, 9, models, now) == after


def test_list_that_may_be_empty_is_accepted_at_once_but_not_if_it_shrinks() -> None:
    assert shrinkage_after(NORMALLY_EMPTY, None, 9, 0, 7.0) is None
    assert shrinkage_after(NORMALLY_EMPTY, None, 9, 1, 7.0) == Shrinkage(9, 1, 7.0)

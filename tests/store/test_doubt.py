"""A list that lost many models is believed after several responses of similar length over `confirm_empty`."""

from __future__ import annotations

import pytest

from proxy.store.doubt import Doubt, doubt_of
from tests.fakes import config_of

(PROVIDER,) = config_of('providers: [{name: a, base_url: "http://127.0.0.1/v1", confirm_empty: 60s}]').providers
NORMALLY_EMPTY = PROVIDER.model_copy(update={"may_be_empty": True})


@pytest.mark.parametrize(
    ("before", "models", "is_believed"),
    [
        pytest.param(0, 0, True, id="nothing after nothing"),
        pytest.param(2, 0, False, id="to nothing"),
        pytest.param(10, 4, False, id="by more than half"),
        pytest.param(10, 5, True, id="by half"),
        pytest.param(5, 1, True, id="from no more than five"),
        pytest.param(3, 9, True, id="grown"),
    ],
)
def test_list_is_doubted_if_it_shrinks_too_much(before: int, models: int, is_believed: bool) -> None:
    expected = None if is_believed else Doubt(before, models, 7.0)

    assert doubt_of(PROVIDER, None, before, models, 7.0) == expected


@pytest.mark.parametrize(
    ("doubt", "models", "now", "after"),
    [
        pytest.param(Doubt(9, 0, 7.0, 1), 0, 8.0, Doubt(9, 0, 7.0, 2), id="the second response"),
        pytest.param(Doubt(9, 0, 7.0, 9), 0, 66.9, Doubt(9, 0, 7.0, 10), id="many responses, too early"),
        pytest.param(Doubt(9, 0, 7.0, 1), 0, 90.0, Doubt(9, 0, 7.0, 2), id="late enough, but only two"),
        pytest.param(Doubt(9, 0, 7.0, 2), 0, 67.0, None, id="three responses over confirm_empty"),
        pytest.param(Doubt(9, 4, 7.0, 9), 0, 90.0, Doubt(9, 0, 90.0), id="shorter again: from the beginning"),
        pytest.param(Doubt(9, 0, 7.0, 9), 4, 90.0, Doubt(9, 4, 90.0), id="longer again: from the beginning"),
        pytest.param(Doubt(9, 4, 7.0, 9), 3, 90.0, None, id="a similar length"),
        pytest.param(Doubt(9, 0, 7.0, 0), 0, 90.0, Doubt(9, 0, 90.0), id="a failure in between: from the beginning"),
    ],
)
def test_doubt_ends_after_three_similar_responses_over_confirm_empty(
    doubt: Doubt, models: int, now: float, after: Doubt | None
) -> None:
    assert doubt_of(PROVIDER, doubt, 9, models, now) == after


def test_provider_that_may_be_empty_is_believed_at_once_but_not_if_it_shrinks() -> None:
    assert doubt_of(NORMALLY_EMPTY, None, 9, 0, 7.0) is None
    assert doubt_of(NORMALLY_EMPTY, None, 9, 1, 7.0) == Doubt(9, 1, 7.0)

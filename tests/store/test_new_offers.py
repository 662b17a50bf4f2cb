"""New ids of a provider that others list, too: they are logged, because failover could send it their prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.fakes import FakeClock, FakeFetch, running
from tests.store.stores import TWO, store_of

pytestmark = pytest.mark.anyio

NEW = "provider b now lists models that other providers list, too (see `failover_to`): "


async def logged(
    fetch: FakeFetch,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    *lists_of_b: Sequence[str],
    lists_of_a: Sequence[str] = ("m", "n"),
    text: str = TWO,
) -> list[str]:
    """The log lines after each of these lists was fetched from provider `b`."""
    fetch.lists("a", *lists_of_a)
    fetch.lists("b", *lists_of_b[0])
    async with running(store_of(text, fetch, clock)):
        for models in lists_of_b[1:]:
            fetch.lists("b", *models)
            await clock.advance(100)
    return [record.getMessage() for record in caplog.records]


async def test_new_id_that_another_provider_lists_is_logged_once(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    lists = [["x"], ["x", "m"], ["x", "m", "own"], ["x", "own"], ["x", "own", "m"]]
    assert await logged(fetch, clock, caplog, *lists) == [f"{NEW}m (a)"]


async def test_ids_of_the_first_list_are_not_new(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await logged(fetch, clock, caplog, ["m"], ["m", "own"]) == []


async def test_id_that_the_configuration_names_for_a_provider_is_not_new(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    text = TWO.replace('b/v1"', 'b/v1", accept: ["m*"]')
    assert await logged(fetch, clock, caplog, ["x"], ["x", "m"], text=text) == []


async def test_list_that_expired_and_returns_is_not_new(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fetch.lists("a", "m", "n")
    fetch.lists("b", "m")
    async with running(store_of(TWO, fetch, clock)):
        fetch.fails("b")
        await clock.advance(1100)
        fetch.lists("b", "m", "n")
        await clock.advance(100)
    assert [record.getMessage() for record in caplog.records] == [f"{NEW}n (a)"]


async def test_public_ids_are_compared_as_the_list_merges_them(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    text = TWO + "merge: {ignore_case: true}\n"
    assert await logged(fetch, clock, caplog, ["x"], ["x", "M"], text=text) == [f"{NEW}M (a)"]


async def test_provider_that_cannot_be_called_is_not_logged(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    text = TWO.replace('b/v1"', 'b/v1", call: false')
    assert await logged(fetch, clock, caplog, ["x"], ["x", "m"], text=text) == []


async def test_line_names_the_first_ids_and_the_number_of_the_others(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    many = [f"m{number:04}" for number in range(1500)]
    (line,) = await logged(fetch, clock, caplog, ["x"], ["x", *many], lists_of_a=many)
    assert line == f"{NEW}{', '.join(f'{model} (a)' for model in many[:10])} and 1,490 more"

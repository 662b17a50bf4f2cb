"""errors.md lists every error of the API and every kind of a list's error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from proxy.errors import ApiError, ListErrorKind
from tests.docs.pages import DOCS, rows, section

PAGE = DOCS / "errors.md"


def classes(base: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    yield base
    for error in base.__subclasses__():
        if error.__module__.startswith("proxy."):
            yield from classes(error)


def test_every_code_is_documented_with_its_statuses() -> None:
    documented = {(row[0].strip("`"), int(row[1])) for row in rows(section(PAGE, "Errors of the API"))}
    # The status of a relayed error is that of the provider; errors of the proxy have one status each.
    assert documented == {(error.code, error.status) for error in classes() if error.__name__ != "RelayedError"}


def test_every_kind_of_provider_error_is_documented_in_the_order_of_the_code() -> None:
    documented = [row[0].strip("`") for row in rows(section(PAGE, "Errors of providers"))]
    assert documented == [*get_args(ListErrorKind)]


def test_every_error_has_a_cause_and_a_remedy() -> None:
    for heading in ("Errors of the API", "Errors of providers"):
        assert all(all(cell for cell in row) for row in rows(section(PAGE, heading)))

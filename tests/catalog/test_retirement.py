"""`Deprecation` and `Sunset` of a model."""

from __future__ import annotations

import pytest

from proxy.catalog.retirement import retirement_headers
from proxy.dialects.entry import Entry
from proxy.wire.encoder import encode
from tests.fakes import entry

NOON = 1_800_000_000
SUNSET = (b"sunset", b"Fri, 15 Jan 2027 08:00:00 GMT")


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, []),
        ({"shutdown_at": NOON}, [(b"deprecation", b"@1800000000"), SUNSET]),
        ({"shutdown_at": NOON, "deprecated_at": NOON - 60}, [(b"deprecation", b"@1799999940"), SUNSET]),
        ({"shutdown_at": NOON, "deprecated_at": NOON + 60}, [(b"deprecation", b"@1800000000"), SUNSET]),
        ({"deprecated_at": NOON}, [(b"deprecation", b"@1800000000")]),
        ({"deprecated": True}, []),
        ({"shutdown_at": None}, []),
    ],
)
def test_headers_are_those_of_the_known_dates(fields: dict[str, object], headers: list[tuple[bytes, bytes]]) -> None:
    assert [*retirement_headers(entry({"id": "m", **fields}))] == headers


@pytest.mark.parametrize("value", ["soon", -1, 1e30, True, [], {"shutdown_at": 5}])
def test_other_values_are_no_dates(value: object) -> None:

    assert [*retirement_headers(Entry("m", extra=encode({"shutdown_at": value})))] == []

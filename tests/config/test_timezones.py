"""Names of time zones."""

from __future__ import annotations

from datetime import UTC

import pytest

from proxy.config.server import Server
from proxy.config.timezones import zone_of
from tests.config.outcomes import rejections


def test_utc_needs_no_database() -> None:
    assert Server().timezone == "UTC"
    assert zone_of("UTC") is UTC


def test_a_zone_is_that_of_the_iana_database() -> None:
    assert str(zone_of(Server(timezone="Asia/Kolkata").timezone)) == "Asia/Kolkata"


@pytest.mark.parametrize("name", ["", "Berlin", "../zoneinfo/UTC", "/etc/passwd", "Europe", "a\0b", "x" * 300])
def test_another_name_is_rejected(name: str) -> None:
    assert rejections(Server, timezone=name) == ["must be a time zone of this machine, like UTC or Europe/Berlin"]

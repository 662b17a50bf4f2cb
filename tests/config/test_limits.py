"""The section `server.limits`."""

from __future__ import annotations

import pytest

from proxy.config.limits import Limits
from proxy.config.server import Server
from tests.config.outcomes import rejections


def test_limits_have_defaults() -> None:
    assert Server().limits == Limits(
        header_timeout=10,
        body_timeout=60,
        body_rate=1024,
        body_memory=256 * 1024**2,
        write_timeout=60,
        keepalive_timeout=75,
        headers=32 * 1024,
        connections=10_000,
        connections_per_address=None,
    )


@pytest.mark.parametrize(
    ("value", "number"), [("off", None), (False, None), (None, None), (1, 1), (" 20 ", 20), (1_000_000, 1_000_000)]
)
def test_connections_per_address_is_off_or_a_number(value: object, number: int | None) -> None:
    assert Limits.model_validate({"connections_per_address": value}).connections_per_address == number


@pytest.mark.parametrize("value", [0, -1, 1_000_001, 1.5, "many", "", True, [1], "9" * 400, "\u0661"])
def test_other_values_of_connections_per_address_are_rejected(value: object) -> None:
    message = ["must be `off` or a whole number from 1 to 1000000"]
    assert rejections(Limits, connections_per_address=value) == message


def test_connections_is_a_number() -> None:
    assert rejections(Limits, connections="off") == ["must be a whole number from 1 to 1000000"]

"""`limits` and `group_limits`: rates, and the limits of a key and its group."""

from __future__ import annotations

import pytest

from proxy.config import ConfigError
from proxy.config.call_limits import CallLimits, Rate
from proxy.config.settings import Key
from tests.fakes import config_of, digest

CONFIG = """
providers: [{name: a, base_url: "http://127.0.0.1/v1"}]
groups: {staff: {models: ["*"], limits: {requests: [600/m, 10k/d], tokens: 2M/d}}}
keys: [{name: k, hash: "DIGEST", group: staff, limits: LIMITS}, {name: l, hash: "OTHER", group: staff}]
""".replace("DIGEST", digest("sk-canary-k")).replace("OTHER", digest("sk-canary-l"))
RATE = "must be a positive number per s, m, h, d or month, like 600/m or [600/m, 2M/d]"


def keys_with(limits: str) -> tuple[Key, ...]:
    return config_of(CONFIG.replace("LIMITS", limits)).keys


@pytest.mark.parametrize(
    ("written", "rates"),
    [
        ("600/m", (Rate(600, "m"),)),
        (
            "[1/s, 2k/h, 3M/d, 4G/month]",
            (Rate(1, "s"), Rate(2000, "h"), Rate(3_000_000, "d"), Rate(4 * 10**9, "month")),
        ),
        ('" 5 / m "', (Rate(5, "m"),)),
        ("[]", ()),
    ],
)
def test_rates_are_numbers_per_unit(written: str, rates: tuple[Rate, ...]) -> None:
    assert keys_with(f"{{requests: {written}}}")[0].limits == CallLimits(requests=rates, tokens=(Rate(2_000_000, "d"),))


@pytest.mark.parametrize("written", ["0/m", "-1/m", "600", "600/min", "1.5/s", "x/m", "9999999999999G/s", "{}"])
def test_anything_else_is_an_error(written: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keys_with(f"{{requests: {written}}}")
    assert [problem.setting for problem in caught.value.problems] == ["keys[0].limits.requests"]
    assert caught.value.problems[0].text.startswith(RATE)


def test_two_limits_with_the_same_unit_are_an_error() -> None:
    with pytest.raises(ConfigError, match="must not have two limits with the same unit; remove one"):
        keys_with("{tokens: [1/m, 2/m]}")


def test_a_key_has_its_own_limits_and_those_of_its_group_that_it_does_not_set() -> None:
    first, second = keys_with("{concurrent: 3, requests: 5/s}")
    assert first.limits == CallLimits(requests=(Rate(5, "s"),), tokens=(Rate(2_000_000, "d"),), concurrent=3)
    assert second.limits == CallLimits(requests=(Rate(600, "m"), Rate(10_000, "d")), tokens=(Rate(2_000_000, "d"),))


def test_a_key_can_lift_a_limit_of_its_group() -> None:
    assert keys_with("{requests: [], tokens: []}")[0].limits == CallLimits(requests=(), tokens=())


def test_equal_limits_of_many_keys_are_one_object() -> None:
    entries = ", ".join(
        f'{{name: k{n}, hash: "{digest(f"sk-canary-{n}")}", models: ["*"], limits: {{requests: 5/m}}}}'
        for n in range(3)
    )
    config = config_of(f'providers: [{{name: a, base_url: "http://127.0.0.1/v1"}}]\nkeys: [{entries}]')
    assert len({id(key.limits) for key in config.keys}) == 1


@pytest.mark.parametrize(
    ("limits", "needs"),
    [
        (CallLimits(requests=(Rate(1, "h"),), concurrent=1), False),
        (CallLimits(tokens=(Rate(1, "s"), Rate(1, "d"))), True),
        (CallLimits(list_requests=(Rate(1, "month"),)), True),
    ],
)
def test_days_and_months_need_a_store(limits: CallLimits, needs: bool) -> None:
    assert limits.needs_store is needs

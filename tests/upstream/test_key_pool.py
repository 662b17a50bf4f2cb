"""Pools of API keys: which key is selected, and how long a rejected one is not."""

from __future__ import annotations

import json

import pytest

from proxy.upstream.key_pool import (
    LIMITED_FOR,
    LISTS,
    MAX_CALL_COOL_DOWN,
    OURSELVES,
    REJECTED_FOR,
    KeyPool,
    Refusal,
)
from tests.fakes import FakeClock, config_of

pytestmark = pytest.mark.anyio

A, B, C = "sk-canary-a", "sk-canary-b", "sk-canary-c"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pool_of(clock: FakeClock, *keys: str, **settings: object) -> KeyPool:
    """A pool of these keys of a provider."""
    provider = {"name": "p", "base_url": "http://h", "api_keys": keys, **settings}
    return KeyPool(config_of(json.dumps({"providers": [provider]})).providers[0], clock)


def wait(pool: KeyPool, model: str, clock: FakeClock, caller: str | None = OURSELVES) -> float:
    """Seconds until a key can be used, 0 for now."""
    cooling = pool.cooling(model, caller)
    return cooling.until - clock.monotonic() if cooling else 0.0


def test_first_key_is_used_while_it_is_not_rejected(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    assert [pool.acquire("m") for _ in range(3)] == [A, A, A]


def test_spread_uses_each_key_in_turn(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B, C, key_strategy="spread")
    assert [pool.acquire("m") for _ in range(4)] == [A, B, C, A]
    pool.refused(C, Refusal(401, None), "m")
    assert [pool.acquire("m") for _ in range(4)] == [B, A, B, A]


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        pytest.param(Refusal(401, None), REJECTED_FOR, id="401"),
        pytest.param(Refusal(402, None), REJECTED_FOR, id="402"),
        pytest.param(Refusal(429, None), LIMITED_FOR, id="429"),
        pytest.param(Refusal(429, 40.0), 40.0, id="429 with Retry-After"),
        pytest.param(Refusal(429, 0.0), 1.0, id="429 with Retry-After: 0"),
        pytest.param(Refusal(429, 1e6), MAX_CALL_COOL_DOWN, id="429 with a long Retry-After"),
    ],
)
async def test_rejected_key_is_not_used_for_a_while(refusal: Refusal, seconds: float, clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, refusal, "m")
    await clock.advance(seconds - 0.1)
    assert pool.acquire("m") == B
    await clock.advance(0.1)
    assert pool.acquire("m") == A


def test_rate_limit_of_a_model_leaves_the_key_for_other_models(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, Refusal(429, 60.0), "m")
    assert [pool.acquire(model) for model in ("m", "other", LISTS)] == [B, A, A]


def test_rejected_key_is_used_for_no_model(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, Refusal(401, None), "m")
    assert [pool.acquire(model) for model in ("m", "other", LISTS)] == [B, B, B]


def test_pool_whose_keys_are_all_rejected_is_usable_when_the_first_cool_down_ends(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    assert wait(pool, "m", clock) == 0
    pool.refused(A, Refusal(401, None), "m")
    assert (wait(pool, "m", clock), pool.is_limited) == (0, False)
    pool.refused(B, Refusal(429, 40.0), "m")
    assert (pool.acquire("m"), wait(pool, "m", clock), wait(pool, "other", clock)) == (None, 40, 0)
    assert pool.is_limited


async def test_callers_are_told_what_the_provider_told_about_the_key_that_can_be_used_first(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, Refusal(429, 7200.0), "m", "alice")
    assert pool.told_wait("m", "alice") is None
    await clock.advance(10)
    pool.refused(B, Refusal(429, 900.0), "m", "alice")

    assert (pool.told_wait("m", "alice"), wait(pool, "m", clock, "alice")) == (900, MAX_CALL_COOL_DOWN - 10)


def test_refusal_of_one_caller_applies_to_this_caller(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, Refusal(402, None), "m", "alice")
    keys = [pool.acquire("m", caller=caller) for caller in ("alice", "bob", OURSELVES)]

    assert (keys, pool.acquire(LISTS)) == ([B, A, A], A)


@pytest.mark.parametrize("second", ["bob", OURSELVES])
def test_refusals_of_two_callers_apply_to_all(second: str | None, clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    pool.refused(A, Refusal(402, None), "m", "alice")
    pool.refused(A, Refusal(402, None), "other", second)

    assert [pool.acquire("m", caller=caller) for caller in ("alice", "bob", "carol", OURSELVES)] == [B, B, B, B]


async def test_state_of_a_pool_without_cool_downs_is_dropped(clock: FakeClock) -> None:
    pool = pool_of(clock, A)
    pool.limited("", "m", 30, "alice")
    assert (wait(pool, "m", clock, "alice"), wait(pool, "m", clock, "bob"), pool.is_limited) == (30, 0, True)
    await clock.advance(30)

    assert (wait(pool, "m", clock, "alice"), pool.is_limited, pool.cooldowns.has_any) == (0, False, False)


def test_only_key_is_used_although_it_was_rejected(clock: FakeClock) -> None:
    pool = pool_of(clock, A)
    pool.refused(A, Refusal(401, None), "m")
    pool.refused(A, Refusal(429, 60.0), "m")
    assert (pool.acquire("m"), wait(pool, "m", clock), pool.is_fixed) == (A, 0, True)


def test_keys_that_were_tried_are_not_selected_again(clock: FakeClock) -> None:
    pool = pool_of(clock, A, B)
    assert [pool.acquire("m", tried) for tried in ([], [A], [A, B])] == [A, B, None]

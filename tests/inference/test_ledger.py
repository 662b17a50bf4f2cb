"""The ids that each key received: who may reference them, for how long, and how many."""

from __future__ import annotations

import tracemalloc

import pytest

from proxy.config.identities import Identities
from proxy.inference.ledger import MAX_AGE, MAX_IDS, Ledger, Origin
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger(clock.monotonic, ("alice", "bob", "carol"))


def test_an_id_is_found_only_for_the_key_that_received_it(ledger: Ledger) -> None:
    origin = ledger.origin("a", "m")
    ledger.add("alice", "resp_1", origin)

    assert (ledger.find("alice", "resp_1"), ledger.provider_of("alice", "resp_1")) == (Origin("a", "m", 1000.0), "a")
    others = [("bob", "resp_1"), ("", "resp_1"), ("alice", "resp_2"), ("alice", "RESP_1"), ("alice", "")]
    assert [ledger.find(*other) for other in others] == [None] * 5
    assert {ledger.provider_of(*other) for other in others} == {""}


async def test_an_id_is_forgotten_after_a_day(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add("alice", "resp_1", ledger.origin("a", "m"))
    await clock.advance(MAX_AGE - 1)
    assert ledger.provider_of("alice", "resp_1") == "a"

    await clock.advance(1)
    assert ledger.provider_of("alice", "resp_1") == ""


async def test_an_id_that_arrives_again_is_kept_for_another_day(ledger: Ledger, clock: FakeClock) -> None:
    for number in range(3):
        ledger.add("alice", "resp_1", ledger.origin("a", "m"))
        ledger.add("alice", f"msg_{number}", ledger.origin("a", "m"))
        await clock.advance(MAX_AGE - 1)

    assert [ledger.provider_of("alice", each) for each in ("resp_1", "msg_2", "msg_1")] == ["a", "a", ""]


def test_the_oldest_ids_of_a_key_are_forgotten_beyond_the_limit_and_no_other_keys(ledger: Ledger) -> None:
    origin = ledger.origin("a", "m")
    ledger.add("bob", "resp_0", origin)
    for number in range(MAX_IDS + 2):
        ledger.add("alice", f"resp_{number}", origin)

    found = [ledger.provider_of("alice", f"resp_{number}") for number in (0, 1, 2, MAX_IDS + 1)]
    assert (found, ledger.provider_of("bob", "resp_0")) == (["", "", "a", "a"], "a")


def test_of_an_id_that_two_providers_returned_the_last_one_counts(ledger: Ledger) -> None:
    for provider in ("a", "b"):
        ledger.add("alice", "resp_1", ledger.origin(provider, "m"))

    assert ledger.provider_of("alice", "resp_1") == "b"


def test_a_deleted_id_is_forgotten_for_its_key_only(ledger: Ledger) -> None:
    for key in ("alice", "bob"):
        ledger.add(key, "resp_1", ledger.origin("a", "m"))
    for key in ("alice", "alice", "carol"):
        ledger.discard(key, "resp_1")

    assert [ledger.provider_of(key, "resp_1") for key in ("alice", "bob")] == ["", "a"]


def test_an_id_that_the_caller_has_written_is_recorded_only_if_the_key_had_received_it_before(ledger: Ledger) -> None:
    origin = ledger.origin("a", "m")
    ledger.record("alice", origin, lambda text: False, "cntr_1")
    for known in ("cntr_1", "cntr_of_bob"):
        ledger.record("alice", origin, lambda text: True, known)
    ledger.record("alice", ledger.origin("b", "m"), lambda text: True, "cntr_1")

    assert [ledger.provider_of("alice", each) for each in ("cntr_1", "cntr_of_bob")] == ["a", ""]


def test_an_id_takes_less_than_250_bytes(ledger: Ledger) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MAX_IDS):
            if number % 5 == 0:
                origin = ledger.origin("a", "m")
            ledger.add("alice", f"resp_{number:048d}", origin)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert used / MAX_IDS < 250


async def test_callers_whose_ids_are_old_take_no_memory(clock: FakeClock) -> None:
    ledger = Ledger(clock.monotonic, Identities((), ["header:"]))
    for number in range(1000):
        ledger.add(f"header:{number}", "resp_1", ledger.origin("a", "m"))
    await clock.advance(MAX_AGE - 1)
    ledger.add("header:0", "resp_2", ledger.origin("a", "m"))
    await clock.advance(1)
    ledger.add("header:new", "resp_1", ledger.origin("a", "m"))

    assert list(ledger._keys) == ["header:0", "header:new"]
    assert ledger.provider_of("header:0", "resp_2") == "a"


def test_ids_of_users_are_discarded_with_their_login(ledger: Ledger) -> None:
    ledger.limit_to(Identities((), ["jwt:https://login.example|"]))
    user = "jwt:https://login.example|u"
    ledger.add(user, "resp_1", ledger.origin("a", "m"))
    ledger.limit_to(Identities(["alice"], ["jwt:https://login.example|", "header:"]))
    assert ledger.provider_of(user, "resp_1") == "a"
    ledger.limit_to(Identities(["alice"], ["header:"]))

    assert ledger.provider_of(user, "resp_1") == ""

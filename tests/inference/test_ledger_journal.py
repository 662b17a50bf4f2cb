"""The ledger as bytes: its state after a restart."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.ledger import MAX_AGE, MAX_IDS, Ledger, Origin
from proxy.inference.ledger_journal import MAX_BUFFERED, LedgerJournal, compacted, encoded, replayed, tags_of
from tests.fakes import FakeClock, config_of, digest

NOW = 1_800_000_000.0
ALICE, BOB = (bytes([letter]) * 16 for letter in b"ab")
TAGS = {"alice": frozenset([b"alice-1", b"alice-2"]), "bob": frozenset([b"bob"])}
ORIGIN = Origin("a", "m", NOW - 10)


@pytest.fixture
def journal(clock: FakeClock) -> LedgerJournal:
    return LedgerJournal(TAGS, lambda seconds: seconds + clock.time() - clock.monotonic())


def test_ids_are_found_after_a_restart(clock: FakeClock, journal: LedgerJournal) -> None:
    ledger = Ledger(clock.monotonic, TAGS)
    ledger.observe(journal)
    ledger.add("alice", "resp_1", ledger.origin("a", "m"))
    ledger.add("bob", "resp_2", ledger.origin("b", "n"))
    ledger.add("alice", "resp_3", ledger.origin("a", "m"))
    ledger.discard("alice", "resp_3")
    state = replayed([journal.take()], TAGS, clock.time())
    later = Ledger(lambda: 0.0, TAGS)
    for key, ids in state.items():
        later.restore(key, {each: Origin(of.provider, of.model, of.at - clock.time()) for each, of in ids.items()})

    found = [later.find(*each) for each in (("alice", "resp_1"), ("bob", "resp_2"), ("alice", "resp_3"))]
    assert found == [Origin("a", "m", 0.0), Origin("b", "n", 0.0), None]
    assert (later.find("bob", "resp_1"), journal.take()) == (None, b"")


def test_what_this_process_has_recorded_counts_and_is_newer(clock: FakeClock) -> None:
    ledger = Ledger(clock.monotonic, ("alice",))
    ledger.add("alice", "resp_1", ledger.origin("new", "m"))
    before = Ledger(clock.monotonic, ("alice",))
    changes: dict[bytes, Origin] = {}

    class Observer:
        def added(self, key: str, digest: bytes, origin: Origin) -> None:
            changes[digest] = origin

        def discarded(self, key: str, digest: bytes) -> None: ...
        def key_discarded(self, key: str) -> None: ...

    before.observe(Observer())
    for number in range(MAX_IDS):
        before.add("alice", f"resp_{number}", before.origin("old", "m"))
    ledger.restore("alice", changes)
    ledger.restore("mallory", changes)

    assert [ledger.provider_of("alice", f"resp_{number}") for number in (0, 1, 2, MAX_IDS - 1)] == [
        "old", "new", "old", "old",
    ]  # fmt: skip
    assert ledger.provider_of("mallory", "resp_2") == ""


@pytest.mark.parametrize(
    ("tags", "is_restored"),
    [
        ({"alice": frozenset([b"alice-2", b"alice-3"])}, True),
        ({"alice": frozenset([b"another"])}, False),
        ({"alice": frozenset()}, False),
        ({"carol": frozenset([b"alice-1"])}, False),
    ],
)
def test_ids_are_those_of_a_name_and_one_of_its_secrets(tags: dict[str, frozenset[bytes]], is_restored: bool) -> None:
    data = encoded([("alice", ALICE, ORIGIN)], TAGS)

    assert bool(replayed([data], tags, NOW).get("alice")) == is_restored


def test_ids_of_a_key_that_was_removed_stay_forgotten_when_it_returns(clock: FakeClock, journal: LedgerJournal) -> None:
    ledger = Ledger(clock.monotonic, TAGS)
    ledger.observe(journal)
    ledger.add("alice", "resp_1", ledger.origin("a", "m"))
    first = journal.take()
    journal.configure({"bob": TAGS["bob"]})
    ledger.limit_to(["bob"])
    blocks = [first, journal.take()]

    assert replayed(blocks[:1], TAGS, clock.time()).keys() == {"alice"}
    assert replayed(blocks, TAGS, clock.time()) == {}


def test_old_ids_and_those_from_the_future_are_not_restored() -> None:
    times = {b"%016d" % number: at for number, at in enumerate([NOW - MAX_AGE, NOW - MAX_AGE + 1, NOW, NOW + 61])}
    data = encoded([("alice", each, Origin("a", "m", at)) for each, at in times.items()], TAGS)

    assert [*replayed([data], TAGS, NOW)["alice"]] == [b"%016d" % number for number in (1, 2)]


def test_number_of_ids_is_limited_and_the_newest_are_kept() -> None:
    data = encoded([("alice", b"%016d" % number, ORIGIN) for number in range(MAX_IDS + 2)], TAGS)
    ids = [*replayed([data], TAGS, NOW)["alice"]]

    assert (len(ids), ids[0]) == (MAX_IDS, b"%016d" % 2)


def test_state_is_the_same_after_it_was_compacted() -> None:
    changes = [("alice", b"%016d" % number, Origin("a", f"m{number % 3}", NOW - number)) for number in range(250)]
    state = replayed([encoded([*changes, ("bob", BOB, ORIGIN)], TAGS)], TAGS, NOW)
    blocks = [*compacted(state, TAGS, per_block=100)]

    assert len(blocks) == 3
    assert replayed(blocks, TAGS, NOW) == state


def test_buffer_is_limited(journal: LedgerJournal) -> None:
    for _ in range(MAX_BUFFERED + 1):
        journal.added("alice", ALICE, ORIGIN)

    assert len(msgspec.msgpack.decode(journal.take())[2]) == MAX_BUFFERED


def test_no_secret_is_in_the_bytes() -> None:
    config = config_of(
        f"keys: [{{name: alice, hash: '{digest('sk-fake-alice')}', models: ['*']}}]\n"
        "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]"
    )
    tags = tags_of(config.keys)
    data = encoded([("alice", ALICE, ORIGIN)], tags)

    assert config.keys[0].digests[0] not in data
    assert replayed([data], tags, NOW) == {"alice": {ALICE: ORIGIN}}


@given(st.binary(max_size=200))
def test_other_bytes_are_ignored(data: bytes) -> None:
    assert replayed([data], TAGS, NOW) in ({}, {"alice": {}})


VALID = encoded([("alice", ALICE, ORIGIN), ("bob", BOB, None), ("bob", b"", None)], TAGS)


@given(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=4))
def test_altered_bytes_raise_no_other_error(at: int, found: bytes) -> None:
    with suppress(RecursionError):
        replayed([VALID[:at] + found + VALID[at + len(found) :]], TAGS, NOW)


def test_ids_of_a_user_are_restored_for_the_same_user_only() -> None:
    user = "jwt:https://login.example|u"
    data = encoded([(user, ALICE, ORIGIN), ("header:u", BOB, ORIGIN)], {})

    assert replayed([data], {}, NOW) == {user: {ALICE: ORIGIN}, "header:u": {BOB: ORIGIN}}
    forged = data.replace(b"login.example|u", b"login.example|v")
    assert replayed([forged], {}, NOW) == {"header:u": {BOB: ORIGIN}}

"""The ids that a key received through one process, referenced through another one."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from proxy.config import Key
from proxy.config.identities import Identities
from proxy.inference.ledger import MAX_AGE, Ledger
from proxy.inference.shared_ids import MAX_LOOKED_UP, SharedId, SharedIds, secret_of_users
from tests.fakes import FakeClock, config_of
from tests.sharing.memory import Medium, SharedMemory

pytestmark = pytest.mark.anyio

ONE, TWO = b"1" * 32, b"2" * 32


def key(*digests: bytes, name: str = "alice") -> Key:
    return Key(name=name, digests=digests, rules=("*",), group=None, expires=None, admin=False, may_call=True)


@dataclass
class Process:
    medium: Medium
    clock: FakeClock
    keys: tuple[Key, ...] = (key(ONE), key(TWO, name="bob"))

    def __post_init__(self) -> None:
        self.ids = SharedIds(SharedMemory(self.medium), self.clock.time, MAX_AGE, self.keys)
        self.ledger = Ledger(self.clock.monotonic, [each.name for each in self.keys], self.ids)

    def add(self, name: str, *ids: str) -> None:
        for object_id in ids:
            self.ledger.add(name, object_id, self.ledger.origin("a", "m"))

    async def provider_of(self, name: str, object_id: str) -> str:
        await self.ledger.look_up(name, [object_id])
        return self.ledger.provider_of(name, object_id)


@pytest.fixture
def medium(clock: FakeClock) -> Medium:
    return Medium(clock)


async def test_an_id_is_found_by_every_process_for_the_key_that_received_it(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.add("alice", "resp_1")

    assert await two.provider_of("alice", "resp_1") == "a"
    assert [await two.provider_of(*each) for each in (("bob", "resp_1"), ("", "resp_1"), ("alice", "resp_2"))] == [
        ""
    ] * 3


async def test_an_id_keeps_its_age(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.add("alice", "resp_1")
    await clock.advance(MAX_AGE - 10)
    assert await two.provider_of("alice", "resp_1") == "a"
    await clock.advance(10)
    assert two.ledger.provider_of("alice", "resp_1") == ""


async def test_a_later_key_with_the_same_name_finds_nothing(medium: Medium, clock: FakeClock) -> None:
    Process(medium, clock).add("alice", "resp_1")

    assert await Process(medium, clock, (key(TWO),)).provider_of("alice", "resp_1") == ""


async def test_an_id_is_found_while_a_key_is_rotated_and_afterwards(medium: Medium, clock: FakeClock) -> None:
    Process(medium, clock, (key(ONE, TWO),)).add("alice", "resp_1")

    for digests in ((ONE,), (TWO,), (TWO, ONE)):
        assert await Process(medium, clock, (key(*digests),)).provider_of("alice", "resp_1") == "a"


async def test_a_deleted_id_is_deleted_for_all(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.add("alice", "resp_1")
    two.ledger.discard("alice", "resp_1")

    assert medium.records == {}
    assert await two.provider_of("alice", "resp_1") == ""


async def test_an_id_is_written_once_while_it_is_new(medium: Medium, clock: FakeClock) -> None:
    one = Process(medium, clock)
    one.add("alice", "resp_1")
    (name,) = medium.records
    medium.records[name] = b""
    one.add("alice", "resp_1", "resp_1")
    assert medium.records[name] == b""
    await clock.advance(MAX_AGE * 0.6)
    one.add("alice", "resp_1")
    assert medium.records[name] != b""


async def test_only_some_ids_of_a_request_are_looked_up(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    ids = [f"resp_{number}" for number in range(MAX_LOOKED_UP + 1)]
    one.add("alice", *ids)
    await two.ledger.look_up("alice", ids)

    assert [two.ledger.provider_of("alice", each) for each in ids] == ["a"] * MAX_LOOKED_UP + [""]


async def test_without_the_store_an_id_is_found_where_it_was_received(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.add("alice", "resp_1")
    medium.is_down = True

    assert await one.provider_of("alice", "resp_1") == "a"
    assert await two.provider_of("alice", "resp_1") == ""


async def test_foreign_values_are_ignored_and_reported_once(
    medium: Medium, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    one = Process(medium, clock)
    one.add("alice", "resp_1")
    (name,) = medium.records
    good = medium.records[name]
    other = msgspec.msgpack.encode(SharedId("b", "m", clock.time()))  # with the code of another value
    for value in (b"", b"foreign", good[:-1], good[1:], good[:16] + other):
        medium.records[name] = value
        assert await Process(medium, clock).provider_of("alice", "resp_1") == ""
    assert set(caplog.messages) == {"an id from the shared store was ignored: it is damaged or foreign"}


async def test_nothing_that_is_stored_names_a_key_or_an_id(medium: Medium, clock: FakeClock) -> None:
    Process(medium, clock).add("alice", "resp_1")

    assert not [text for text in ("alice", "resp_1") if text in repr(medium.records)]


USER = "jwt:https://login.example|u"


async def test_an_id_of_a_user_is_found_by_processes_with_the_same_secret(medium: Medium, clock: FakeClock) -> None:
    one, two, other, none = (Process(medium, clock) for _ in range(4))
    for process, secret in ((one, b"s" * 32), (two, b"s" * 32), (other, b"t" * 32), (none, b"")):
        process.ledger.limit_to(Identities(["alice"], ["jwt:https://login.example|"]))
        process.ids.configure(process.keys, secret)
    one.add(USER, "resp_1")
    none.add(USER, "resp_2")

    assert [await each.provider_of(USER, "resp_1") for each in (two, other, none)] == ["a", "", ""]
    assert await two.provider_of(f"{USER}-2", "resp_1") == ""
    assert await two.provider_of(USER, "resp_2") == ""


def test_the_secret_of_users_depends_on_the_api_keys_of_providers() -> None:
    def secret(api_key: str, issuer: str = "https://login.example") -> bytes:
        provider = f"{{name: a, base_url: 'http://h'{api_key}}}"
        auth = f"auth: {{jwt: [{{issuer: '{issuer}', audience: x, groups: {{g: staff}}}}]}}" if issuer else ""
        return secret_of_users(config_of(f"providers: [{provider}]\ngroups: {{staff: {{models: [m]}}}}\n{auth}\n"))

    first = secret(", api_keys: [sk-fake-1, sk-fake-2]")
    assert len(first) == 32
    assert secret(", api_keys: [sk-fake-2, sk-fake-1]") == first
    assert secret(", api_keys: [sk-fake-1, sk-fake-3]") != first
    assert secret("") == b""

"""Open circuit breakers and cool-downs of one process, applied in another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.config import Provider
from proxy.inference.circuit import Circuit
from proxy.inference.hints import MAX_SECONDS, CallHints
from proxy.states import OpenCircuit
from proxy.upstream.key_pool import OURSELVES, KeyPool, Refusal
from tests.fakes import FakeClock, config_of, middle
from tests.sharing.memory import Medium, SharedMemory

pytestmark = pytest.mark.anyio

KEYS = "api_keys: [fake-key-one, fake-key-two]"


@dataclass(frozen=True)
class Called:
    """A provider that is called, without its connections."""

    provider: Provider
    keys: KeyPool


class Process:
    """The calls of one process to one provider."""

    def __init__(self, medium: Medium, clock: FakeClock, settings: str = KEYS, path: str = "v1") -> None:
        text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/{path}', {settings}}}]"
        provider = config_of(text).providers[0]
        self.keys = KeyPool(provider, clock)
        self.circuit = Circuit(provider, clock, self.keys, uniform=middle)
        self.sharing = SharedMemory(medium)
        self.hints = CallHints(self.sharing, clock)
        self.hints.attach({"a": Called(provider, self.keys)}, {"a": self.circuit})

    def fail(self, *callers: str, times: int = FAILURE_THRESHOLD) -> None:
        for caller in callers:
            for _ in range(times):
                self.circuit.failed(caller, "m")

    @property
    def open(self) -> Sequence[OpenCircuit]:
        return self.circuit.open_circuits


@pytest.fixture
def medium(clock: FakeClock) -> Medium:
    return Medium(clock)


async def test_an_open_circuit_is_applied_for_its_remaining_time(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.fail("alice")

    assert two.open == one.open == [OpenCircuit("m", "alice", "open")]
    assert two.circuit.rejection("alice", "m") is not None
    assert two.circuit.rejection("bob", "m") is None
    await clock.advance(30.1)
    assert two.circuit.acquire("alice", "m") is None
    two.circuit.succeeded("m")
    assert two.open == []


async def test_a_hint_that_arrives_late_is_applied_for_what_is_left_of_it(medium: Medium, clock: FakeClock) -> None:
    announced: list[bytes] = []
    SharedMemory(medium).listen(lambda hint, age: announced.append(hint))
    Process(medium, clock).fail("alice")
    late, too_late = (Process(Medium(clock), clock) for _ in range(2))
    late.hints.receive(announced[0], 20.0)
    too_late.hints.receive(announced[0], 30.1)

    assert too_late.open == []
    assert late.open == [OpenCircuit("m", "alice", "open")]
    await clock.advance(10.1)
    assert late.circuit.acquire("alice", "m") is None


async def test_the_circuit_of_the_provider_is_applied_too(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    for _ in range(FAILURE_THRESHOLD):
        one.circuit.failed("alice", "m", is_unreachable=True)

    assert (one.circuit.state, two.circuit.state) == ("open", "open")


async def test_a_long_pause_is_applied_for_at_most_a_minute(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    for _ in range(FAILURE_THRESHOLD + 3):
        one.circuit.failed("alice", "m", is_unreachable=True)
        await clock.advance(300)
    one.circuit.failed("alice", "m", is_unreachable=True)
    await clock.advance(MAX_SECONDS + 0.1)

    assert (one.circuit.state, two.circuit.state) == ("open", "half_open")


async def test_what_is_applied_is_not_announced_again(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    third: list[bytes] = []
    SharedMemory(medium).listen(lambda hint, age: third.append(hint))
    one.fail("alice")
    one.keys.limited("", "m", 10.0, "alice")
    one.keys.refused("fake-key-one", Refusal(429, 10.0), "m", "alice")

    assert two.open
    assert len(third) == 2


async def test_a_cool_down_is_applied_to_the_same_key(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.keys.refused("fake-key-one", Refusal(429, 20.0), "m")

    assert [process.keys.acquire("m") for process in (one, two)] == ["fake-key-two"] * 2
    assert [process.keys.acquire("other") for process in (one, two)] == ["fake-key-one"] * 2
    await clock.advance(20.1)
    assert two.keys.acquire("m") == "fake-key-one"


async def test_a_rate_limit_of_the_only_key_is_applied(medium: Medium, clock: FakeClock) -> None:
    one, two = (Process(medium, clock, "api_key: fake-key-one") for _ in range(2))
    one.keys.limited("", "m", 20.0, "alice")

    assert two.keys.cooling("m", "alice") is not None
    assert two.keys.cooling("m", "bob") is None


async def test_a_rejected_key_is_not_used_for_a_minute(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    one.keys.refused("fake-key-one", Refusal(401, None), "m", OURSELVES)

    assert two.keys.acquire("other") == "fake-key-two"
    await clock.advance(MAX_SECONDS + 0.1)
    assert (one.keys.acquire("other"), two.keys.acquire("other")) == ("fake-key-two", "fake-key-one")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"settings": "api_keys: [fake-key-one, fake-key-three]"}, id="other keys"),
        pytest.param({"path": "other/v1"}, id="other address"),
    ],
)
async def test_other_providers_with_the_same_name_are_not_affected(
    medium: Medium, clock: FakeClock, other: dict[str, str]
) -> None:
    one, two = Process(medium, clock), Process(medium, clock, **other)
    one.fail("alice")
    one.keys.refused("fake-key-one", Refusal(429, 20.0), "m")

    assert two.open == []
    assert two.keys.acquire("m") == "fake-key-one"


async def test_a_replaced_configuration_is_watched(medium: Medium, clock: FakeClock) -> None:
    one, two = Process(medium, clock), Process(medium, clock)
    after = config_of(f"providers: [{{name: a, base_url: 'http://127.0.0.1/v2', {KEYS}}}]").providers[0]
    for process in (one, two):
        process.circuit.configure(after, process.keys, is_shared=False)
        process.hints.attach({"a": Called(after, process.keys)}, {"a": process.circuit})
    one.fail("alice")

    assert two.open == [OpenCircuit("m", "alice", "open")]


async def test_hints_contain_no_key(medium: Medium, clock: FakeClock) -> None:
    seen: list[bytes] = []
    SharedMemory(medium).listen(lambda hint, age: seen.append(hint))
    one = Process(medium, clock)
    one.fail("alice")
    one.keys.refused("fake-key-one", Refusal(429, 20.0), "m")

    assert len(seen) == 2
    assert not any(b"fake" in hint for hint in seen)


async def test_foreign_hints_are_ignored_and_reported_once(
    medium: Medium, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    one = Process(medium, clock)
    endless = msgspec.msgpack.encode(["circuit", b"", None, None, 1e9])
    for hint in (
        b"",
        b"hint",
        b"\xff" * 100,
        endless,
        msgspec.msgpack.encode(["circuit", b"unknown", None, None, 1.0]),
    ):
        one.hints.receive(hint)

    assert one.open == []
    assert caplog.messages == ["a hint from the shared store was ignored: it has another format"]

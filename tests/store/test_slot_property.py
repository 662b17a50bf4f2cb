"""Any sequence of responses, failures and pauses: no model disappears too early, and none stays too long.

The rules are those of operations.md, written once more as a model that keeps the whole history of responses.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.catalog import FetchResult, per_provider
from proxy.cooperative import run_now
from proxy.errors import UpstreamError
from proxy.store.shrinkage import CONFIRMATIONS, SHRINK_FROM
from proxy.store.slot import Slot
from tests.fakes import answer_of, config_of, middle

CONFIG = config_of("""
cache: {ttl: 100s, max_stale: 1000s, confirm_empty: 300s}
providers: [{name: a, base_url: "http://127.0.0.1/v1"}]
""")
(PROVIDER,) = CONFIG.providers
IDS = [f"m{number}" for number in range(12)]
SOME = st.sets(st.sampled_from(IDS)) | st.sampled_from([frozenset[str](), frozenset(IDS[:2]), frozenset(IDS)])
PAUSES = st.sampled_from([1.0, 99.9, 100.0, 300.0, 600.0, 999.9])


@dataclass(frozen=True)
class Response:
    at: float
    ids: frozenset[str]
    is_whole: bool


def is_much_shorter(models: int, before: int) -> bool:
    return before > 0 and (models == 0 or (before > SHRINK_FROM and models * 2 < before))


class AnyProvider(RuleBasedStateMachine):
    """A slot, and the ids that it must show."""

    @initialize()
    def start(self) -> None:
        self.now = 1000.0
        self.slot = Slot(PROVIDER, per_provider(PROVIDER, CONFIG), middle)
        self.last_seen: dict[str, float] = {}
        self.shrunk: list[Response] = []
        """Whole responses in a row that are much shorter than what was shown, and of similar length."""

    def shown(self) -> set[str]:
        return {offer.id for offer in self.slot.offers}

    def expected(self) -> set[str]:
        return {own_id for own_id, seen in self.last_seen.items() if self.now < seen + PROVIDER.max_stale}

    @rule(ids=SOME, is_whole=st.booleans())
    def respond(self, ids: AbstractSet[str], is_whole: bool) -> None:
        response = Response(self.now, frozenset(ids), is_whole)
        before = len(self.expected())
        if not is_whole or not is_much_shorter(len(ids), before):
            self.shrunk = []
        elif self.shrunk and self.differ(len(ids), len(self.shrunk[0].ids)):
            self.shrunk = [response]
        else:
            self.shrunk.append(response)
        is_confirmed = len(self.shrunk) >= CONFIRMATIONS and self.now - self.shrunk[0].at >= PROVIDER.confirm_empty
        if is_whole and (not self.shrunk or is_confirmed):
            self.last_seen, self.shrunk = {}, []
        self.last_seen |= dict.fromkeys(ids, self.now)
        result = FetchResult(answer_of(*sorted(ids)).entries, partial="" if is_whole else "why")
        self.slot.accept(run_now(self.slot.derive(result, fetched_at=0.0, now=self.now)))

    @rule(ids=SOME, is_whole=st.booleans(), seconds=PAUSES)
    def repeat(self, ids: AbstractSet[str], is_whole: bool, seconds: float) -> None:
        for _ in range(3):
            self.respond(ids, is_whole)
            self.wait(seconds)

    @staticmethod
    def differ(one: int, other: int) -> bool:
        return is_much_shorter(one, other) or is_much_shorter(other, one)

    @rule()
    def fail(self) -> None:
        self.shrunk = []
        self.slot.fail(UpstreamError("timeout", "timed out"), self.now)

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.slot.expire(self.now)

    @invariant()
    def shows_exactly_the_models_that_may_still_exist(self) -> None:
        assert self.shown() == self.expected()

    @invariant()
    def is_failing_only_without_a_list_and_never_says_ok_for_a_list_that_was_not_accepted(self) -> None:
        state = self.slot.state(self.now)
        assert state != "failing" or not self.expected()
        assert state != "ok" or not self.shrunk

    @invariant()
    def is_refreshed_again_within_the_longest_pause(self) -> None:
        assert self.slot.next_attempt_at <= self.now + 300


TestAnyProvider = AnyProvider.TestCase
TestAnyProvider.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)

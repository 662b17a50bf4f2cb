"""Which offers policies allow, computed at once: the same as with each policy and each offer."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.access.visibility import Visibility
from proxy.catalog import Offer
from proxy.catalog.pattern_index import PatternIndex
from proxy.dialects.entry import Entry
from proxy.patterns import look_alike_matcher, loose_matcher, matcher

# Letters with other cases, widths, forms and lengths, blanks, and what is special in patterns.
TEXTS = st.text(st.sampled_from("abAB-1[]!:*?. \u00df\u017f\uff21\u212a\u0130\ufb01\u200b\u2800\u00e9"), max_size=6)
PATTERNS = st.text(st.sampled_from("abAB-1[]*?. \u00df\u017f\uff21\u0130\ufb01"), min_size=1, max_size=5)


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, max_size=60), PATTERNS)
def test_an_index_finds_what_the_matchers_match(texts: Sequence[str], pattern: str) -> None:
    index = PatternIndex(texts)
    assert sorted(index.matching(pattern)) == sorted(filter(matcher([pattern]), set(texts)))
    assert sorted(index.matching_loosely(pattern)) == sorted(filter(loose_matcher([pattern]), set(texts)))
    assert sorted(index.look_alikes(pattern)) == sorted(filter(look_alike_matcher([pattern]), set(texts)))


def test_an_index_of_many_texts_uses_the_beginning_and_the_end_of_patterns() -> None:
    texts = [f"{maker}-{number}{end}" for maker in ("alpha", "beta") for number in range(100) for end in ("", "-mini")]
    index = PatternIndex(texts)
    for pattern in ("alpha-*", "*-mini", "beta-1*-mini", "*a-9?", "?eta*", "*7*", "*", "alpha-5", "gamma*", "*x"):
        assert sorted(index.matching(pattern)) == sorted(filter(matcher([pattern]), texts)), pattern


offers = st.builds(
    lambda own, provider, owner, aliased: Offer(
        own, provider, owner, Entry(own), alias_of=Offer(aliased, provider, owner, Entry(aliased)) if aliased else None
    ),
    TEXTS.filter(bool),
    st.sampled_from(["p", "P2", "other"]),
    st.sampled_from(["OpenAI", "openai", "lab", "stra\u00dfe"]),
    st.one_of(st.just(""), TEXTS),
)
rules = st.one_of(
    PATTERNS, st.sampled_from(["*", "owner:openai", "owner:O*", "owner:*a*", "provider:p*", "provider:P2", "owner:*"])
)


@settings(max_examples=400, deadline=None)
@given(st.lists(offers, max_size=12), st.lists(st.tuples(st.booleans(), rules), max_size=5))
def test_the_offers_of_a_policy_are_those_that_it_allows(
    listed: Sequence[Offer], given_rules: Sequence[tuple[bool, str]]
) -> None:
    texts = ["!" * denies + rule for denies, rule in given_rules]
    visibility = Visibility(listed)
    found = [offer for at, offer in enumerate(listed) if visibility.allowed(texts) >> at & 1]
    policy = Policy(texts)
    assert found == [*filter(policy.allows, listed)]
    for rule in texts:
        single = Policy(["*", rule]) if rule.startswith("!") else Policy([rule])
        matched = [single.allows(offer) != rule.startswith("!") for offer in listed]
        assert [bool(visibility.matched(rule) >> at & 1) for at in range(len(listed))] == matched

"""Access rules over facts: an unknown fact never matches an allow rule, and always matches a deny rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.access.visibility import Visibility
from proxy.catalog import Offer, per_provider
from proxy.catalog.virtual import catalog_of
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import CAPABILITIES, TYPE_NAMES, Capability, Facts
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, digest, running
from tests.store.stores import store_of

pytestmark = pytest.mark.anyio


def facts(
    type: str = "",
    context: int = 0,
    has: Sequence[Capability] = (),
    lacks: Sequence[Capability] = (),
) -> Facts:
    return Facts(type=type, context=context, capabilities=frozenset(has), lacking=frozenset(lacks))


UNKNOWN = Facts()


@pytest.mark.parametrize(
    ("rules", "allowed", "forbidden"),
    [
        pytest.param(["type:embedding"], [facts("embedding")], [facts("chat"), UNKNOWN, None], id="a type"),
        pytest.param(["type:chat", "type:image"], [facts("chat"), facts("image")], [facts("audio")], id="types"),
        pytest.param(["*", "!type:image"], [facts("chat")], [facts("image"), UNKNOWN, None], id="a denied type"),
        pytest.param(
            ["*", "!type:image", "!type:video"], [facts("chat")], [facts("image"), facts("video")], id="denied types"
        ),
        pytest.param(
            ["capability:tools"],
            [facts(has=["tools", "vision"])],
            [facts(lacks=["tools"]), facts(has=["vision"]), UNKNOWN, None],
            id="a capability",
        ),
        pytest.param(
            ["capability:tools", "capability:vision"],
            [facts(has=["vision"], lacks=["tools"])],
            [facts(has=["audio"])],
            id="one of two capabilities",
        ),
        pytest.param(
            ["*", "!capability:vision"],
            [facts(lacks=["vision"])],
            [facts(has=["vision"]), facts(lacks=["tools"]), UNKNOWN, None],
            id="a denied capability",
        ),
        pytest.param(
            ["*", "!capability:vision", "!capability:audio"],
            [facts(lacks=["vision", "audio"])],
            [facts(lacks=["vision"]), facts(has=["audio"], lacks=["vision"])],
            id="denied capabilities",
        ),
        pytest.param(
            ["context>=128000"],
            [facts(context=128000), facts(context=1_000_000)],
            [facts(context=127999), UNKNOWN, None],
            id="a context",
        ),
        pytest.param(["context>=9", "context>=5"], [facts(context=5)], [facts(context=4)], id="the smaller context"),
        pytest.param(
            ["*", "!context>=128000"],
            [facts(context=127999)],
            [facts(context=128000), UNKNOWN, None],
            id="a denied context",
        ),
        pytest.param(
            ["type:embedding", "m"], [facts("embedding"), facts("chat"), UNKNOWN], [], id="an id beside a fact"
        ),
    ],
)
def test_rules_match_facts(rules: list[str], allowed: list[Facts | None], forbidden: list[Facts | None]) -> None:
    policy = Policy(rules)
    offers = [Offer("m", "a", "o", Entry("m"), facts=each) for each in (*allowed, *forbidden)]

    assert [policy.allows(offer) for offer in offers] == [True] * len(allowed) + [False] * len(forbidden)
    visible = Visibility(offers).allowed(policy.rules)
    assert [bool(visible >> at & 1) for at in range(len(offers))] == [policy.allows(offer) for offer in offers]


any_facts = st.builds(
    lambda type_, context, has, lacks: Facts(
        type=type_, context=context, capabilities=frozenset(has), lacking=frozenset(lacks) - frozenset(has)
    ),
    st.sampled_from(["", *TYPE_NAMES]),
    st.sampled_from([0, 1, 1000, 128000]),
    st.lists(st.sampled_from(CAPABILITIES)),
    st.lists(st.sampled_from(CAPABILITIES)),
)
fact_rules = st.one_of(
    st.sampled_from(TYPE_NAMES).map("type:{}".format),
    st.sampled_from(CAPABILITIES).map("capability:{}".format),
    st.sampled_from([1, 1000, 128001]).map("context>={}".format),
)


@given(any_facts, fact_rules)
def test_what_an_allow_rule_matches_is_what_a_deny_rule_matches_except_for_unknown_facts(
    known: Facts, rule: str
) -> None:
    offer = Offer("m", "a", "o", Entry("m"), facts=known)
    allows, denies = Policy([rule]).allows(offer), Policy(["*", "!" + rule]).denies(offer)
    name, _, value = rule.replace(">=", ":").partition(":")
    is_unknown = {
        "type": not known.type,
        "capability": value not in known.capabilities | known.lacking,
        "context": not known.context,
    }[name]

    assert (allows, denies) == ((False, True) if is_unknown else (allows, allows))


# -- where facts come from -----------------------------------------------------------------------------------------


def config(*providers: str, rules: str = "type:chat", more: str = "") -> Config:
    named = [
        f"  - {{name: {name}, base_url: 'http://h/{name}/v1'{text}}}\n"
        for name, text in zip("ab", providers, strict=False)
    ]
    return config_of(
        f"{more}\ngroups: {{default: {{models: ['{rules}']}}}}\nproviders:\n{''.join(named)}",
    )


def offers_of(settings: str, *payloads: Mapping[str, object], rules: str = "type:chat") -> list[Offer]:
    configuration = config(settings, rules=rules)
    return [*per_provider(configuration.providers[0], configuration)(answer_of(*payloads).entries)]


@pytest.mark.parametrize(
    ("settings", "payload", "known"),
    [
        pytest.param("", {"id": "m"}, UNKNOWN, id="nothing"),
        pytest.param("", {"id": "m", "type": "llm", "max_model_len": 9}, facts("chat", 9), id="other spellings"),
        pytest.param("", {"id": "m", "type": "surprise"}, UNKNOWN, id="an unknown type"),
        pytest.param("", {"id": "m", "context_length": "many"}, UNKNOWN, id="no number"),
        pytest.param(
            ", overrides: [{match: m, type: embedding, context_length: 7}]",
            {"id": "m", "type": "llm", "context_length": 9},
            facts("embedding", 7),
            id="overridden",
        ),
        pytest.param(", models: [{id: m, type: image}]", {"id": "m", "type": "llm"}, facts("image"), id="declared"),
        pytest.param(
            ", overrides: [{match: m, type: null}]", {"id": "m", "type": "llm"}, UNKNOWN, id="removed by an override"
        ),
        pytest.param(", drop_fields: [type]", {"id": "m", "type": "llm"}, UNKNOWN, id="not shown"),
        pytest.param(", extra_fields: none", {"id": "m", "type": "llm"}, UNKNOWN, id="no fields shown"),
        pytest.param(
            "",
            {"id": "m", "supports_tools": True, "architecture": {"input_modalities": ["text", "image"]}},
            facts(has=["tools", "vision"], lacks=["audio", "video", "file"]),
            id="capabilities",
        ),
        pytest.param("", {"id": "m", "reasoning": False}, facts(lacks=["reasoning"]), id="a missing capability"),
    ],
)
def test_facts_are_those_that_are_listed(settings: str, payload: Mapping[str, object], known: Facts) -> None:
    [offer] = offers_of(settings, payload)

    assert offer.facts is not None
    assert (offer.facts.type, offer.facts.context, offer.facts.capabilities, offer.facts.lacking) == (
        known.type,
        known.context,
        known.capabilities,
        known.lacking,
    )


def test_without_rules_over_facts_none_are_read() -> None:
    [offer] = offers_of("", {"id": "m", "type": "llm"}, rules="owner:x")

    assert offer.facts is None


def test_another_name_of_a_model_has_its_facts() -> None:
    offers = offers_of(", list_aliases: true, prefix: p/", {"id": "m", "type": "llm", "aliases": ["n"]})

    assert {offer.id: offer.facts and offer.facts.type for offer in offers} == {"p/m": "chat", "p/n": "chat"}
    assert [Policy(["type:chat"]).allows(offer) for offer in offers] == [True, True]
    assert [Policy(["*", "!type:image"]).allows(offer) for offer in offers] == [True, True]


def test_each_offer_is_filtered_by_its_own_facts_before_offers_are_merged() -> None:
    configuration = config("", "", more="merge: {fill: true}")
    lists = [[{"id": "m", "context_length": 8000}], [{"id": "m", "context_length": 200000, "type": "llm"}]]
    offers = [
        offer
        for provider, payloads in zip(configuration.providers, lists, strict=True)
        for offer in per_provider(provider, configuration)(answer_of(*payloads).entries)
    ]

    def shown(rule: str) -> list[tuple[list[str], object]]:
        catalog = run_now(catalog_of(offers, Policy.of([rule] if rule == "*" else ["*", rule]), configuration))
        return [
            ([offer.provider for offer in model.offers], msgspec.json.decode(model.offers[0].entry.extra))
            for model in catalog.models
        ]

    assert shown("*") == [(["a", "b"], {"context_length": 8000, "type": "chat"})]
    assert shown("!context>=100000") == [(["a"], {"context_length": 8000})]
    assert shown("!type:image") == [(["b"], {"context_length": 200000, "type": "chat"})]


def test_a_virtual_model_has_the_targets_whose_facts_the_rules_allow() -> None:
    configuration = config("", more="models: [{id: smart, targets: [m, n]}]")
    payloads = [{"id": "m", "type": "llm"}, {"id": "n", "type": "embedding"}, {"id": "silent"}]
    offers = [*per_provider(configuration.providers[0], configuration)(answer_of(*payloads).entries)]

    def targets(*rules: str) -> list[str]:
        model = run_now(catalog_of(offers, Policy.of(rules), configuration)).find("smart")
        return [offer.entry.id for offer in model.offers] if model else []

    assert targets("*") == ["m", "n"]
    assert targets("*", "!type:chat") == ["n"]
    assert targets("sm*", "type:chat") == ["m"], "a target must match the allow rules that are not over ids"
    assert targets("smart", "type:chat") == ["m", "n"], "unless a rule is exactly its id"
    assert targets("type:chat") == [], "an id rule must allow it"
    assert targets("*", "!type:chat", "!type:embedding") == []


async def test_a_key_with_new_rules_over_facts_has_its_list_without_a_fetch(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "m", "type": "llm"}, {"id": "n", "type": "embedding"})
    text = (
        "providers: [{name: a, base_url: 'http://h/v1'}]\nkeys: [{name: k, hash: '"
        + digest("sk-canary-of-facts")
        + "', models: ['RULE']}]"
    )
    async with running(store_of(text.replace("RULE", "*"), fetch, clock)) as store:
        later = store_of(text.replace("RULE", "type:chat"), fetch, clock)
        policy = Policy.of(["type:chat"])
        before = [model.id for model in store.view(policy).catalog.models]
        store.hand_over()
        await later.inherit(store, [policy], 1.0)

        assert (before, [model.id for model in later.view(policy).catalog.models]) == ([], ["m"])
        assert fetch.requests == {"a": 1}

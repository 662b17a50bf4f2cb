"""Rules: examples, and properties of rules and merging for any input and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import Offer, merge, per_provider
from proxy.config import Config
from proxy.store import Store
from proxy.wire.openai import model_list
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, entry, middle, run_pending_tasks, running

ALL = Policy(["*"])

Payload = str | Mapping[str, object]
World = Mapping[str, Sequence[Payload]]
"""The entries of each provider, in the configured order."""


def one_provider(settings: str = "", *, owners: str = "[]", duplicates: str = "merge") -> Config:
    return config_of(
        f"merge: {{duplicates: {duplicates}}}\n"
        f"owners: {owners}\n"
        f"providers: [{{name: p, base_url: 'http://127.0.0.1/v1'{', ' + settings if settings else ''}}}]\n"
    )


def three_providers(duplicates: str = "merge") -> Config:
    return config_of(
        f"merge: {{duplicates: {duplicates}}}\n"
        "providers:\n"
        "  - {name: a, base_url: 'http://127.0.0.1/a'}\n"
        "  - {name: b, base_url: 'http://127.0.0.1/b', prefix: x, aliases: {one: m1}}\n"
        "  - {name: c, base_url: 'http://127.0.0.1/c', owner: Maker-C, models: [{id: m2, owned_by: declared}]}\n"
    )


def offers_of(config: Config, *payload: Payload, name: str = "p") -> list[Offer]:
    provider = next(provider for provider in config.providers if provider.name == name)
    return list(per_provider(provider, config)(entry(model) for model in payload))


def offer(model_id: str, provider: str = "a", *, created: int = 0, owner: str = "", **extra: object) -> Offer:
    payload = entry({"id": model_id, "created": created, "owned_by": owner, **extra})
    return Offer(model_id, provider, owner or provider, payload)


# -- select --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_settings", "payload", "selected"),
    [
        pytest.param("", ["b", "a"], ["b", "a"], id="everything, in the provider's order"),
        pytest.param("include: ['gpt-*', o1]", ["gpt-4o", "o1", "o1-mini", "GPT-5"], ["gpt-4o", "o1"], id="include"),
        pytest.param("exclude: ['*-preview']", ["m", "m-preview", "preview"], ["m", "preview"], id="exclude"),
        pytest.param("include: ['m*'], exclude: [m2]", ["m1", "m2", "n"], ["m1"], id="exclude wins over include"),
        pytest.param("include: []", ["m"], [], id="an empty include selects nothing"),
        pytest.param("include: ['*/*']", ["v/m", "m", "@cf/v/m"], ["v/m", "@cf/v/m"], id="a star crosses slashes"),
        pytest.param("include: ['m[12]']", ["m1", "m[12]", "m[12]x"], ["m[12]"], id="brackets are literal"),
        pytest.param("exclude: ['m[12]*']", ["m1", "m[12]", "m[12]x"], ["m1"], id="also in exclude"),
        pytest.param("include: ['测试*']", ["测试模型", "模型"], ["测试模型"], id="Chinese"),
        pytest.param("prefix: p/, include: ['p/*']", ["m", "p/m"], ["p/m"], id="the provider's own ids"),
    ],
)
def test_include_and_exclude_match_the_providers_own_ids(
    given_settings: str, payload: list[str], selected: list[str]
) -> None:
    assert [offer.entry.id for offer in offers_of(one_provider(given_settings), *payload)] == selected


@pytest.mark.parametrize("patterns", ["include: []", "exclude: ['*']", "include: [n], exclude: [m, n]"])
def test_declared_models_are_selected_whatever_include_and_exclude_contain(patterns: str) -> None:
    config = one_provider(f"models: [{{id: m, note: declared}}], {patterns}")
    selected = offers_of(config, {"id": "m", "note": "listed"}, "o")

    assert [(offer.id, offer.entry.extra) for offer in selected] == [("m", b'{"note":"declared"}')]


def test_first_of_duplicate_entries_is_used() -> None:
    twins = offers_of(one_provider(), {"id": "m", "note": 1}, {"id": "n"}, {"id": "m", "note": 2})

    assert [(offer.id, offer.entry.extra) for offer in twins] == [("m", b'{"note":1}'), ("n", b"{}")]


def test_declared_model_wins_over_a_listed_duplicate() -> None:
    config = one_provider("models: [{id: m, note: declared}]")

    assert [(offer.id, offer.entry.extra) for offer in offers_of(config, {"id": "m", "note": "payload"}, "n")] == [
        ("m", b'{"note":"declared"}'),
        ("n", b"{}"),
    ]


# -- owner ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_settings", "owners", "payload", "owner"),
    [
        pytest.param(
            "owner: ctyun",
            "[{match: ['*'], owner: ruled}]",
            {"id": "openai/gpt-4o", "owned_by": "OpenAI"},
            "ctyun",
            id="1: the provider's owner forces all",
        ),
        pytest.param(
            "",
            "[{match: ['gpt-*', 'o1*'], owner: First}, {match: ['*'], owner: second}]",
            {"id": "o1-mini", "owned_by": "OpenAI"},
            "First",
            id="2: the first matching rule wins",
        ),
        pytest.param(
            "", "[{match: ['gpt-*'], owner: ruled}]", {"id": "m", "owned_by": "Acme"}, "acme", id="2: no rule matches"
        ),
        pytest.param(
            "", "[{match: ['m[1]'], owner: ruled}]", {"id": "m1", "owned_by": "Acme"}, "acme", id="2: brackets differ"
        ),
        pytest.param(
            "", "[{match: ['m[1]'], owner: ruled}]", {"id": "m[1]", "owned_by": "Acme"}, "ruled", id="2: brackets match"
        ),
        pytest.param(
            "prefix: gpt-, aliases: {gpt-x: m}",
            "[{match: ['gpt-*'], owner: ruled}]",
            {"id": "m", "owned_by": "Acme"},
            "acme",
            id="2: rules read the provider's own id",
        ),
        pytest.param("", "[]", {"id": "our-own-13b", "owned_by": "Acme Labs"}, "acme-labs", id="3: owned_by"),
        pytest.param("", "[]", {"id": "our-own-13b", "publisher": "Acme"}, "acme", id="3: publisher"),
        pytest.param("", "[]", {"id": "our-own-13b", "organization": "Acme"}, "acme", id="3: organization"),
        pytest.param("", "[]", {"id": "our-own-13b", "author": "Acme"}, "acme", id="3: author"),
        pytest.param("", "[]", {"id": "m", "owned_by": "OpenAI"}, "openai", id="3: OpenAI, one spelling"),
        pytest.param("", "[]", {"id": "m", "owned_by": "openai-internal"}, "openai", id="3: openai-internal"),
        pytest.param("", "[]", {"id": "m", "owned_by": "  Mistral   AI "}, "mistral", id="3: spaces and capitals"),
        pytest.param("", "[]", {"id": "claude-sonnet-4-5", "owned_by": "openai"}, "anthropic", id="3: a contradiction"),
        pytest.param(
            "", "[]", {"id": "gpt-4o", "owned_by": "Acme"}, "openai", id="3: an unknown maker is contradicted"
        ),
        pytest.param(
            "models: [{id: gpt-4o, owned_by: Acme}]", "[]", {"id": "gpt-4o"}, "acme", id="3: a declared owner"
        ),
        pytest.param("", "[]", {"id": "meta-llama/Llama-3"}, "meta", id="4: the vendor part, one spelling"),
        pytest.param("", "[]", {"id": "@cf/meta/llama-3"}, "meta", id="4: the vendor part behind a host's"),
        pytest.param("", "[]", {"id": "acme/llama-3-poet"}, "acme", id="4: the vendor part before the family"),
        pytest.param("", "[]", {"id": "acme/gpt-4o"}, "openai", id="4: the family, which has no derivatives"),
        pytest.param("", "[]", {"id": "gpt-4o-mini"}, "openai", id="4: the family gpt"),
        pytest.param("", "[]", {"id": "Claude-3-Haiku"}, "anthropic", id="4: the family claude"),
        pytest.param("", "[]", {"id": "qwen2.5-72b"}, "alibaba", id="4: the family qwen"),
        pytest.param("", "[]", {"id": "our-own-13b"}, "p", id="5: the provider's name"),
        pytest.param("", "[]", {"id": "测试模型名称1", "owned_by": ""}, "p", id="5: ctyun's own example"),
    ],
)
def test_owner_comes_from_the_first_source_that_has_one(
    given_settings: str, owners: str, payload: dict[str, object], owner: str
) -> None:
    [offer] = offers_of(one_provider(given_settings, owners=owners), payload)

    assert offer.owned_by == owner


@pytest.mark.parametrize(
    "filler",
    [
        "",
        " ",
        "system",
        "System",
        "library",
        "custom",
        "vllm",
        "organization_owner",
        "someone@example.com",
        None,
        7,
        [],
    ],
)
def test_owned_by_without_a_maker_is_ignored(filler: object) -> None:
    [offer] = offers_of(one_provider(), {"id": "gpt-4o", "owned_by": filler})

    assert offer.owned_by == "openai"


def test_owned_by_equal_to_the_id_is_ignored() -> None:
    [offer] = offers_of(one_provider(), {"id": "our-own-13b", "owned_by": "our-own-13b"})

    assert offer.owned_by == "p"


# -- rename --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_settings", "duplicates", "payload", "public"),
    [
        pytest.param("", "merge", ["m", "v/m"], ["m", "v/m"], id="unchanged"),
        pytest.param("prefix: p/", "merge", ["m", "v/m"], ["p/m", "p/v/m"], id="a prefix"),
        pytest.param("aliases: {nice: ugly}", "merge", ["ugly", "m"], ["nice", "m"], id="an alias replaces the id"),
        pytest.param("prefix: p/, aliases: {nice: ugly}", "merge", ["ugly"], ["nice"], id="an alias gets no prefix"),
        pytest.param("prefix: p/, aliases: {m: m}", "merge", ["m", "n"], ["m", "p/n"], id="an alias without a prefix"),
        pytest.param("aliases: {x: m, y: m}", "merge", ["m"], ["x", "y"], id="two aliases of one model"),
        pytest.param("aliases: {x: gone}", "merge", ["m"], ["m"], id="an alias of a missing model"),
        pytest.param("aliases: {m: n}", "merge", ["m", "n"], ["m"], id="an alias name is reserved"),
        pytest.param("aliases: {m: n}", "merge", ["m"], [], id="and stays reserved while the aliased model is missing"),
        pytest.param("prefix: p/, aliases: {p/m: n}", "merge", ["m", "n"], ["p/m"], id="reserved with the prefix too"),
        pytest.param("aliases: {m: n, n: m}", "merge", ["m", "n"], ["n", "m"], id="two models change names"),
        pytest.param("aliases: {'c-*': 'acme/c-*'}", "merge", ["acme/c-1", "c"], ["c-1", "c"], id="a pattern"),
        pytest.param("aliases: {'*-x': '*'}", "merge", ["m"], ["m-x"], id="a pattern that adds an ending"),
        pytest.param(
            "aliases: {'*': 'v/*'}", "merge", ["v/m", "w/m", "v/"], ["m", "w/m", "v/"], id="not an empty star"
        ),
        pytest.param("aliases: {'a-*': '*', 'b-*': '*'}", "merge", ["m"], ["a-m", "b-m"], id="two patterns"),
        pytest.param(
            "aliases: {one: v/m, '*': 'v/*'}", "merge", ["v/m", "v/n"], ["one", "n"], id="exact before pattern"
        ),
        pytest.param("aliases: {m: x, '*': 'v/*'}", "merge", ["v/m", "x"], ["m"], id="a name that is reserved"),
        pytest.param(
            "prefix: p/, aliases: {'*': 'v/*'}", "merge", ["v/m", "n"], ["m", "p/n"], id="a pattern, no prefix"
        ),
        pytest.param("aliases: {'c-[1]*': 'd-[1]*'}", "merge", ["d-[1]x", "d-1x"], ["c-[1]x", "d-1x"], id="brackets"),
        pytest.param("", "by_owner", ["gpt-4o", "m"], ["openai/gpt-4o", "p/m"], id="by_owner"),
        pytest.param("owner: Me", "by_owner", ["v/m"], ["Me/v/m"], id="by_owner: the owner as it is shown"),
        pytest.param("prefix: x-, aliases: {y: n}", "by_owner", ["m", "n"], ["p/x-m", "p/y"], id="by_owner comes last"),
        pytest.param("", "by_provider", ["gpt-4o", "v/m"], ["p/gpt-4o", "p/v/m"], id="by_provider"),
        pytest.param(
            "prefix: x-, aliases: {y: n}", "by_provider", ["m", "n"], ["p/x-m", "p/y"], id="by_provider comes last"
        ),
    ],
)
def test_public_ids_apply_aliases_then_prefix_then_the_duplicate_policy(
    given_settings: str, duplicates: str, payload: list[str], public: list[str]
) -> None:
    assert [offer.id for offer in offers_of(one_provider(given_settings, duplicates=duplicates), *payload)] == public


# -- aliases of entries --------------------------------------------------------------------------------------------


def listed_names(given_settings: str, *payload: Payload, duplicates: str = "merge") -> list[tuple[str, str]]:
    """Public and own id of each offer."""
    offers = offers_of(one_provider(given_settings, duplicates=duplicates), *payload)
    return [(offer.id, offer.entry.id) for offer in offers]


GROK: Payload = {"id": "grok-9-1", "aliases": ["grok-9", "grok-latest"]}


@pytest.mark.parametrize(
    ("given_settings", "payload", "names"),
    [
        pytest.param("", [GROK], ["grok-9-1"], id="not listed without the setting"),
        pytest.param("list_aliases: true", [GROK, "m"], ["grok-9-1", "m", "grok-9", "grok-latest"], id="listed"),
        pytest.param(
            "list_aliases: true", [GROK, "grok-9"], ["grok-9-1", "grok-9", "grok-latest"], id="listed already"
        ),
        pytest.param("list_aliases: true, exclude: ['*-latest']", [GROK], ["grok-9-1", "grok-9"], id="excluded"),
        pytest.param("list_aliases: true, include: ['*-1']", [GROK], ["grok-9-1"], id="not included"),
        pytest.param("list_aliases: true, exclude: [grok-9-1]", [GROK], [], id="of an excluded model"),
    ],
)
def test_aliases_of_entries_are_listed_with_list_aliases(
    given_settings: str, payload: list[Payload], names: list[str]
) -> None:
    assert listed_names(given_settings, *payload) == [(name, name) for name in names]


def test_listed_aliases_are_renamed_like_other_models() -> None:
    assert listed_names("list_aliases: true, prefix: x/, owner: o", GROK, duplicates="by_owner") == [
        ("o/x/grok-9-1", "grok-9-1"),
        ("o/x/grok-9", "grok-9"),
        ("o/x/grok-latest", "grok-latest"),
    ]


def test_what_denies_a_model_denies_its_listed_aliases() -> None:
    offers = offers_of(one_provider("list_aliases: true"), GROK, "m")

    assert [one.id for one in filter(Policy(["*", "!grok-9-1"]).allows, offers)] == ["m"]
    assert [one.id for one in filter(Policy(["*", "!grok-9"]).allows, offers)] == ["grok-9-1", "m", "grok-latest"]


# -- limit_extra ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        pytest.param("all", b'{"context_length":8,"price":{"in":"0.1"},"tier":"x"}', id="all"),
        pytest.param("none", b"{}", id="none"),
        pytest.param("[tier, context_length, absent]", b'{"context_length":8,"tier":"x"}', id="a list of fields"),
    ],
)
def test_extra_fields_selects_the_other_fields(extra: str, shown: bytes) -> None:
    payload = {"id": "m", "created": 5, "context_length": 8, "price": {"in": "0.1"}, "tier": "x"}
    [offer] = offers_of(one_provider(f"extra_fields: {extra}"), payload)

    assert (offer.entry.extra, offer.created) == (shown, 5)


# -- properties for any providers and any order --------------------------------------------------------------------

IDS = ["m1", "m2", "xm1", "gpt-4o", "meta/llama", "one", "模型"]
TIMES: list[object] = [0, 1626777600, 1677610602, 1_600_000_000, 1_700_000_000, "", None, "2024-05-01T10:00:00Z"]

models = st.fixed_dictionaries(
    {"id": st.sampled_from(IDS)},
    optional={
        "owned_by": st.sampled_from(["", "OpenAI", "Meta", "system"]),
        "created": st.sampled_from(TIMES),
        "context_length": st.integers(0, 3),
    },
)
worlds = st.fixed_dictionaries({name: st.lists(models, max_size=5) for name in "abc"})
duplicate_policies = st.sampled_from(["merge", "by_owner", "by_provider"])
policies = st.lists(
    st.sampled_from(["*", "m*", "!m2", "owner:openai", "!owner:meta", "provider:a", "provider:b", "!provider:c"])
).map(Policy)


def all_offers(config: Config, world: World) -> list[Offer]:
    present = [provider.name for provider in config.providers if provider.name in world]
    return [offer for name in present for offer in offers_of(config, *world[name], name=name)]


async def list_after(config: Config, world: World, order: Sequence[str], policy: Policy) -> bytes:
    """The list after all providers responded in this order, read after each response."""
    fetch = FakeFetch()
    answers = {name: fetch.hangs(name) for name in world}
    async with running(Store(config, fetch, FakeClock(), uniform=middle)) as store:
        for name in order:
            answers[name].set_result(answer_of(*world[name]))
            await run_pending_tasks()
            store.view(policy)
        return store.view(policy).rendered.identity


@pytest.mark.anyio
@given(worlds, duplicate_policies, policies)
@settings(max_examples=40, deadline=None)
async def test_list_bytes_do_not_depend_on_the_order_of_responses(
    world: World, duplicates: str, policy: Policy
) -> None:
    config = three_providers(duplicates)
    expected = model_list(merge(all_offers(config, world), policy.allows).models)

    for order in permutations(world):
        assert await list_after(config, world, order, policy) == expected


@given(worlds, duplicate_policies)
@settings(max_examples=150, deadline=None)
def test_id_does_not_depend_on_other_providers(world: World, duplicates: str) -> None:
    config = three_providers(duplicates)
    alone = {name: {offer.id for offer in offers_of(config, *world[name], name=name)} for name in world}

    for count in range(len(world) + 1):
        for present in combinations(world, count):
            offers = all_offers(config, {name: world[name] for name in present})
            listed = {model.id for model in merge(offers, ALL.allows).models}
            assert listed == set().union(*(alone[name] for name in present))


@given(st.lists(st.tuples(st.sampled_from(["m1", "m2"]), st.sampled_from("abc")), unique=True), policies)
@settings(max_examples=200, deadline=None)
def test_denied_offers_contribute_no_fields(placed: list[tuple[str, str]], policy: Policy) -> None:
    def marked(model_id: str, provider: str) -> tuple[Offer, list[bytes]]:
        mark = f"{model_id}-of-{provider}"
        created = 1_500_000_000 + placed.index((model_id, provider))
        payload = offer(
            model_id,
            provider,
            created=created,
            owner=f"owner-{mark}",
            root=f"root-{mark}",
            parent=f"parent-{mark}",
            note=f"note-{mark}",
        )
        return payload, [f"{field}-{mark}".encode() for field in ("owner", "root", "parent", "note")] + [
            b"%d" % created
        ]

    offers = [marked(*place) for place in sorted(placed, key=lambda place: place[1])]
    shown = model_list(merge([offer for offer, _ in offers], policy.allows).models)

    for candidate, marks in offers:
        if not policy.allows(candidate):
            assert not [mark for mark in marks if mark in shown]


@given(worlds, duplicate_policies, policies)
@settings(max_examples=150, deadline=None)
def test_merge_is_idempotent(world: World, duplicates: str, policy: Policy) -> None:
    once = merge(all_offers(three_providers(duplicates), world), policy.allows)

    assert merge((offer for model in once.models for offer in model.offers), policy.allows) == once


@given(worlds, duplicate_policies)
@settings(max_examples=100, deadline=None)
def test_listed_models_are_found_by_id_with_all_documented_fields(world: World, duplicates: str) -> None:
    catalog = merge(all_offers(three_providers(duplicates), world), ALL.allows)
    payload: list[dict[str, Any]] = msgspec.json.decode(model_list(catalog.models))["data"]

    assert [catalog.find(fields["id"]) for fields in payload] == list(catalog.models)
    assert [fields["id"] for fields in payload] == sorted({fields["id"] for fields in payload})
    for fields in payload:
        assert list(fields)[:7] == ["id", "object", "created", "owned_by", "permission", "root", "parent"]
        assert isinstance(fields["created"], int)
        assert fields["owned_by"]

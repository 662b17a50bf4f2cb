"""Names that are not listed: which providers accept, which rules allow, and which ids are suggested instead."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import Offer, merge, per_provider
from proxy.catalog.names import Source
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.dialects import without_duplicates
from proxy.dialects.entry import Entry
from proxy.errors import ModelNotFound
from proxy.inference.request.json_body import JsonBody
from proxy.inference.routing import candidates
from proxy.store import Status, View
from proxy.store.names import MAX_CACHED, MAX_NAME, Lazy, Names, name_index
from proxy.store.view import RenderedList
from tests.fakes import FakeClock, FakeFetch, answer_of, config_of, running
from tests.store.stores import ALL, store_of

pytestmark = pytest.mark.anyio

Payload = str | Mapping[str, object]


def config(*providers: str, duplicates: str = "merge") -> Config:
    """`providers`: the settings of the providers a, b ..."""
    named = [
        f"  - {{name: {name}, base_url: 'http://127.0.0.1/{name}/v1'{', ' + text if text else ''}}}\n"
        for name, text in zip("abc", providers, strict=False)
    ]
    group = "groups: {default: {models: ['type:chat']}}"  # so that facts are read
    return config_of(f"merge: {{duplicates: {duplicates}}}\n{group}\nproviders:\n{''.join(named)}")


def entries_of(payloads: Sequence[Payload]) -> tuple[Entry, ...]:
    """The entries of a list, as a fetch returns them."""
    return tuple(run_now(without_duplicates(answer_of(*payloads).entries)))


def view_of(config: Config, *lists: Sequence[Payload] | None, rules: Sequence[str] = ("*",)) -> View:
    """The view of a policy. `lists`: of each provider, None if it has not answered."""
    sources = []
    for provider, payloads in zip(config.providers, lists, strict=True):
        entries = entries_of(payloads or ())
        offers = tuple(per_provider(provider, config)(entries))
        sources.append(Source(provider, entries, offers, payloads is not None))
    policy = Policy(rules)
    catalog = merge((offer for source in sources for offer in source.offers), policy.allows)
    names = Names(catalog, policy, Lazy(lambda: name_index(sources, config)))
    rendered = RenderedList(catalog, names)
    status = Status(rendered.summary, oldest=None, stale=(), incomplete=(), missing=(), shows_names=False)
    return View(rendered, status)


def found(view: View, name: str) -> list[tuple[str, str, str]]:
    """Provider, own id and owner of each offer under a name; none if it is not found."""
    model = view.find(name)
    assert model is None or model.id == name
    return [(offer.provider, offer.entry.id, offer.owned_by) for offer in model.offers] if model else []


# -- what providers accept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_settings", "payload", "name", "own_id"),
    [
        pytest.param("accept: [claude-9]", "claude-9-2026", "claude-9", "claude-9", id="an exact name"),
        pytest.param("accept: ['*:online']", "m", "m:online", "m:online", id="a pattern"),
        pytest.param("accept: ['v/*']", "m", "n", "", id="no pattern matches"),
        pytest.param("accept: ['*'], prefix: x/", "m", "x/n", "n", id="with the prefix"),
        pytest.param("accept: ['*'], prefix: x/", "m", "n", "", id="without the prefix"),
        pytest.param("accept: ['v/*'], aliases: {'c-*': 'v/*'}", "m", "c-9", "v/9", id="through an alias pattern"),
        pytest.param("accept: ['v/*'], aliases: {'c-*': 'v/*'}", "m", "v/9", "", id="not in addition to an alias"),
        pytest.param("accept: [gone], aliases: {best: gone}", "m", "best", "gone", id="through an exact alias"),
        pytest.param("accept: ['*'], exclude: ['n*']", "m", "n:online", "", id="excluded"),
        pytest.param("accept: ['*:x'], exclude: [n]", "m", "n:x", "", id="a variant of an excluded name"),
        pytest.param("accept: ['*'], include: [n]", "m", "m:x", "", id="a variant of a model that is not included"),
        pytest.param("accept: ['*'], include: [n]", "m", "m", "", id="a model that is not included"),
        pytest.param("", "m:latest", "m", "m", id="latest"),
        pytest.param("prefix: x/", "m:latest", "x/m", "m", id="latest, with a prefix"),
        pytest.param("exclude: [m]", "m:latest", "m", "", id="latest, excluded"),
        pytest.param("", "m:8b", "m", "", id="another tag than latest"),
        pytest.param("", "models/m", "models/m", "m", id="as it is written"),
        pytest.param("aliases: {best: m}", "models/m", "models/m", "m", id="as it is written, in addition to an alias"),
        pytest.param("", {"id": "m-1", "aliases": ["m"]}, "m", "m", id="an alias of the entry"),
        pytest.param("models: [{id: m-1}]", {"id": "m-1", "aliases": ["m"]}, "m", "m", id="of a declared model, too"),
        pytest.param(
            "accept: ['*'], exclude: [m-1]", {"id": "m-1", "aliases": ["m"]}, "m", "", id="accepted, but excluded"
        ),
        pytest.param("exclude: [m]", {"id": "m-1", "aliases": ["m"]}, "m", "", id="an alias that is excluded"),
        pytest.param("exclude: [m-1]", {"id": "m-1", "aliases": ["m"]}, "m", "", id="an alias of an excluded model"),
        pytest.param("accept: ['*']", "m", "x" * 257, "", id="longer than an id"),
        pytest.param("accept: ['*'], prefix: x/", "m", "x/", "", id="nothing after the prefix"),
        pytest.param("accept: ['*']", "m", "a:" * 9, "", id="too many suffixes"),
        pytest.param("accept: ['*'], call: {base_url: 'http://h'}", "m", "n", "n", id="called elsewhere"),
        pytest.param("call: false", "m:latest", "m", "", id="list-only"),
    ],
)
def test_a_provider_accepts_names_that_it_does_not_list(
    given_settings: str, payload: Payload, name: str, own_id: str
) -> None:
    view = view_of(config(given_settings), [payload])

    assert view.catalog.find(name) is None
    assert [own for _, own, _ in found(view, name)] == ([own_id] if own_id else [])


@pytest.mark.parametrize(
    ("duplicates", "name", "own_id"),
    [
        ("by_provider", "a/n", "n"),
        ("by_provider", "n", ""),
        ("by_provider", "b/n", ""),
        ("by_owner", "a/n", "n"),
        ("by_owner", "openai/gpt-9", "gpt-9"),
        ("by_owner", "meta/gpt-9", ""),
        ("by_owner", "acme/m-1:x", "m-1:x"),
    ],
)
def test_accepted_names_have_the_form_of_listed_ids(duplicates: str, name: str, own_id: str) -> None:
    view = view_of(config("accept: ['*']", duplicates=duplicates), [{"id": "m-1", "owned_by": "acme"}])

    assert [own for _, own, _ in found(view, name)] == ([own_id] if own_id else [])


def test_the_owner_is_that_of_the_model_behind_a_name_or_of_its_family() -> None:
    view = view_of(
        config("accept: ['*']"), [{"id": "m-1", "owned_by": "acme", "aliases": ["m"]}, {"id": "n", "owned_by": "beta"}]
    )

    assert found(view, "m") == [("a", "m", "acme")]
    assert found(view, "n:online") == [("a", "n:online", "beta")]
    assert found(view, "gpt-9") == [("a", "gpt-9", "openai")]
    assert found(view, "other") == [("a", "other", "a")]


def test_an_alias_has_the_facts_of_its_model_and_a_pattern_none() -> None:
    payload = {"id": "m-1", "created": 5, "aliases": ["m"], "context_length": 8}
    view = view_of(config("accept: ['*']"), [payload])
    alias, pattern = view.find("m"), view.find("m-1:online")

    assert alias is not None
    assert pattern is not None
    assert (alias.created, pattern.created) == (5, 0)
    assert [fields(view.rendered.object(model)) for model in (alias, pattern)] == [
        {**COMMON, "id": "m", "created": 5, "root": "m-1", "aliases": ["m"], "context_length": 8},
        {**COMMON, "id": "m-1:online", "created": 0, "root": "m-1:online"},
    ]


COMMON = {"object": "model", "owned_by": "a", "parent": None}


def fields(encoded: bytes) -> Mapping[str, object]:
    """A model as clients see it, without its permissions."""
    decoded: dict[str, object] = msgspec.json.decode(encoded)
    return {name: value for name, value in decoded.items() if name != "permission"}


def test_every_provider_that_accepts_a_name_is_a_candidate_in_the_operators_order() -> None:
    view = view_of(config("accept: ['c-*']", "", "accept: [c-9]"), ["m"], ["n"], [])

    assert found(view, "c-9") == [("a", "c-9", "a"), ("c", "c-9", "c")]


def test_a_listed_id_is_resolved_by_the_catalog_alone() -> None:
    view = view_of(config("accept: ['*']", ""), ["m"], ["n"])

    assert found(view, "n") == [("b", "n", "b")]


def test_a_name_in_two_entries_refers_to_both() -> None:
    lists: list[Payload] = [{"id": "m-1", "aliases": ["m"]}, {"id": "x-2", "aliases": ["m"]}]

    assert found(view_of(config(""), lists), "m") == [("a", "m", "a")]
    assert found(view_of(config(""), lists, rules=["*", "!x-2"]), "m") == []


# -- what rules allow ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "name", "is_allowed"),
    [
        (["*"], "c-5:online", True),
        (["c-*"], "c-5:online", True),
        (["c-5"], "c-5:online", False),
        (["c-5:online"], "c-5:online", True),
        (["provider:a"], "c-5:online", True),
        (["provider:b"], "c-5:online", False),
        (["owner:acme"], "c-5:online", True),
        (["*", "!c-5"], "c-5:online", False),
        (["*", "!C-5"], "c-5:online", False),
        (["*", "!c-5:online"], "c-5:online", False),
        (["*", "!owner:acme"], "c-5:online", False),
        (["*", "!provider:a"], "c-5:online", False),
        (["*", "!provider:b"], "c-5:online", True),
        (["*", "!c-5-2026"], "c-5-2026:a:b", False),
        (["*", "!c-7-2026"], "c-7", False),
        (["*", "!c-7-2026"], "C-7", False),
        (["*", "!c-7-2026"], "c-7-2026-thinking", False),
        (["*", "!c-7-2026"], "c-8", True),
        (["*", "!c-5"], "c-\u200b5", False),
        (["*", "!c-5"], "library/c-5", False),
        (["*", "!c-5"], "registry.ollama.ai/library/c-5:online", False),
        (["*", "!c-5"], "HTTPS://Registry.Ollama.AI/Library/C-5", False),
        (["*", "!unlisted"], "library/unlisted", False),
        (["*", "!c-7-2026"], "library/c-7", False),
        (["*", "!c-5"], "library/c-8", True),
        (["*", "!c-5"], "mylibrary/c-5", True),
        (["*", "!other-model"], "other", False),
        (["*", "!owner:beta"], "other", False),
        (["*", "!best"], "z-9", False),
        (["type:chat"], "unlisted", False),
        (["*", "!type:image"], "unlisted", False),
        (["type:embedding"], "vectors", True),
        (["type:chat"], "vectors", False),
        (["type:embedding"], "vectors:free", False),
        (["*", "!type:embedding"], "vectors", False),
        (["*", "!type:embedding"], "vec", False),
        (["type:embedding"], "both", False),
        (["*", "!type:image"], "both", False),
    ],
)
def test_rules_apply_to_a_name_and_to_what_it_may_stand_for(rules: list[str], name: str, is_allowed: bool) -> None:
    first: list[Payload] = [
        {"id": "c-5", "owned_by": "acme"},
        "c-7-2026",
        "z-9-1",
        {"id": "vec-1", "type": "embedding", "aliases": ["vectors", "both"]},
        {"id": "talk-1", "type": "chat", "aliases": ["both"]},
    ]
    second: list[Payload] = [{"id": "other-model", "owned_by": "beta"}]
    view = view_of(config("accept: ['*'], aliases: {best: z-9-1}", ""), first, second, rules=rules)

    assert bool(found(view, name)) is is_allowed


@pytest.mark.parametrize("name", ["c-5:online", "library/c-5", "registry.ollama.ai/library/c-5:online"])
def test_a_spelling_of_an_excluded_model_is_not_accepted(name: str) -> None:
    view = view_of(config("accept: ['*'], exclude: [c-5]"), ["c-5", "c-6"])

    assert [bool(found(view, each)) for each in (name, name.replace("5", "7"))] == [False, True]


def test_a_key_may_use_a_name_without_seeing_the_listed_id() -> None:
    view = view_of(config(""), ["m:latest"], rules=["m"])

    assert (view.catalog.models, found(view, "m")) == ((), [("a", "m", "a")])


def test_with_deny_rules_names_are_refused_while_the_list_is_not_known() -> None:
    accepting = config("accept: ['*']")

    assert found(view_of(accepting, None, rules=["*"]), "m") == [("a", "m", "a")]
    assert found(view_of(accepting, None, rules=["*", "!x"]), "m") == []
    assert found(view_of(accepting, None, rules=["*", "!provider:b"]), "m") == [("a", "m", "a")]


# -- properties ----------------------------------------------------------------------------------------------------


class World(NamedTuple):
    """A configuration of two providers, their lists, and the rules of a key."""

    config: Config
    lists: tuple[Sequence[Payload], Sequence[Payload]]
    rules: Sequence[str]


IDS = ["m", "m-1", "m-1-2026", "M-1", "n", "n:free", "n:latest", "v/m", "v/m-1", "models/k", "k", "best"]
NAMES = [*IDS, "m:latest", "m-1:online", "m-1:a:b", "m-1-2026-x", "models/m", "v/n", "n-1", "N", "best:x", "x", ""]
OWNERS = ["acme", "beta"]

entries = st.builds(
    lambda model_id, owner, aliases, type_: {"id": model_id, "owned_by": owner, "aliases": aliases, "type": type_},
    st.sampled_from(IDS),
    st.sampled_from(OWNERS),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.sampled_from(["chat", "chat", "embedding", None]),
)
provider_settings = st.builds(
    lambda accept, exclude, prefix, aliases, listed: (
        f"accept: {accept}, exclude: {exclude}, prefix: '{prefix}', aliases: {aliases}, list_aliases: {listed}"
    ),
    st.sampled_from([["*"], ["m*"], ["*:online", "v/*"], ["k", "best"], []]),
    st.sampled_from([[], ["m"], ["*-2026"], ["v/*"]]),
    st.sampled_from(["", "", "p/", "b"]),
    st.sampled_from(["{}", "{best: m-1}", "{'n-*': 'm-*'}", "{'*': 'v/*'}", "{n: m, m: n}"]),
    st.sampled_from(["true", "false"]),
)
allowing = st.sampled_from(
    [["*"], ["*"], ["m*", "n*"], ["owner:acme"], ["provider:a", "k"], ["m", "p/m"], ["*-1"], ["type:chat"]]
)
denying = st.sampled_from(
    [*IDS, "type:embedding", "p/m", "p/m-1", "a/m", "acme/m-1", "*-2026", "owner:acme", "owner:beta", "provider:b"]
)
worlds = st.builds(
    lambda a, b, duplicates, lists, allowed, denied: World(
        config(a, b, duplicates=duplicates), lists, [*allowed, *(f"!{one}" for one in denied)]
    ),
    provider_settings,
    provider_settings,
    st.sampled_from(["merge", "merge", "by_provider", "by_owner"]),
    st.tuples(st.lists(entries, min_size=1, max_size=4), st.lists(entries, max_size=4)),
    allowing,
    st.lists(denying, min_size=1, max_size=2),
)
PREFIXES = ["", "p/", "a/", "b/", "b", "acme/", "a/p/", "acme/p/"]


def matches(rule: str, offer: Offer, *, loosely: bool) -> bool:
    if rule.startswith("type:"):
        type_ = msgspec.json.decode(offer.entry.extra).get("type")
        return loosely if type_ is None else rule == f"type:{type_}"
    kind, _, pattern = rule.rpartition(":") if rule.startswith(("owner:", "provider:")) else ("", "", rule)
    text = {"owner": offer.owned_by, "provider": offer.provider, "": offer.id}[kind]
    regex = re.escape(pattern).replace(r"\*", ".*")
    return re.fullmatch(regex, text, re.IGNORECASE if loosely else 0) is not None


class Reference:
    """DESIGN of access for names, as plainly as possible: no index, no cache."""

    def __init__(self, world: World) -> None:
        self.allow = [rule for rule in world.rules if not rule.startswith("!")]
        self.deny = [rule[1:] for rule in world.rules if rule.startswith("!")]
        self.listed: list[Offer] = []
        self.entries: dict[str, Sequence[Entry]] = {}
        for provider, payloads in zip(world.config.providers, world.lists, strict=True):
            self.entries[provider.name] = entries_of(payloads)
            self.listed += per_provider(provider, world.config)(self.entries[provider.name])

    def denies(self, offer: Offer) -> bool:
        return any(matches(rule, offer, loosely=True) for rule in self.deny)

    def allows(self, name: str, offer: Offer) -> bool:
        """Whether a key may call a name that is not listed at a provider."""
        if not any(matches(rule, offer, loosely=False) for rule in self.allow):
            return False
        return not any(map(self.denies, [offer, *self._variants(name, offer), *self._related(name, offer)]))

    def _variants(self, name: str, offer: Offer) -> Iterator[Offer]:
        parts = name.split(":")
        for length in range(1, len(parts)):
            yield Offer(":".join(parts[:length]), offer.provider, offer.owned_by, offer.entry)

    def _related(self, name: str, offer: Offer) -> Iterator[Offer]:
        """The listed models that a name may refer to, as models of the provider that is called."""
        for other in self.listed:
            one, two = name.lower(), other.id.lower()
            if one.startswith(two) or two.startswith(one):
                yield Offer(other.id, offer.provider, other.owned_by, other.entry)

    def reaches_removed(self, sent: str, offer: Offer) -> bool:
        """Whether a call with this id reaches a model that the provider lists and the rules of the operator remove."""
        kept = {one.entry.id for one in self.listed if one.provider == offer.provider}
        if sent in kept:
            return False
        names = [(entry.id, {entry.id, entry.written, *entry.aliases}) for entry in self.entries[offer.provider]]
        return any(sent in known and model_id not in kept for model_id, known in names)

    def reached(self, sent: str, offer: Offer) -> Iterator[Offer]:
        """The listed models of a provider that matches names loosely, if it gets a call with this id."""
        exact = [entry for entry in self.entries[offer.provider] if entry.id == sent]
        for entry in exact or self.entries[offer.provider]:
            names = [entry.id, entry.written, entry.id.removesuffix(":latest"), *entry.aliases]
            if sent in names or sent.startswith(entry.id) or entry.id.startswith(sent):
                yield from (one for one in self.listed if one.provider == offer.provider and one.entry.id == entry.id)


@given(worlds)
@settings(max_examples=400, deadline=None)
def test_no_name_reaches_a_model_that_the_key_may_not_call(world: World) -> None:
    view, reference = view_of(world.config, *world.lists, rules=world.rules), Reference(world)
    for name in (prefix + tail for prefix in PREFIXES for tail in NAMES):
        model = view.find(name)
        if model is None or view.catalog.find(name) is model:
            continue
        for offer in model.offers:
            assert offer.id == name
            assert reference.allows(name, offer), name
            assert not any(map(reference.denies, reference.reached(offer.entry.id, offer))), name
            assert not reference.reaches_removed(offer.entry.id, offer), name


@given(worlds)
@settings(max_examples=300, deadline=None)
def test_everything_listed_is_found_and_callable(world: World) -> None:
    view = view_of(world.config, *world.lists, rules=world.rules)
    targets = {provider.name: target for provider in world.config.providers if (target := provider.target)}

    for model in view.catalog.models:
        assert view.find(model.id) is view.model(model.id) is model
        batch = candidates(view.model, JsonBody(msgspec.json.encode({"model": model.id})), targets, (), "openai")
        assert [one.offer for one in batch] == list(model.offers)
        assert [one.ids[model.id] for one in batch] == [offer.entry.id for offer in model.offers]


# -- similar ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "name", "similar"),
    [
        pytest.param(["GPT-9"], "gpt-9", ["GPT-9"], id="other letters"),
        pytest.param(["openai/gpt-9", "azure/GPT-9", "x"], "gpt-9", ["openai/gpt-9", "azure/GPT-9"], id="a vendor"),
        pytest.param(["gpt-9", "v/gpt-9"], "openai/gpt-9", ["gpt-9", "v/gpt-9"], id="another vendor or none"),
        pytest.param(["gpt-9", "gpt-8", "claude"], "gpt-9-mini", ["gpt-9", "gpt-8"], id="the longest common prefix"),
        pytest.param(["claude-a-1", "claude-a-2", "claude-b"], "claude-a", ["claude-a-1", "claude-a-2", "claude-b"],
                     id="versions"),
        pytest.param([f"mod-{n}" for n in range(9)], "mod-5x", ["mod-5", "mod-3", "mod-4"], id="three at most"),
        pytest.param(["gpt-9"], "claude", [], id="nothing similar"),
        pytest.param(["ab"], "abc", [], id="too short to be similar"),
        pytest.param(["/"], "0/", [], id="an empty last segment"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_similar_ids(listed: list[str], name: str, similar: list[str]) -> None:
    view = view_of(config(""), listed)

    with pytest.raises(ModelNotFound) as caught:
        view.model(name)

    hint = {
        0: "",
        1: " Did you mean '{}'?",
        2: " Did you mean '{}' or '{}'?",
        3: " Did you mean '{}', '{}' or '{}'?",
    }[len(similar)].format(*similar)
    assert caught.value.message == f"The model '{name}' does not exist or you do not have access to it.{hint}"


def test_only_ids_in_the_view_are_suggested() -> None:
    lists = ["secret-gpt-9", "GPT-9", "v/gpt-9", "gpt-9-mini"]
    view = view_of(config(""), lists, rules=["gpt-9-mini"])

    for name in ("gpt-9", "Gpt-9", "x/gpt-9", "gpt-9-m", "secret-gpt"):
        with pytest.raises(ModelNotFound) as caught:
            view.model(name)
        assert not re.search("'(secret-gpt-9|GPT-9|v/gpt-9)'", caught.value.message)


@given(worlds, st.sampled_from(NAMES[:-1]))
@settings(max_examples=300, deadline=None)
def test_suggestions_are_listed_in_the_view(world: World, name: str) -> None:
    view = view_of(world.config, *world.lists, rules=world.rules)

    assert all(map(view.catalog.find, view.rendered.names.similar(name)))


# -- cost ----------------------------------------------------------------------------------------------------------


def test_resolved_names_are_cached_up_to_a_limit() -> None:
    view = view_of(config("accept: ['*']"), ["m"])
    first = view.find("n0")

    assert view.find("n0") is first
    for number in range(1, MAX_CACHED + 1):
        assert view.find(f"n{number}")
    assert view.find("n0") == first
    assert view.find("n0") is not first
    assert view.find("x" * (MAX_NAME + 1)) is None


@pytest.mark.parametrize("rules", [["*"], ["*", "!*-9", "!owner:acme"]])
@pytest.mark.parametrize("accept", ["", "accept: ['*']"])
def test_unknown_names_are_not_compared_with_every_model(rules: list[str], accept: str) -> None:
    listed = [f"vendor-{n % 50}/model-{n}" for n in range(10_000)]
    view = view_of(config(accept), listed, rules=rules)
    names = [f"{'vendor-7/model-'}{'x' * (n % 200)}{n}" for n in range(300)]
    asyncio.run(view.prepare(names))
    began = time.process_time()
    for name in names:
        if not view.find(name):
            view.rendered.names.similar(name)

    assert time.process_time() - began < 10


async def test_indexing_many_models_yields_to_other_tasks(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"v/m{n}" for n in range(2000)))
    async with running(store_of("providers: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]", fetch, clock)) as store:
        await store.prepare(ALL)
        view = store.view(ALL)
        was_prepared = view.is_prepared
        preparing = [asyncio.create_task(view.prepare(["unknown"])) for _ in range(2)]
        turns = 0
        while not preparing[0].done():
            await asyncio.sleep(0)
            turns += 1
        await asyncio.gather(*preparing)

        assert turns > 50
        assert (was_prepared, view.is_prepared) == (False, True)
        await view.prepare(["v/m1"])
        assert store.view(ALL).rendered.names is view.rendered.names


async def test_names_change_with_the_offers(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m:latest")
    text = "cache: {ttl: 100s}\nproviders: [{name: a, base_url: 'http://127.0.0.1/a/v1'}]"
    async with running(store_of(text, fetch, clock)) as store:
        assert store.view(ALL).find("m") is not None
        fetch.lists("a", "n:latest")
        await clock.advance(300)

        assert (store.view(ALL).find("m"), bool(store.view(ALL).find("n"))) == (None, True)

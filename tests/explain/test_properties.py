"""Explanations of random configurations and lists equal what the catalog and the routing do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.calls import APIS
from proxy.catalog import Catalog, Model
from proxy.catalog.merge import FACTS
from proxy.catalog.virtual import catalog_of
from proxy.config import Config, ConfigError, parse
from proxy.cooperative import run_now
from proxy.errors import ApiNotSupported, ModelNotCallable
from proxy.explain.calls import NoCalls
from proxy.explain.context import Context
from proxy.explain.explanation import explaining
from proxy.explain.values import Explanation
from proxy.inference.failover import Forwarder
from proxy.inference.request.body import NoBody
from proxy.inference.routing import candidates
from proxy.store.names import Names
from proxy.telemetry import Telemetry
from proxy.upstream.lists import ListFetcher
from tests.explain.explaining import context_of
from tests.fakes import FakeClock, digest

IDS = ("m", "M", "n", "m-preview", "v/m", "p/m", "m:latest", "m:free", "gpt-4o", "claude-3")
PATTERNS = ("*", "m*", "*-preview", "gpt-*", "m", "n", "v/*", "M", "*:*")
RULES = (
    *PATTERNS,
    "owner:openai",
    "owner:a",
    "provider:a",
    "provider:b",
    "virtual",
    "provider:*",
    "type:chat",
    "capability:tools",
    "context>=2000",
)
NAMES = ("a", "b", "c")
OTHERS = ("virtual", "p/m-preview", "p/v/m", "a/m", "openai/m", "x-preview", "x-M", "p/p/m", "unknown")
ids, patterns = st.sampled_from(IDS), st.sampled_from(PATTERNS)


def some(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=most)


entries = st.fixed_dictionaries(
    {"id": ids},
    optional={
        "created": st.sampled_from([1700000000, 1710000000, 1626777600]),
        "owned_by": st.sampled_from(["openai", "system", "acme", "anthropic"]),
        "context_length": st.sampled_from([1000, 2000]),
        "max_completion_tokens": st.just(100),
        "status": st.sampled_from(["active", "retired"]),
        "enabled": st.booleans(),
        "type": st.sampled_from(["chat", "embedding"]),
        "supports_tools": st.booleans(),
        "output_modalities": st.sampled_from([["image"], ["text"], ["text", "image"]]),
        "input_modalities": st.just(["text"]),
        "aliases": st.lists(ids, max_size=2),
    },
)
lists_of_entries = st.lists(entries, min_size=2, max_size=5, unique_by=lambda each: str(each["id"]))
overrides = st.fixed_dictionaries(
    {"match": patterns},
    optional={
        "context_length": st.sampled_from([3000, None]),
        "owned_by": st.just("other"),
        "created": st.just(1720000000),
    },
).filter(lambda each: len(each) > 1)
provider_settings: dict[str, st.SearchStrategy[Any]] = {
    "include": st.lists(patterns, min_size=1, max_size=2),
    "exclude": some(patterns, 2),
    "where": st.just([{"field": "enabled", "is": True}]),
    "hide_retired": st.booleans(),
    "strip_prefix": st.sampled_from(["v/", ["p/"]]),
    "prefix": st.sampled_from(["p/", "v/"]),
    "aliases": st.one_of(st.dictionaries(ids, ids, max_size=2), st.just({"x-*": "m*"}), st.just({"m*": "gpt-*"})),
    "list_aliases": st.booleans(),
    "overrides": some(overrides, 2),
    "models": some(st.one_of(ids, st.fixed_dictionaries({"id": ids, "owned_by": st.just("lab")})), 2),
    "owner": st.just("owner-of-it"),
    "accept": some(patterns, 1),
    "drop_fields": st.just(["context_length"]),
    "extra_fields": st.sampled_from(["none", ["context_length"]]),
    "call": st.just(False),
    "failover": st.booleans(),
    "failover_to": st.sampled_from(["same_owner", "listed", "any"]),
    "speaks": st.sampled_from([["openai"], ["anthropic"], ["openai", "anthropic"], ["gemini", "ollama"], ["ollama"]]),
}


rules = st.builds(str.__add__, st.sampled_from(["", "!"]), st.sampled_from(RULES))
rule_lists = st.one_of(some(rules), some(rules, 2).map(lambda others: ["*", *others]))


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    providers = []
    for name in NAMES:
        # A few settings for each provider: with all of them, hardly any model would be listed.
        given_names = draw(st.lists(st.sampled_from(sorted(provider_settings)), unique=True, max_size=4))
        given_settings = {each: draw(provider_settings[each]) for each in given_names}
        if given_settings.get("call") is False:  # settings of calls would be errors
            given_settings = {n: v for n, v in given_settings.items() if n not in ("accept", "speaks")}
        providers.append({"name": name, "base_url": f"https://{name}.example/v1", **given_settings})
    config: dict[str, Any] = {
        "server": {"facts_style": draw(st.sampled_from(["plain", "plain", "all"]))},
        "facts": draw(st.sampled_from(["off", "off", "bundled"])),
        "providers": providers,
        "groups": {"staff": {"models": draw(rule_lists)}},
        "keys": [
            {"name": "own", "hash": digest("own"), "models": draw(rule_lists)},
            {"name": "of-group", "hash": digest("of-group"), "group": "staff"},
        ],
        "merge": draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "duplicates": st.sampled_from(["merge", "by_owner", "by_provider"]),
                    "ignore_case": st.booleans(),
                    "fill": st.booleans(),
                },
            )
        ),
        "owners": draw(
            some(st.fixed_dictionaries({"match": st.lists(patterns, min_size=1), "owner": st.just("z")}), 1)
        ),
        "routing": draw(
            some(st.fixed_dictionaries({"match": patterns, "strategy": st.sampled_from(["order", "least_busy"])}), 1)
        ),
    }
    if targets := draw(st.lists(ids, unique=True, max_size=2)):
        config["models"] = [{"id": draw(st.sampled_from(["virtual", "m"])), "targets": targets}]
    return config


class _Busy(NoCalls):
    """Providers with calls in progress."""

    def __init__(self, new_offers: Mapping[str, Collection[str]], loads: Mapping[str, int]) -> None:
        super().__init__(new_offers)
        self._loads = loads

    def load(self, provider: str) -> int:
        return self._loads[provider]


def _read(config: Mapping[str, Any]) -> Config | None:
    """None if settings exclude each other, such as two targets."""
    try:
        return parse(yaml.safe_dump(dict(config)))
    except ConfigError:
        return None


worlds = st.tuples(
    configurations(),
    st.fixed_dictionaries(
        dict.fromkeys(NAMES[:2], lists_of_entries),
        optional={"c": lists_of_entries},
    ),
    st.sampled_from([None, "", "own", "of-group"]),
    st.dictionaries(st.sampled_from(NAMES), st.frozensets(ids), max_size=2),
    st.fixed_dictionaries({name: st.integers(0, 3) for name in NAMES}),
    st.lists(st.sampled_from((*IDS, *OTHERS)), min_size=4, max_size=4, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_an_explanation_equals_what_the_proxy_does(world: Any) -> None:
    raw, listed, key, new_offers, loads, asked = world
    config = _read(raw)
    if config is None:
        return
    calls = _Busy(new_offers, loads)
    context = context_of(config, listed, calls)
    caller = context.caller(key)
    assert caller is not None
    offers = tuple(chain.from_iterable(each.source.offers for each in context.lists.providers))
    catalog = run_now(catalog_of(offers, caller.policy, config))
    names = Names(catalog, caller.policy, context.lists.index)
    for name in asked:
        explanation = run_now(explaining(context, name, caller, context.names(caller)))
        model = catalog.find(name) or names.find(name)
        _assert_verdict(explanation, catalog, model)
        _assert_models(explanation, context)
        if model:
            _assert_fields(explanation, model, config.server.facts_style == "all")
            _assert_offers(explanation, model)
            _assert_calls(explanation, model, config, calls)


def _assert_verdict(explanation: Explanation, catalog: Catalog, model: Model | None) -> None:
    assert (explanation.verdict == "listed") == (catalog.find(explanation.model) is not None)
    assert (explanation.verdict in ("listed", "accepted")) == (model is not None)
    shown = (explanation.id, explanation.owned_by, explanation.created)
    assert shown == ((model.id, model.owned_by, model.created) if model else ("", "", 0))
    if explanation.verdict == "denied":
        assert any(each.effect == "denies" for offer in explanation.offers for each in offer.reasons)


def _assert_models(explanation: Explanation, context: Context) -> None:
    """The public ids of each model are those that the rules gave it, and a model without one was removed."""
    for part, known in zip(explanation.providers, context.lists.providers, strict=True):
        for model in part.models:
            assert list(model.ids) == [offer.id for offer in known.source.offers if offer.entry.id == model.id]
            if (model.is_listed or model.is_declared) and not model.ids:
                assert any(reason.effect == "removes" for reason in model.reasons)
            if model.ids:
                kept_as_alias = any(reason.rule == "list_aliases" for reason in model.reasons)
                removed = [each for each in model.reasons if each.effect == "removes" and each.rule != "aliases"]
                assert not removed or kept_as_alias
        named = {offer.entry.id for offer in known.source.offers if offer.id == explanation.model}
        assert named <= {model.id for model in part.models}


def _assert_fields(explanation: Explanation, model: Model, all_spellings: bool) -> None:
    # Without `facts_style: all` the list does not show types that follow from names or modalities.
    derived = () if all_spellings else ("name", "modalities")
    facts = {fact.name: fact.value for fact in explanation.facts if fact.source not in derived}
    extra = msgspec.json.decode(model.offers[0].entry.extra)
    shown = {name: extra[name] for name in FACTS if extra.get(name) is not None}
    assert facts == {"owned_by": model.owned_by, "created": model.created, **shown}
    assert all(fact.reasons for fact in explanation.facts)


def _assert_offers(explanation: Explanation, model: Model) -> None:
    allowed = [(offer.provider, offer.id) for offer in explanation.offers if offer.is_allowed]
    first_of_each: dict[str, tuple[str, str]] = {}
    if not explanation.is_virtual:
        for provider, own_id in allowed:
            first_of_each.setdefault(provider, (provider, own_id))
        allowed = list(first_of_each.values())
    assert allowed == [(offer.provider, offer.entry.id) for offer in model.offers]


def _assert_calls(explanation: Explanation, model: Model, config: Config, calls: _Busy) -> None:
    assert explanation.calls is not None
    positions = sorted(
        (part.position, part.provider, part.id) for part in explanation.calls.candidates if part.position
    )
    assert [(provider, own_id) for _, provider, own_id in positions] == _sent(model, config, calls)
    assert all(part.reasons for part in explanation.calls.candidates if not part.position)


def _sent(model: Model, config: Config, calls: _Busy) -> Sequence[tuple[str, str]]:
    """Where calls of a model are sent, in this order: through the first API that is possible."""
    from proxy.inference.strategies import Strategies

    clock = FakeClock()
    fetcher = ListFetcher(config.providers, clock)
    forwarder = Forwarder(config.providers, clock, Telemetry(clock.monotonic), fetcher, calls.new_offers)
    targets = {provider.name: target for provider in config.providers if (target := provider.target)}
    strategies = Strategies(config, calls.load)
    for api in APIS:
        try:
            found = candidates(
                lambda name: model,
                NoBody(model.id),
                targets,
                (),
                api,
                order=lambda model_id, batch: strategies.ordered(None, model_id, batch),
            )
        except ModelNotCallable:
            return []
        except ApiNotSupported:
            continue
        return [(each.offer.provider, each.offer.entry.id) for each in forwarder._ordered(found, "")]
    return []


@given(st.lists(rules, max_size=4), st.sampled_from(IDS), st.sampled_from(NAMES))
def test_the_rules_that_match_decide_as_the_policy_does(given_rules: list[str], model_id: str, provider: str) -> None:
    from proxy.access.policy import matches_rule
    from proxy.catalog import Offer
    from proxy.dialects.entry import Entry

    offer = Offer(model_id, provider, "openai", Entry(model_id))
    matching = [rule for rule in given_rules if matches_rule(rule, offer)]
    is_allowed = any(not rule.startswith("!") for rule in matching) and not any(r.startswith("!") for r in matching)

    assert Policy(given_rules).allows(offer) == is_allowed

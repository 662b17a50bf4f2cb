"""Property: a virtual model gives no key access to a model that its deny rules forbid."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.catalog import Offer
from proxy.catalog.names import Source
from proxy.catalog.values import TargetOffer
from proxy.catalog.virtual import catalog_of
from proxy.config import Config
from proxy.config.routing import VirtualModel
from proxy.cooperative import run_now
from proxy.errors import ModelNotFound
from proxy.inference.request.json_body import JsonBody
from proxy.inference.routing import candidates
from proxy.store import Status, View
from proxy.store.names import Lazy, Names, name_index
from proxy.store.view import RenderedList
from tests.fakes import config_of, entry

PROVIDERS, OWNERS = ("a", "b", "listed"), ("meta", "openai")
REAL, VIRTUAL = ("m", "m-1", "n", "v-real"), ("v", "v-1", "n")
CONFIG = config_of("""
providers:
  - {name: a, base_url: 'http://127.0.0.1/a/v1', accept: ["*"]}
  - {name: b, base_url: 'http://127.0.0.1/b/v1'}
  - {name: listed, base_url: 'http://127.0.0.1/c/v1', call: false}
""")

rules = st.lists(
    st.tuples(
        st.sampled_from(["", "!"]),
        st.sampled_from(
            ["*", "v*", "v", "V", "m*", "m", "n", "owner:meta", "owner:*", "provider:a", "provider:b", "provider:*"]
        ),
    ).map("".join),
    max_size=5,
)
offers = st.lists(
    st.builds(
        lambda model_id, provider, owner: Offer(model_id, provider, owner, entry(model_id)),
        st.sampled_from(REAL),
        st.sampled_from(PROVIDERS),
        st.sampled_from(OWNERS),
    ),
    max_size=8,
    unique_by=lambda offer: (offer.id, offer.provider),
)
models = st.lists(
    st.builds(
        VirtualModel,
        id=st.sampled_from(VIRTUAL),
        targets=st.lists(st.sampled_from([*REAL, "unknown"]), min_size=1, unique=True).map(tuple),
    ),
    unique_by=lambda model: model.id,
    max_size=3,
)


class Seen(NamedTuple):
    """The models of one key."""

    view: View
    policy: Policy
    config: Config


def seen(rules: list[str], offers: list[Offer], models: list[VirtualModel]) -> Seen:
    config = Config(CONFIG.server, CONFIG.merge, (), CONFIG.providers, models=tuple(models))
    policy = Policy(rules)
    catalog = run_now(catalog_of(offers, policy, config))
    sources = [
        Source(provider, [offer.entry for offer in listed], listed, is_known=True)
        for provider in config.providers
        for listed in [[offer for offer in offers if offer.provider == provider.name]]
    ]
    names = Names(catalog, policy, Lazy(lambda: name_index(sources, config), is_short=True))
    rendered = RenderedList(catalog, names)
    status = Status(rendered.summary, oldest=None, stale=(), missing=(), incomplete=(), shows_names=False)
    view = View(rendered, status)
    return Seen(view, policy, config)


@settings(max_examples=400, deadline=None)
@given(rules, offers, models)
def test_no_virtual_model_reaches_an_offer_that_a_deny_rule_forbids(
    rules: list[str], offers: list[Offer], models: list[VirtualModel]
) -> None:
    view, policy, _ = seen(rules, offers, models)
    denied = {(offer.id, offer.provider) for offer in offers if policy.denies(offer)}

    for model in view.catalog.models:
        for offer in model.offers:
            if isinstance(offer, TargetOffer):
                assert (offer.target, offer.provider) not in denied


@settings(max_examples=400, deadline=None)
@given(rules, offers, models)
def test_a_key_sees_a_virtual_model_if_and_only_if_it_can_call_it(
    rules: list[str], offers: list[Offer], models: list[VirtualModel]
) -> None:
    view, _, config = seen(rules, offers, models)
    targets = {provider.name: target for provider in config.providers if (target := provider.target)}

    for model in models:
        try:
            batch = candidates(view.model, JsonBody(b'{"model":"%b"}' % model.id.encode()), targets, (), "openai")
        except ModelNotFound:
            batch = []
        assert bool(batch) == (view.catalog.find(model.id) is not None)
        assert {candidate.offer.id for candidate in batch} <= {model.id}


@settings(max_examples=400, deadline=None)
@given(rules, offers, models)
def test_models_whose_ids_are_not_virtual_are_as_without_virtual_models(
    rules: list[str], offers: list[Offer], models: list[VirtualModel]
) -> None:
    with_virtual, without = seen(rules, offers, models).view.catalog, seen(rules, offers, []).view.catalog
    virtual = {model.id for model in models}

    assert [model for model in with_virtual.models if model.id not in virtual] == [
        model for model in without.models if model.id not in virtual
    ]

"""The offers that can serve a call, their order, and the providers' ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from proxy.calls import Api
from proxy.catalog import Catalog, Model, Offer, merge
from proxy.catalog.values import TargetOffer
from proxy.config import Target
from proxy.dialects import Auth
from proxy.errors import ApiError, ApiNotSupported, BadRequest, ModelNotCallable, ModelNotFound
from proxy.inference.request.json_body import JsonBody
from proxy.inference.routing import Candidate, candidates
from tests.fakes import entry

TARGETS = {name: Target(f"http://{name}", Auth(), "{id}") for name in ("a", "b")} | {
    "deployed": Target("http://deployed", Auth(), "deployments/{id}"),
    "messages": Target("http://messages", Auth(), "{id}", speaks=("anthropic",)),
    "chat": Target("http://chat", Auth(), "{id}", speaks=("openai",)),
}
"""The provider `listed` is list-only."""


def offer(model_id: str, provider: str, own_id: str = "") -> Offer:
    return Offer(model_id, provider, "maker", entry(own_id or model_id))


CATALOG: Catalog = merge(
    [
        offer("m", "a", "m-of-a"),
        offer("n", "a"),
        offer("only-a", "a"),
        offer("m", "listed"),
        offer("only-listed", "listed"),
        offer("m", "b"),
        offer("n", "b"),
        offer("m", "deployed"),
        offer("both", "messages"),
        offer("both", "listed"),
        offer("both", "chat"),
        offer("claude", "messages"),
        offer("gpt", "listed"),
        offer("gpt", "chat"),
    ],
    lambda offer: True,
)


def found(model_id: str) -> Model:
    model = CATALOG.find(model_id)
    if model is None:
        raise ModelNotFound(model_id)
    return model


def routed(
    stateful: Sequence[str] = (), api: Api = "openai", /, **fields: object
) -> list[tuple[str, Mapping[str, str]]]:
    """Provider and ids of each candidate."""
    batch = candidates(found, JsonBody(msgspec.json.encode(fields)), TARGETS, stateful, api)
    return [(candidate.offer.provider, candidate.ids) for candidate in batch]


def test_every_callable_offer_is_a_candidate_in_the_operators_order_under_its_own_id() -> None:
    assert routed(model="m") == [("a", {"m": "m-of-a"}), ("b", {"m": "m"}), ("deployed", {"m": "deployments/m"})]


def test_only_providers_with_all_named_models_are_candidates() -> None:
    assert routed(model="m", models=["m", "n"]) == [("a", {"m": "m-of-a", "n": "n"}), ("b", {"m": "m", "n": "n"})]


def test_a_call_that_references_state_has_the_first_stateful_provider_alone() -> None:
    assert routed(["deployed", "b"], model="m", previous_response_id="r") == [("b", {"m": "m"})]


ORIGINS = {"r-a": "a", "r-b": "b", "f-a": "a", "r-d": "deployed"}
"""Id -> the provider that returned it to the caller."""


def pinned(model: str, *ids: str, stateful: Sequence[str] = ()) -> list[str]:
    """The candidates of a call that references these ids."""
    items = [{"type": "item_reference", "id": each} for each in ids]
    body = JsonBody(msgspec.json.encode({"model": model, "input": items}))
    batch = candidates(found, body, TARGETS, stateful, "openai", lambda object_id: ORIGINS.get(object_id, ""))
    return [candidate.offer.provider for candidate in batch]


def test_a_call_that_references_ids_of_the_caller_has_the_provider_that_returned_them_alone() -> None:
    assert [pinned("m", "r-b"), pinned("m", "r-a", "f-a"), pinned("m", "r-b", stateful=["a"])] == [["b"], ["a"], ["b"]]


def test_a_call_that_also_references_other_ids_needs_the_same_provider_to_be_stateful() -> None:
    assert pinned("m", "r-b", "other", stateful=["a", "b"]) == ["b"]
    for stateful in ([], ["a"]):
        with pytest.raises(BadRequest, match="`store: false`"):
            pinned("m", "r-b", "other", stateful=stateful)


def test_a_call_that_references_ids_of_two_providers_is_rejected() -> None:
    with pytest.raises(BadRequest, match="must be stored at the same provider"):
        pinned("m", "r-a", "r-b", stateful=["a", "b"])


def test_a_call_that_references_an_id_of_a_provider_without_the_model_is_rejected() -> None:
    with pytest.raises(BadRequest, match="at a provider that does not have this model"):
        pinned("n", "r-d")


@pytest.mark.parametrize(("api", "provider"), [("openai", "chat"), ("anthropic", "messages")])
def test_only_providers_that_support_the_api_of_the_call_are_candidates(api: Api, provider: str) -> None:
    assert routed((), api, model="both") == [(provider, {"both": "both"})]


@pytest.mark.parametrize(
    ("api", "model", "message"),
    [
        (
            "openai",
            "claude",
            "The model 'claude' cannot be called through the OpenAI API (/v1/chat/completions); use the Anthropic API "
            "(/v1/messages).",
        ),
        (
            "anthropic",
            "gpt",
            "The model 'gpt' cannot be called through the Anthropic API (/v1/messages); use the OpenAI API "
            "(/v1/chat/completions).",
        ),
    ],
)
def test_a_call_in_an_api_that_no_provider_of_the_model_supports_is_an_error_with_the_others(
    api: Api, model: str, message: str
) -> None:
    with pytest.raises(ApiNotSupported) as error:
        routed((), api, model=model)
    assert (error.value.status, error.value.param, error.value.message) == (400, "model", message)


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_list_only_model_cannot_be_called_through_any_api(api: Api) -> None:
    with pytest.raises(ModelNotCallable):
        routed((), api, model="only-listed")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "unknown"}, ModelNotFound),
        ({"model": "m", "models": ["m", "unknown"]}, ModelNotFound),
        ({"model": "only-listed"}, ModelNotCallable),
        ({"model": "only-a", "models": ["only-a", "only-listed"]}, BadRequest),
        ({"model": "m", "previous_response_id": "r"}, BadRequest),
    ],
)
def test_without_a_candidate_the_caller_gets_the_reason(fields: Mapping[str, object], error: type[ApiError]) -> None:
    with pytest.raises(error):
        routed(**fields)


def test_the_providers_ids_are_hidden_if_one_of_the_models_is_virtual() -> None:
    target = TargetOffer("smart", "a", "maker", entry("m-of-a"), target="m")
    models = {"smart": Model((target,), 0), "m": found("m")}
    ids = {}
    for fields in ({"model": "smart"}, {"model": "m", "models": ["m", "smart"]}, {"model": "m"}):
        body = JsonBody(msgspec.json.encode(fields))
        first = candidates(models.__getitem__, body, TARGETS, (), "openai")[0]
        ids[body.models] = (first.ids, first.own_id(body.model))

    assert ids == {
        ("smart",): ({"smart": "m-of-a"}, None),
        ("m", "smart"): ({"m": "m-of-a", "smart": "m-of-a"}, None),
        ("m",): ({"m": "m-of-a"}, "m-of-a"),
    }


def test_an_order_applies_to_several_candidates_but_never_to_stored_state() -> None:
    def backwards(model: str, batch: Sequence[Candidate]) -> Sequence[Candidate]:
        return batch[::-1]

    def order(stateful: Sequence[str] = (), **fields: object) -> list[str]:
        body = JsonBody(msgspec.json.encode(fields))
        batch = candidates(found, body, TARGETS, stateful, "openai", order=backwards)
        return [candidate.offer.provider for candidate in batch]

    assert order(model="m") == ["deployed", "b", "a"]
    assert order(model="only-a") == ["a"]
    assert order(["b", "deployed"], model="m", previous_response_id="r") == ["b"]

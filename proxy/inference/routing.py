"""Which offers can answer a call. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from proxy.catalog import Catalog, Model, Offer
from proxy.config import Target
from proxy.errors import BadRequest, ModelNotCallable, ModelNotFound
from proxy.inference.request.body import Body

_SHARED = (
    "This call refers to something that the provider keeps (an earlier response, a conversation, a file store). "
    "Its account is shared by all callers here, so that is not possible unless the provider is marked `stateful: true`."
)


class Candidate(Struct, frozen=True):
    """An offer of the model, and what its provider calls the models that the call names."""

    offer: Offer
    ids: Mapping[str, str]
    """Public id -> the provider's id."""


def candidates(
    catalog: Catalog, body: Body, targets: Mapping[str, Target], stateful: Collection[str]
) -> Sequence[Candidate]:
    """The offers that can answer a call, in the operator's order; at least one. Raises ApiError.

    `targets`: of the providers whose models can be called; `stateful`: names of the providers that may keep state.
    """
    model = _model(catalog, body.model)
    others = {name: _model(catalog, name) for name in (*body.models[1:], *body.models_of_tools)}
    offers = [offer for offer in model.offers if offer.provider in targets]
    if not offers:
        raise ModelNotCallable(body.model)
    result = []
    for offer in offers:
        target = targets[offer.provider]
        ids = {body.model: target.called(offer.entry.id)}
        for name, other in others.items():
            ids[name] = _own_id(other, offer.provider, target)
        if all(ids.values()) and all(ids[name] == name for name in body.models_of_tools):
            result.append(Candidate(offer, ids))
    if not result:
        raise BadRequest("All models that a call names must be models of one provider.", param="models")
    return _with_state(result, stateful) if body.refers_to_state else result


def _with_state(batch: Sequence[Candidate], stateful: Collection[str]) -> Sequence[Candidate]:
    """Only one provider has the state that a call refers to."""
    keeping = [candidate for candidate in batch if candidate.offer.provider in stateful]
    if not keeping:
        raise BadRequest(_SHARED)
    return keeping[:1]


def _model(catalog: Catalog, name: str) -> Model:
    model = catalog.find(name)
    if model is None:
        raise ModelNotFound(name)
    return model


def _own_id(model: Model, provider: str, target: Target) -> str:
    """What a provider calls a model, "" if it does not offer it under this id."""
    for offer in model.offers:
        if offer.provider == provider:
            return target.called(offer.entry.id)
    return ""

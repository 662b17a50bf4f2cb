"""Select the offers that can serve a call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct

from proxy.calls import API_NAMES, APIS, Api
from proxy.catalog import Model, Offer
from proxy.config import Target
from proxy.errors import ApiNotSupported, BadRequest, ModelNotCallable
from proxy.inference.request.body import Body

_SHARED = (
    "The request references state stored at the provider (such as a previous response, a conversation or a file). "
    "All callers share the proxy's account there, so this requires `stateful: true` in the provider's configuration."
)


class Candidate(Struct, frozen=True):
    """An offer of the requested model, and its provider's ids of all models in the request."""

    offer: Offer
    ids: Mapping[str, str]
    """Public id -> the provider's id."""


def candidates(
    find: Callable[[str], Model], body: Body, targets: Mapping[str, Target], stateful: Collection[str], api: Api
) -> Sequence[Candidate]:
    """Return the offers that can serve a call, in the operator's order; at least one. Raises ApiError.

    `find` returns the model with an id or another name that the caller may use; it raises ModelNotFound.
    `targets`: of the providers that can be called; `stateful`: names of the providers with `stateful: true`; `api`: of
    the call.
    """
    model = find(body.model)
    others = {name: find(name) for name in body.models[1:]}
    offers = _callable(body.model, model.offers, targets, api)
    result = []
    for offer in offers:
        target = targets[offer.provider]
        ids = {body.model: target.called(offer.entry.id)}
        for name, other in others.items():
            ids[name] = _own_id(other, offer.provider, target)
        if all(ids.values()):
            result.append(Candidate(offer, ids))
    if not result:
        raise BadRequest("All models in one request must belong to the same provider.", param="models")
    return _with_state(result, stateful) if body.refers_to_state else result


def _callable(model: str, offers: Sequence[Offer], targets: Mapping[str, Target], api: Api) -> Sequence[Offer]:
    """Return the offers that can be called through an API; at least one. Raises ModelNotCallable, ApiNotSupported."""
    suitable = [offer for offer in offers if offer.provider in targets and api in targets[offer.provider].speaks]
    if not suitable:
        spoken = {each for offer in offers if offer.provider in targets for each in targets[offer.provider].speaks}
        if not spoken:
            raise ModelNotCallable(model)
        raise ApiNotSupported(model, API_NAMES[api], [API_NAMES[each] for each in APIS if each in spoken])
    return suitable


def _with_state(batch: Sequence[Candidate], stateful: Collection[str]) -> Sequence[Candidate]:
    """Return the first stateful provider: only one can have the referenced state."""
    stateful_only = [candidate for candidate in batch if candidate.offer.provider in stateful]
    if not stateful_only:
        raise BadRequest(_SHARED)
    return stateful_only[:1]


def _own_id(model: Model, provider: str, target: Target) -> str:
    """Return a provider's id of a model, "" if the provider does not offer it."""
    for offer in model.offers:
        if offer.provider == provider:
            return target.called(offer.entry.id)
    return ""

"""Select the offers that can serve a call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct

from proxy.calls import API_NAMES, APIS, Api
from proxy.catalog import Model, Offer
from proxy.catalog.values import TargetOffer
from proxy.config import Target
from proxy.errors import ApiNotSupported, BadRequest, ModelNotCallable
from proxy.inference.request.body import Body

_SHARED = (
    "The request references state stored at the provider (such as a previous response, a conversation or a file) that "
    "this API key did not receive within the last day. Send the complete conversation with `store: false`. All callers "
    "share the proxy's account there, so other references require `stateful: true` in the provider's configuration."
)
_SEVERAL_PROVIDERS = "All state that one request references must be stored at the same provider."
_OTHER_PROVIDER = (
    "The request references state (such as a previous response) at a provider that does not have this model; use the "
    "model of the earlier call, or send the complete conversation with `store: false`."
)


Order = Callable[[str, Sequence["Candidate"]], Sequence["Candidate"]]
"""From the id of a model and its candidates in the operator's order to the order in which they are tried."""


class Candidate(Struct, frozen=True):
    """An offer of the requested model, and its provider's ids of all models in the request."""

    offer: Offer
    ids: Mapping[str, str]
    """Public id -> the provider's id."""
    hides_ids: bool = False
    """Whether the caller must not see the provider's ids in any form, because one of the models is virtual."""

    def own_id(self, model: str) -> str | None:
        """The id that is replaced by that of the requested model in the response; None: every id."""
        return None if self.hides_ids else self.ids[model]


def candidates(
    find: Callable[[str], Model],
    body: Body,
    targets: Mapping[str, Target],
    stateful: Collection[str],
    api: Api,
    origin_of: Callable[[str], str] = lambda object_id: "",
    order: Order | None = None,
) -> Sequence[Candidate]:
    """Return the offers that can serve a call, in the order in which they are tried; at least one. Raises ApiError.

    `find` returns the model with an id or another name that the caller may use; it raises ModelNotFound.
    `targets`: of the providers that can be called; `stateful`: names of the providers with `stateful: true`; `api`: of
    the call; `origin_of` returns the provider from which the caller received an id, "" if it received it from none;
    `order`: None for the operator's order, which also decides which provider has stored state.
    """
    model = find(body.model)
    offers = _callable(body.model, model.offers, targets, api)
    if len(body.models) == 1:
        hides_ids = isinstance(model.offers[0], TargetOffer)
        result = [
            Candidate(offer, {body.model: targets[offer.provider].called(offer.entry.id)}, hides_ids)
            for offer in offers
        ]
    else:
        others = {name: find(name) for name in body.models[1:]}
        result = _with_all_models(body.model, model, others, offers, targets)
    if body.references:
        return _with_state(result, stateful, {origin_of(each) for each in body.references})
    return order(model.id, result) if order is not None and len(result) > 1 else result


def _with_all_models(
    requested: str,
    model: Model,
    others: Mapping[str, Model],
    offers: Sequence[Offer],
    targets: Mapping[str, Target],
) -> list[Candidate]:
    """Return the offers of the providers that also have the other models of a request. Raises BadRequest."""
    hides_ids = any(isinstance(each.offers[0], TargetOffer) for each in (model, *others.values()))
    result = []
    for offer in offers:
        target = targets[offer.provider]
        ids = {name: _own_id(other, offer.provider, target) for name, other in others.items()}
        if all(ids.values()):
            result.append(Candidate(offer, {requested: target.called(offer.entry.id), **ids}, hides_ids))
    if not result:
        raise BadRequest("All models in one request must belong to the same provider.", param="models")
    return result


def _callable(model: str, offers: Sequence[Offer], targets: Mapping[str, Target], api: Api) -> Sequence[Offer]:
    """Return the offers that can be called through an API; at least one. Raises ModelNotCallable, ApiNotSupported."""
    suitable = [offer for offer in offers if offer.provider in targets and api in targets[offer.provider].speaks]
    if not suitable:
        spoken = {each for offer in offers if offer.provider in targets for each in targets[offer.provider].speaks}
        if not spoken:
            raise ModelNotCallable(model)
        raise ApiNotSupported(model, API_NAMES[api], [API_NAMES[each] for each in APIS if each in spoken])
    return suitable


def _with_state(batch: Sequence[Candidate], stateful: Collection[str], origins: Collection[str]) -> Sequence[Candidate]:
    """Return the one provider that has the referenced state. Raises BadRequest.

    `origins`: the providers from which the caller received the ids, "" for an id that it did not receive. Such an id is
    assumed to be at the first stateful provider.
    """
    known = {provider for provider in origins if provider}
    if len(known) > 1:
        raise BadRequest(_SEVERAL_PROVIDERS)
    with_state = [candidate for candidate in batch if not known or candidate.offer.provider in known]
    if "" in origins:
        with_state = [candidate for candidate in with_state if candidate.offer.provider in stateful]
    if not with_state:
        raise BadRequest(_SHARED if "" in origins else _OTHER_PROVIDER)
    return with_state[:1]


def _own_id(model: Model, provider: str, target: Target) -> str:
    """Return a provider's id of a model, "" if the provider does not offer it."""
    for offer in model.offers:
        if offer.provider == provider:
            return target.called(offer.entry.id)
    return ""

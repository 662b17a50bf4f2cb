"""Resolves the names that are not listed, for one policy, and finds similar ids for error messages.

The indexes are computed at the first name that is not listed, in steps, and shared by all later ones. A name is allowed
if the rules allow it, and no deny rule applies to what it may refer to: the name without its `:suffix`, the listed
model that it is another name of, and every listed id that begins with it or that it begins with.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec.structs import replace

from proxy.access import Policy
from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.finish import finishing
from proxy.catalog.merge import model_of
from proxy.catalog.names import Accepted, AcceptedNames, Source, accepted_names, bases_of, without_registry
from proxy.catalog.similar import Spellings, similar_ids, spellings
from proxy.config import Config
from proxy.cooperative import BATCH_SIZE, Cooperative, batched, run_now, run_yielding
from proxy.patterns import folded

T = TypeVar("T")

MAX_NAME = 512
"""Characters. Longer names, and names with more than MAX_SUFFIXES colons, are not resolved."""
MAX_SUFFIXES = 8
MAX_CACHED = 256
"""Resolved names per policy."""
Refusal = Literal["rules", "listed model denied", "list unknown", "variant of denied model", "similar to denied model"]
"""Why a policy does not allow a name that a provider accepts. `rules`: for the name itself."""


class Lazy(Generic[T]):
    """A value that is computed at its first use."""

    def __init__(self, compute: Callable[[], Cooperative[T]], *, is_short: bool = False) -> None:
        """`is_short`: the computation is so short that it need not yield."""
        self._compute = compute
        self.is_short = is_short
        self._value: T | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether `get` blocks other tasks for a short time only."""
        return self.is_short or self._value is not None

    def get(self) -> T:
        """Return the value; compute it now if it is not there."""
        if self._value is None:
            self._value = run_now(self._compute())
        return self._value

    async def prepare(self) -> None:
        """Compute the value in steps, once for all concurrent requests."""
        if not self.is_ready:
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="index names")
            # Shielded: one cancelled waiter must not cancel the others.
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        self._value = await run_yielding(self._compute())


class NameIndex(NamedTuple):
    """What all policies share, until the offers change."""

    acceptors: tuple[AcceptedNames, ...]
    """The providers that accept other names than they list, in the configured order."""
    spellings: Spellings
    offers: Sequence[Offer]
    """Those of all providers."""
    virtual: frozenset[str]
    """The ids of virtual models, which are no names of anything else."""
    finish: Callable[[Model], Model] | None
    """What is added to the facts of models, see `finishing`."""


def name_index(sources: Sequence[Source], config: Config) -> Cooperative[NameIndex]:
    """Index all names in batches."""
    acceptors = []
    for source in sources:
        acceptor = yield from accepted_names(source, config)
        if acceptor is not None:
            acceptors.append(acceptor)
    offers = tuple(chain.from_iterable(source.offers for source in sources))
    index = yield from spellings(offers)
    return NameIndex(tuple(acceptors), index, offers, frozenset(model.id for model in config.models), finishing(config))


def lazy_index(sources: Sequence[Source], config: Config) -> Lazy[NameIndex]:
    """The index of all names, computed when a request needs it."""
    is_short = sum(len(source.offers) for source in sources) <= BATCH_SIZE
    return Lazy(lambda: name_index(sources, config), is_short=is_short)


class _Related:
    """Finds whether one of some ids begins with a name, or a name begins with it. Ignores case and Unicode form."""

    def __init__(self, forms: set[str]) -> None:
        """`forms`: the folded ids."""
        self._ids = forms
        self._sorted = sorted(forms)

    def has(self, name: str) -> bool:
        return any(map(self._has_form, {folded(name), folded(without_registry(name))}))

    def _has_form(self, form: str) -> bool:
        at = bisect_left(self._sorted, form)
        if at < len(self._sorted) and self._sorted[at].startswith(form):
            return True
        return any(form[:length] in self._ids for length in range(1, len(form)))


class _Denied(NamedTuple):
    """The listed ids that a policy denies whatever their provider is."""

    public: _Related
    own: Mapping[str, _Related]
    """Provider -> its own ids of denied models."""


def _denied(policy: Policy, offers: Iterable[Offer]) -> Cooperative[_Denied]:
    public: set[str] = set()
    own: dict[str, set[str]] = {}
    for batch in batched(offers):
        for offer in filter(policy.denies_everywhere, batch):
            public.add(folded(offer.id))
            own.setdefault(offer.provider, set()).add(folded(offer.entry.id))
        yield
    return _Denied(_Related(public), {provider: _Related(ids) for provider, ids in own.items()})


class Names:
    """The names besides the listed ids that one policy allows, until the offers change."""

    def __init__(self, catalog: Catalog, policy: Policy, index: Lazy[NameIndex]) -> None:
        self._catalog = catalog
        self._policy = policy
        self._index = index
        self._denied = Lazy(lambda: _denied(policy, index.get().offers), is_short=index.is_short)
        self._resolved: dict[str, Model] = {}

    @property
    def is_ready(self) -> bool:
        """Whether the indexes are there, or short."""
        return self._index.is_ready and (not self._needs_denied or self._denied.is_ready)

    async def prepare(self) -> None:
        """Compute the indexes in steps, so that other requests are not blocked."""
        await self._index.prepare()
        if self._needs_denied:
            await self._denied.prepare()

    @property
    def _needs_denied(self) -> bool:
        return self._policy.denies_models and bool(self._index.get().acceptors)

    def find(self, name: str) -> Model | None:
        """Return the model with a name that is not listed, None if it is unknown or not allowed."""
        if name in self._resolved:
            return self._resolved[name]
        if len(name) > MAX_NAME or name.count(":") > MAX_SUFFIXES:
            return None
        if name in self._index.get().virtual:
            return None
        offers = tuple(accepted.offer for accepted in self.accepted(name) if not self.refusal(accepted))
        if not offers:
            return None
        if len(self._resolved) >= MAX_CACHED:
            del self._resolved[next(iter(self._resolved))]
        model, finish = model_of(offers), self._index.get().finish
        self._resolved[name] = finish(model) if finish else model
        return self._resolved[name]

    def similar(self, name: str) -> Sequence[str]:
        """Return listed ids that are similar to an unknown name."""
        return similar_ids(name[:MAX_NAME], self._catalog, self._index.get().spellings)

    def accepted(self, name: str) -> Iterator[Accepted]:
        """Yield what the providers that accept a name make of it, whatever the policy allows."""
        return filter(None, (acceptor.find(name) for acceptor in self._index.get().acceptors))

    def refusal(self, accepted: Accepted) -> Refusal | None:
        """Return why the policy does not allow an accepted name, None if it does."""
        policy, offer = self._policy, accepted.offer
        if not policy.allows(offer):
            return "rules"
        if any(map(policy.denies, accepted.behind)):
            return "listed model denied"
        if not policy.denies_models:
            return None
        if not accepted.is_known:
            return "list unknown"  # the name may refer to a model that the rules deny
        if any(map(policy.denies, _bases(offer))):
            return "variant of denied model"
        denied = self._denied.get()
        own = denied.own.get(offer.provider)
        return "similar to denied model" if denied.public.has(offer.id) or (own and own.has(accepted.own_id)) else None

    def denied_model(self, accepted: Accepted) -> Offer | None:
        """Return the model for which `refusal` does not allow a name, None for another reason. For explanations."""
        deny = self._policy.denies
        direct = next(filter(deny, (*accepted.behind, *_bases(accepted.offer))), None)
        return direct or next(filter(partial(_is_related, accepted), self._denied_offers()), None)

    def _denied_offers(self) -> Iterator[Offer]:
        return filter(self._policy.denies_everywhere, self._index.get().offers)


def _bases(offer: Offer) -> Iterator[Offer]:
    """Yield the models that a name may be a variant of."""
    return (replace(offer, id=base, alias_of=None) for base in bases_of(offer.id))


def _is_related(accepted: Accepted, offer: Offer) -> bool:
    """Whether an id begins with an accepted name, or the name with it."""
    public = _Related({folded(offer.id)}).has(accepted.offer.id)
    return public or (
        offer.provider == accepted.offer.provider and _Related({folded(offer.entry.id)}).has(accepted.own_id)
    )

"""The catalog of one policy, merged and encoded once, and the headers sent with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable

from proxy.access.keys import PRIVATE
from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.cooperative import Cooperative, batched, run_now
from proxy.errors import ModelListIncomplete, ModelNotFound
from proxy.store.formats import FormatLists
from proxy.store.list_body import ListBody, ReadyList, etags_of
from proxy.store.names import Names
from proxy.wire import OPENAI_LISTS
from proxy.wire.lists import Entries, ListFormat
from proxy.wire.openai import EncodedList, SharedEntries, listing, model_object

MAX_READY = 64
"""Maximum responses that are kept for the requests of one view: clients choose the number of different requests."""


class ListSummary:
    """What is known of a rendered list even after it was evicted: enough to revalidate the copy of a client."""

    __slots__ = ("etags", "is_empty", "providers")

    def __init__(self, catalog: Catalog, digest: str) -> None:
        """`digest`: SHA-256 of the encoded list."""
        self.providers = catalog.providers()
        self.is_empty = not catalog.models
        self.etags = etags_of(digest)


class RenderedList(ListBody):
    """A catalog and its encoded list, in OpenAI's format; `formats` has the others."""

    def __init__(self, catalog: Catalog, names: Names, encoded: EncodedList | None = None) -> None:
        """`names`: those besides the listed ids. `encoded`: the list if `render` has already encoded it."""
        encoded = encoded or run_now(listing(catalog.models))
        self.summary = ListSummary(catalog, encoded.digest)
        super().__init__(encoded.body, self.summary.etags)
        self.catalog = catalog
        self.names = names
        self._lengths = encoded.lengths
        self.formats = FormatLists(catalog.models, self._encoded_entries, encoded.digest)
        """The list in other formats, and parts of it."""
        self._objects: dict[str, bytes] = {}
        self._object_bytes = 0

    def object(self, model: Model) -> bytes:
        """A model as JSON. One of the catalog is encoded at its first request; there is no end of other names."""
        if self.catalog.find(model.id) is not model:
            return model_object(model)
        if model.id not in self._objects:
            self._objects[model.id] = model_object(model)
            self._object_bytes += len(self._objects[model.id])
        return self._objects[model.id]

    def cached(self, lists: ListFormat, query: Hashable) -> ListBody | None:
        """Return the part of a list that a query selects (see `ListFormat`), None if it must be encoded first."""
        return self if _is_whole(lists, query) else self.formats.cached(lists, query)

    async def encoded(self, lists: ListFormat, query: Hashable, providers: Collection[str]) -> ListBody:
        """Like `cached`, but encode it if necessary. `providers`: see `FormatLists.page`."""
        return self if _is_whole(lists, query) else await self.formats.page(lists, query, providers)

    def _encoded_entries(self) -> Entries:
        if self.entries:
            return SharedEntries(self.entries)
        return EncodedList(self.body, self._lengths).joined_entries()

    @property
    def size(self) -> int:
        """Approximate bytes in memory: the list, its gzip form (before it is compressed: an estimate), the index of
        models, and single models that were requested."""
        of_catalog = self._object_bytes + 150 * len(self.catalog.models)
        return len(self.body) + self.compressed_length + of_catalog + self.formats.size

    def share(self, pool: dict[bytes, bytes]) -> Cooperative[None]:
        """Replace the encoded list by its entries, those of other lists in `pool` where they are equal; in steps."""
        entries: list[bytes] = []
        for batch in batched(EncodedList(self.body, self._lengths).entries()):
            entries += [pool.setdefault(entry, entry) for entry in batch]
            yield
        self.entries, self.body, self._lengths = tuple(entries), b"", ()


def _is_whole(lists: ListFormat, query: Hashable) -> bool:
    return query is None and lists is OPENAI_LISTS


def render(catalog: Catalog, names: Names) -> Cooperative[RenderedList]:
    """Encode a catalog in batches, so that other tasks can run."""
    encoded = yield from listing(catalog.models)
    yield
    return RenderedList(catalog, names, encoded)


class Status:
    """The headers of all responses to requests of one policy, until the next change of any state or list."""

    def __init__(
        self,
        summary: ListSummary,
        *,
        oldest: float | None,
        stale: tuple[str, ...],
        missing: tuple[str, ...],
        incomplete: tuple[str, ...],
        shows_names: bool,
    ) -> None:
        """`oldest`: monotonic seconds of the oldest response shown. `stale`, `missing` and `incomplete` are names of
        providers. Headers contain the names if `shows_names`, which requires access to all models; otherwise their
        number."""
        self.etags = summary.etags
        self.is_empty = summary.is_empty
        self.oldest = oldest
        self.headers: list[Header] = [
            *PRIVATE,
            *(
                (name, ", ".join(names).encode() if shows_names else b"%d" % len(names))
                for name, names in (
                    (b"x-models-stale", stale),
                    (b"x-models-missing", missing),
                    (b"x-models-incomplete", incomplete),
                )
                if names
            ),
        ]
        """The headers of every response, for a list or one model."""


class View:
    """The responses to requests of one policy, until the next change."""

    def __init__(
        self, rendered: RenderedList, status: Status, seconds_until_known: Callable[[str], float] = lambda name: 0.0
    ) -> None:
        """`seconds_until_known`: see `absent`."""
        self.rendered = rendered
        self.status = status
        self.seconds_until_known = seconds_until_known
        """After how long a name that is not listed may be, 0 for never."""
        self.ready: dict[Hashable, ReadyList] = {}
        """The responses to requests for lists, by what a request contains. They consist of what `rendered` keeps."""
        rendered.formats.on_eviction = self.ready.clear

    @property
    def catalog(self) -> Catalog:
        return self.rendered.catalog

    async def prepare(self, names: Iterable[str]) -> None:
        """Prepare `find` for these names in steps, so that other requests are not blocked."""
        if not all(map(self.catalog.find, names)):
            await self.rendered.names.prepare()

    @property
    def is_prepared(self) -> bool:
        """Whether `find` and `model` are fast for all names, not only for listed ids."""
        return self.rendered.names.is_ready

    def find(self, name: str) -> Model | None:
        """The model with a listed id or another name (see `Names`), None if it is unknown or not allowed: callers
        cannot distinguish these."""
        return self.catalog.find(name) or self.rendered.names.find(name)

    def model(self, name: str) -> Model:
        """Like `find`. Raises ModelNotFound, which names similar ids in this view, and ModelListIncomplete."""
        model = self.find(name)
        if model is None:
            if seconds := self.seconds_until_known(name):
                raise ModelListIncomplete(name, seconds)
            raise ModelNotFound(name, self.rendered.names.similar(name))
        return model

    def cached(self, lists: ListFormat, query: Hashable, *, packed: bool) -> ReadyList | None:
        """Return the part of a list that a query selects (see `ListFormat`), None if it must be encoded first."""
        encoded = self.rendered.cached(lists, query) if self.catalog.models else None
        return encoded.ready(self.status.headers, packed=packed) if encoded else None

    def keep(self, request: Hashable, ready: ReadyList) -> None:
        """Keep the response to equal requests, which must consist of what `rendered` keeps now."""
        if len(self.ready) >= MAX_READY:
            self.ready.clear()
        self.ready[request] = ready

"""The catalog of one policy, merged and encoded once, and the headers sent with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal

from proxy.access.keys import PRIVATE
from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.cooperative import Cooperative, batched, run_now
from proxy.errors import ModelListIncomplete, ModelNotFound
from proxy.store.compression import Compressed
from proxy.store.formats import FormatLists
from proxy.store.names import Names
from proxy.wire import JSON
from proxy.wire.lists import Entries
from proxy.wire.openai import EncodedList, SharedEntries, listing, model_object

Encoding = Literal["identity", "gzip"]


class ListSummary:
    """What is known of a rendered list even after it was evicted: enough to revalidate the copy of a client."""

    __slots__ = ("etags", "is_empty", "providers")

    def __init__(self, catalog: Catalog, digest: str) -> None:
        """`digest`: SHA-256 of the encoded list."""
        self.providers = catalog.providers()
        self.is_empty = not catalog.models
        digest = digest[:32]
        self.etags: Mapping[Encoding, bytes] = {
            "identity": f'"{digest}"'.encode(),
            "gzip": f'"{digest}-gzip"'.encode(),
        }


class RenderedList(Compressed):
    """A catalog and its encoded list."""

    def __init__(self, catalog: Catalog, names: Names, encoded: EncodedList | None = None) -> None:
        """`names`: those besides the listed ids. `encoded`: the list if `render` has already encoded it."""
        super().__init__(lambda: self.identity)
        self.catalog = catalog
        self.names = names
        encoded = encoded or run_now(listing(catalog.models))
        self._lengths = encoded.lengths
        self.body = encoded.body
        """The encoded list; empty if it consists of `entries`."""
        self.entries: Sequence[bytes] = ()
        """The parts of the encoded list, if it shares them with other lists."""
        self.length = len(encoded.body)
        self.summary = ListSummary(catalog, encoded.digest)
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

    @property
    def identity(self) -> bytes:
        """The encoded list, joined if it consists of entries."""
        return b"".join(self.entries) if self.entries else self.body

    def _encoded_entries(self) -> Entries:
        if self.entries:
            return SharedEntries(self.entries)
        return EncodedList(self.body, self._lengths).joined_entries()

    @property
    def size(self) -> int:
        """Approximate bytes in memory: the list, its gzip form (before it is compressed: an estimate), the index of
        models, and single models that were requested."""
        compressed = self.length // 8 if self.gzip is None else len(self.gzip)
        of_catalog = self._object_bytes + 150 * len(self.catalog.models)
        return len(self.body) + compressed + of_catalog + self.formats.size

    def share(self, pool: dict[bytes, bytes]) -> Cooperative[None]:
        """Replace the encoded list by its entries, those of other lists in `pool` where they are equal; in steps."""
        entries: list[bytes] = []
        for batch in batched(EncodedList(self.body, self._lengths).entries()):
            entries += [pool.setdefault(entry, entry) for entry in batch]
            yield
        self.entries, self.body, self._lengths = tuple(entries), b"", ()


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

    @cached_property
    def identity_headers(self) -> list[Header]:
        return self._list_headers("identity", self.rendered.length)

    @cached_property
    def gzip_headers(self) -> list[Header]:
        assert self.rendered.gzip is not None, "requires `compressed`"
        return [*self._list_headers("gzip", len(self.rendered.gzip)), (b"content-encoding", b"gzip")]

    def _list_headers(self, encoding: Encoding, length: int) -> list[Header]:
        return [
            JSON,
            (b"content-length", b"%d" % length),
            (b"etag", self.status.etags[encoding]),
            *self.status.headers,
        ]

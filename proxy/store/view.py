"""The catalog of one policy, merged and encoded once, and the headers sent with it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Literal

from proxy.access.keys import PRIVATE
from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.cooperative import Cooperative
from proxy.errors import ModelNotFound
from proxy.store.names import Names
from proxy.wire import JSON
from proxy.wire.openai import listing, model_list, model_object

Encoding = Literal["identity", "gzip"]


class RenderedList:
    """A catalog and its encoded list."""

    def __init__(self, catalog: Catalog, names: Names, identity: bytes | None = None) -> None:
        """`names`: those besides the listed ids. `identity`: the encoded list if `render` has already encoded it."""
        self.catalog = catalog
        self.names = names
        self.providers = catalog.providers()
        self.identity = model_list(catalog.models) if identity is None else identity
        digest = hashlib.sha256(self.identity).hexdigest()[:32]
        self.etags: dict[Encoding, bytes] = {
            "identity": f'"{digest}"'.encode(),
            "gzip": f'"{digest}-gzip"'.encode(),
        }
        self.gzip: bytes | None = None
        self._compressing: asyncio.Task[bytes] | None = None
        self._objects: dict[str, bytes] = {}

    def object(self, model: Model) -> bytes:
        """A model as JSON. One of the catalog is encoded at its first request; there is no end of other names."""
        if self.catalog.find(model.id) is not model:
            return model_object(model)
        if model.id not in self._objects:
            self._objects[model.id] = model_object(model)
        return self._objects[model.id]

    @property
    def size(self) -> int:
        """Approximate bytes in memory: the list, its gzip form, and the index of models."""
        return len(self.identity) * 5 // 4 + 300 * len(self.catalog.models)

    async def compressed(self) -> bytes:
        """The gzip bytes, compressed once in a thread, at the first request."""
        if self.gzip is None:
            if self._compressing is None:
                work = asyncio.to_thread(gzip.compress, self.identity, 6, mtime=0)
                self._compressing = asyncio.create_task(work, name="compress a list")
            # Shielded: one canceled waiter must not cancel the others.
            self.gzip = await asyncio.shield(self._compressing)
        return self.gzip


def render(catalog: Catalog, names: Names) -> Cooperative[RenderedList]:
    """Encode a catalog in batches, so that other tasks can run."""
    identity = yield from listing(catalog.models)
    yield
    return RenderedList(catalog, names, identity)


class View:
    """The responses to requests of one policy, until the next change."""

    def __init__(
        self,
        rendered: RenderedList,
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
        self.rendered = rendered
        self.oldest = oldest
        self._notes = [
            (name, ", ".join(names).encode() if shows_names else b"%d" % len(names))
            for name, names in (
                (b"x-models-stale", stale),
                (b"x-models-missing", missing),
                (b"x-models-incomplete", incomplete),
            )
            if names
        ]

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
        """Like `find`. Raises ModelNotFound, which names similar ids in this view."""
        model = self.find(name)
        if model is None:
            raise ModelNotFound(name, self.rendered.names.similar(name))
        return model

    @cached_property
    def headers(self) -> list[Header]:
        """The headers of every response from this view, for a list or one model."""
        return [*PRIVATE, *self._notes]

    @cached_property
    def identity_headers(self) -> list[Header]:
        return self._list_headers("identity", self.rendered.identity)

    @cached_property
    def gzip_headers(self) -> list[Header]:
        assert self.rendered.gzip is not None, "requires `compressed`"
        return [*self._list_headers("gzip", self.rendered.gzip), (b"content-encoding", b"gzip")]

    def _list_headers(self, encoding: Encoding, body: bytes) -> list[Header]:
        return [
            JSON,
            (b"content-length", b"%d" % len(body)),
            (b"etag", self.rendered.etags[encoding]),
            *self.headers,
        ]

"""One policy's catalog, merged and encoded once, and the headers that are sent with it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from functools import cached_property
from typing import Literal

from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.cooperative import Cooperative
from proxy.wire import JSON, PRIVATE
from proxy.wire.openai import listing, model_list, model_object

Encoding = Literal["identity", "gzip"]


class RenderedList:
    """A catalog and its bytes. Everything expensive happens before or here, once."""

    def __init__(self, catalog: Catalog, identity: bytes | None = None) -> None:
        """`identity`: the encoded list, where it was already made in short steps (`render`)."""
        self.catalog = catalog
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
        """One of the catalog's models, encoded at its first request."""
        if model.id not in self._objects:
            self._objects[model.id] = model_object(model)
        return self._objects[model.id]

    @property
    def size(self) -> int:
        """Approximate bytes in memory: the list, its gzip form, and the look-up of models."""
        return len(self.identity) * 5 // 4 + 300 * len(self.catalog.models)

    async def compressed(self) -> bytes:
        """The gzip bytes, made in a thread at the first request, once for all."""
        if self.gzip is None:
            if self._compressing is None:
                work = asyncio.to_thread(gzip.compress, self.identity, 6, mtime=0)
                self._compressing = asyncio.create_task(work, name="compress a list")
            # Shielded: one cancelled waiter must not cancel the others.
            self.gzip = await asyncio.shield(self._compressing)
        return self.gzip


def render(catalog: Catalog) -> Cooperative[RenderedList]:
    """A `RenderedList`, in short steps."""
    identity = yield from listing(catalog.models)
    yield
    return RenderedList(catalog, identity)


class View:
    """What requests of one policy get, until something changes."""

    def __init__(
        self,
        rendered: RenderedList,
        *,
        oldest: float | None,
        stale: tuple[str, ...],
        missing: tuple[str, ...],
        shows_names: bool,
    ) -> None:
        """`oldest`: monotonic seconds of the oldest answer shown. `stale` and `missing` are names of providers, which
        only callers that may see every model get (`shows_names`); others get their number."""
        self.rendered = rendered
        self.oldest = oldest
        self._notes = [
            (name, ", ".join(names).encode() if shows_names else b"%d" % len(names))
            for name, names in ((b"x-models-stale", stale), (b"x-models-missing", missing))
            if names
        ]

    @property
    def catalog(self) -> Catalog:
        return self.rendered.catalog

    @cached_property
    def headers(self) -> list[Header]:
        """The headers of every answer from this view, of a list or of one model."""
        return [*PRIVATE, *self._notes]

    @cached_property
    def identity_headers(self) -> list[Header]:
        return self._list_headers("identity", self.rendered.identity)

    @cached_property
    def gzip_headers(self) -> list[Header]:
        assert self.rendered.gzip is not None, "requested after `compressed`"
        return [*self._list_headers("gzip", self.rendered.gzip), (b"content-encoding", b"gzip")]

    def _list_headers(self, encoding: Encoding, body: bytes) -> list[Header]:
        return [
            JSON,
            (b"content-length", b"%d" % len(body)),
            (b"etag", self.rendered.etags[encoding]),
            *self.headers,
        ]

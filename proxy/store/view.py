"""One policy's catalogue, merged and encoded once, and what has to be said beside it."""

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
    """A catalogue and its bytes. Everything that costs something happens before or here, once."""

    def __init__(self, catalog: Catalog, identity: bytes | None = None) -> None:
        """`identity`: the list, for who has made it step by step (`making`)."""
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
        """One of the catalogue's models, encoded when it is first asked for."""
        if model.id not in self._objects:
            self._objects[model.id] = model_object(model)
        return self._objects[model.id]

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about: the list, its gzip, and the models' look-up."""
        return len(self.identity) * 5 // 4 + 300 * len(self.catalog.models)

    async def compressed(self) -> bytes:
        """The gzip bytes, made in a thread by whoever asks first, for everybody."""
        if self.gzip is None:
            if self._compressing is None:
                work = asyncio.to_thread(gzip.compress, self.identity, 6, mtime=0)
                self._compressing = asyncio.create_task(work, name="compress a list")
            # Shielded: the leaving of one who waits is not the others' loss.
            self.gzip = await asyncio.shield(self._compressing)
        return self.gzip


def render(catalog: Catalog) -> Cooperative[RenderedList]:
    """`Made`, step by step."""
    identity = yield from listing(catalog.models)
    yield
    return RenderedList(catalog, identity)


class View:
    """What the holder of one policy is answered with, until something changes."""

    def __init__(
        self,
        made: RenderedList,
        *,
        oldest: float | None,
        stale: tuple[str, ...],
        missing: tuple[str, ...],
        shows_names: bool,
    ) -> None:
        """`oldest`: monotonic seconds of the oldest answer shown. Names of providers are for who sees everything."""
        self.made = made
        self.oldest = oldest
        self._notes = [
            (name, ", ".join(names).encode() if shows_names else b"%d" % len(names))
            for name, names in ((b"x-models-stale", stale), (b"x-models-missing", missing))
            if names
        ]

    @property
    def catalog(self) -> Catalog:
        return self.made.catalog

    @cached_property
    def headers(self) -> list[Header]:
        """What goes with every answer from this view, of a list or of one model."""
        return [*PRIVATE, *self._notes]

    @cached_property
    def identity_headers(self) -> list[Header]:
        return self._list_headers("identity", self.made.identity)

    @cached_property
    def gzip_headers(self) -> list[Header]:
        assert self.made.gzip is not None, "asked for after `compressed`"
        return [*self._list_headers("gzip", self.made.gzip), (b"content-encoding", b"gzip")]

    def _list_headers(self, encoding: Encoding, body: bytes) -> list[Header]:
        return [
            JSON,
            (b"content-length", b"%d" % len(body)),
            (b"etag", self.made.etags[encoding]),
            *self.headers,
        ]

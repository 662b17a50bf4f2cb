"""The ids that providers returned to each API key: which keys may reference them, and which provider has them.

All callers share one account at a provider, so a provider cannot distinguish to which caller a response or file
belongs.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Mapping
from typing import Protocol

from msgspec import Struct

from proxy.inference.shared_ids import SharedIds

MAX_IDS = 10_000
"""Per key; the oldest are removed."""
MAX_AGE = 86_400.0
"""Seconds."""
_MANY_CALLERS = 1000


class Origin(Struct, frozen=True):
    """Where an id came from. One object for all ids of a response, so that an id takes little memory."""

    provider: str
    model: str
    """The id that the caller requested."""
    at: float
    """Seconds of the clock."""


class LedgerObserver(Protocol):
    """Called with each change of a ledger. Must not block. Ids are digests."""

    def added(self, key: str, digest: bytes, origin: Origin) -> None: ...
    def discarded(self, key: str, digest: bytes) -> None: ...
    def key_discarded(self, key: str) -> None: ...


class Ledger:
    """Records ids by the identity of the caller that received them. Callers without one have none."""

    def __init__(
        self, monotonic: Callable[[], float], identities: Container[str], shared: SharedIds | None = None
    ) -> None:
        """`identities`: those that exist; `shared`: the ids that other processes have recorded, None if none are."""
        self.shared = shared
        self._monotonic = monotonic
        self._identities = identities
        self._keys: dict[str, OrderedDict[bytes, Origin]] = {}
        self._next_check = _MANY_CALLERS
        """The number of callers at which those without current ids are removed."""
        self._observers: tuple[LedgerObserver, ...] = ()

    def observe(self, observer: LedgerObserver) -> None:
        """Call the observer with each later change, except for ids that have become too old or too many."""
        self._observers = (*self._observers, observer)

    def restore(self, key: str, ids: Mapping[bytes, Origin]) -> None:
        """Add the ids that an earlier process has recorded, the oldest first. What this one has recorded counts."""
        if key not in self._identities:
            return
        newer = self._keys.get(key, OrderedDict[bytes, Origin]())
        restored = OrderedDict((digest, origin) for digest, origin in ids.items() if digest not in newer)
        restored.update(newer)
        self._keys[key] = restored
        self._drop_oldest(restored)

    def limit_to(self, identities: Container[str]) -> None:
        """Discard the ids of removed callers, including those that their calls in progress still receive. A later key
        with the same name can belong to another person.
        """
        self._identities = identities
        for name in [name for name in self._keys if name not in identities]:
            del self._keys[name]
            for observer in self._observers:
                observer.key_discarded(name)

    def origin(self, provider: str, model: str) -> Origin:
        """Return the origin of ids that arrive now."""
        return Origin(provider, model, self._monotonic())

    def add(self, key: str, object_id: str, origin: Origin) -> None:
        """Record that a key received an id, if the key still exists.

        Of an id that several providers returned, the last one counts.
        """
        if key not in self._identities:
            return
        ids = self._keys.get(key)
        if ids is None:
            self._remove_idle()
            ids = self._keys[key] = OrderedDict()
        digest = _digest(object_id)
        before = ids.get(digest)
        is_new = before is None or before.provider != origin.provider or origin.at - before.at > MAX_AGE / 2
        if self.shared and is_new:
            self.shared.put(key, object_id, origin.provider, origin.model)
        ids[digest] = origin
        ids.move_to_end(digest)
        self._drop_oldest(ids)
        for observer in self._observers:
            observer.added(key, digest, origin)

    async def look_up(self, key: str, ids: Collection[str]) -> None:
        """Adopt records of other processes about ids that are unknown to this one."""
        if self.shared is None or key not in self._identities:
            return
        unknown = [object_id for object_id in ids if object_id and self.find(key, object_id) is None]
        found = await self.shared.find(key, unknown) if unknown else {}
        if key not in self._identities:
            return  # it was removed meanwhile
        own = self._keys.setdefault(key, OrderedDict())
        for object_id, (record, age) in found.items():
            own[_digest(object_id)] = Origin(record.provider, record.model, self._monotonic() - age)
        self._drop_oldest(own)

    def record(self, key: str, origin: Origin, is_own_text: Callable[[str], bool], object_id: str) -> None:
        """Record an id in a response, unless the caller may have chosen it.

        `is_own_text`: whether the request contains a text. A provider that repeats it, or takes the id of a response
        from the request, would otherwise give the caller an id of another one.
        """
        if self.provider_of(key, object_id) == origin.provider or not is_own_text(object_id):
            self.add(key, object_id, origin)

    def provider_of(self, key: str, object_id: str) -> str:
        """Return the provider that returned an id to a key, "" if none did."""
        origin = self.find(key, object_id)
        return origin.provider if origin else ""

    def find(self, key: str, object_id: str) -> Origin | None:
        """Return where an id came from, None if the key did not receive it, or too long ago."""
        ids = self._keys.get(key)
        origin = ids.get(_digest(object_id)) if ids else None
        return None if origin is None or self._is_old(origin) else origin

    def discard(self, key: str, object_id: str) -> None:
        ids = self._keys.get(key)
        digest = _digest(object_id)
        if ids and ids.pop(digest, None):
            for observer in self._observers:
                observer.discarded(key, digest)
        if self.shared:
            self.shared.delete(key, object_id)

    def _drop_oldest(self, ids: OrderedDict[bytes, Origin]) -> None:
        while len(ids) > MAX_IDS or (ids and self._is_old(next(iter(ids.values())))):
            ids.popitem(last=False)

    def _remove_idle(self) -> None:
        """Remove callers without current ids at intervals: the number of users is not bounded."""
        if len(self._keys) < self._next_check:
            return
        for name in [name for name, ids in self._keys.items() if not ids or self._is_old(next(reversed(ids.values())))]:
            del self._keys[name]
        self._next_check = max(_MANY_CALLERS, 2 * len(self._keys))

    def _is_old(self, origin: Origin) -> bool:
        return self._monotonic() - origin.at >= MAX_AGE


def _digest(object_id: str) -> bytes:
    return hashlib.blake2b(object_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()

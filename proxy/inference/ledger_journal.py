"""The ledger as bytes: what has changed in it, for a file, and its state at the next start. Pure.

Ids are stored as digests, and keys with digests of their digests: the ids of a key are restored only for a key with the
same name and one of the same secrets, because a later key with the same name can belong to another person. The identity
of a user is unique.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from math import isfinite

import msgspec
from msgspec import Struct

from proxy.config.identities import SEPARATOR
from proxy.config.settings import Key
from proxy.inference.ledger import MAX_AGE, MAX_IDS, Origin

MAX_BUFFERED = 100_000
"""Changes that wait to be taken. Further ones are not stored."""
_TAG = 8  # bytes
_NO_ORIGIN = -1
_DIGEST = 16  # bytes of the digest of an id

Tags = Mapping[str, frozenset[bytes]]
"""Name of a key -> digests of the digests of its secrets."""
State = Mapping[str, Mapping[bytes, Origin]]
"""Name of a key -> digest of an id -> its origin, in Unix seconds; the oldest first."""


class _Origin(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    provider: str
    model: str
    at: float
    """Unix seconds."""


class _Block(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    keys: tuple[tuple[str, tuple[bytes, ...]], ...]
    """Name and tags."""
    origins: tuple[_Origin, ...]
    changes: tuple[tuple[int, bytes, int], ...]
    """Number of the key; digest of the id, b"" for all of the key; number of the origin, -1 if the id was discarded."""


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Block).decode


def tags_of(keys: Iterable[Key]) -> Tags:
    return {key.name: frozenset(map(_tag, key.digests)) for key in keys}


class LedgerJournal:
    """Collects the changes of a ledger (it is a `LedgerObserver`) until they are taken."""

    def __init__(self, tags: Tags, to_unix: Callable[[float], float]) -> None:
        """`to_unix`: from seconds of the ledger's clock to Unix seconds."""
        self._tags = tags
        self._to_unix = to_unix
        self._changes: list[tuple[str, bytes, Origin | None]] = []

    def configure(self, tags: Tags) -> None:
        """Apply the keys of another configuration to what is taken from now on."""
        self._tags = tags

    def added(self, key: str, digest: bytes, origin: Origin) -> None:
        self._append(key, digest, origin)

    def discarded(self, key: str, digest: bytes) -> None:
        self._append(key, digest, None)

    def key_discarded(self, key: str) -> None:
        self._append(key, b"", None)

    def _append(self, key: str, digest: bytes, origin: Origin | None) -> None:
        if len(self._changes) < MAX_BUFFERED:
            self._changes.append((key, digest, origin))

    def take(self) -> bytes:
        """The changes since the last call, b"" without any."""
        changes, self._changes = self._changes, []
        return encoded(changes, self._tags, self._to_unix) if changes else b""


def encoded(
    changes: Iterable[tuple[str, bytes, Origin | None]],
    tags: Tags,
    to_unix: Callable[[float], float] = lambda seconds: seconds,
) -> bytes:
    """Changes as bytes for `replayed`."""
    keys: dict[str, int] = {}
    origins: dict[Origin, int] = {}
    numbered = tuple(
        [
            (
                keys.setdefault(key, len(keys)),
                digest,
                _NO_ORIGIN if origin is None else origins.setdefault(origin, len(origins)),
            )
            for key, digest, origin in changes
        ]
    )
    named = tuple((key, tuple(sorted(_tags_for(key, tags)))) for key in keys)
    return _ENCODE(_Block(named, tuple(_Origin(o.provider, o.model, to_unix(o.at)) for o in origins), numbered))


def replayed(blocks: Iterable[bytes | memoryview], tags: Tags, time: float) -> State:
    """The state after these changes, for the keys that still exist. `time`: Unix seconds. Other bytes are ignored."""
    state: dict[str, dict[bytes, Origin]] = {}
    for data in blocks:
        try:
            _apply(_DECODE(data), state, tags)
        except (ValueError, LookupError):
            continue
    # A time in the future is that of a wrong clock.
    return {
        key: {digest: origin for digest, origin in [*ids.items()][-MAX_IDS:] if -60 < time - origin.at < MAX_AGE}
        for key, ids in state.items()
    }


def _apply(block: _Block, state: dict[str, dict[bytes, Origin]], tags: Tags) -> None:
    origins = [Origin(origin.provider, origin.model, origin.at) for origin in block.origins]
    if not all(isfinite(origin.at) for origin in origins):
        raise ValueError("a time that is not finite")
    names = [name if _tags_for(name, tags).intersection(of) else "" for name, of in block.keys]
    for key, digest, origin in block.changes:
        if not digest:
            state.pop(block.keys[key][0], None)  # whichever secret the key has now
            continue
        name = names[key]
        if not name:
            continue
        ids = state.setdefault(name, {})
        ids.pop(digest, None)
        if origin != _NO_ORIGIN and len(digest) == _DIGEST:
            ids[digest] = origins[origin]


def compacted(state: State, tags: Tags, per_block: int = 10_000) -> Iterable[bytes]:
    """The state as changes that lead to it."""
    changes = [(key, digest, origin) for key, ids in state.items() for digest, origin in ids.items()]
    for start in range(0, len(changes), per_block):
        yield encoded(changes[start : start + per_block], tags)


def _tags_for(identity: str, tags: Tags) -> frozenset[bytes]:
    """Return the tags of a key, or of a user."""
    return frozenset({_tag(identity.encode())}) if SEPARATOR in identity else tags.get(identity, frozenset())


def _tag(digest: bytes) -> bytes:
    return hashlib.blake2b(digest, digest_size=_TAG, person=b"ledger").digest()

"""An accepted list as bytes, to store it or to share it with other processes.

`encode` and `decode` take some 100 ms for 20,000 models: they belong in a thread. They work in batches, so that the
event loop gets its turns. Anything may be in a store, so `decode` accepts only what `encode` has written, with the same
fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import isfinite

import msgspec
from msgspec import Struct

from proxy.catalog import FetchResult
from proxy.catalog.storable import is_readable, storable
from proxy.catalog.times import Reported
from proxy.config import Provider
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.store.envelope import RecordError, seal, unseal
from proxy.store.fingerprint import Fingerprint
from proxy.store.shrinkage import Shrinkage

SCHEMA = 1
"""The version of the format. Records of other versions are ignored."""
_KIND = b"list"
_BATCH = 200
"""Entries that are encoded or decoded at once: 1 ms."""


class ListRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """What a slot needs to continue as if it had fetched the list itself. All times are in Unix seconds."""

    entries: tuple[Entry, ...]
    """As in `Listing`. If the record was decoded, without what only rules read: see `storable`."""
    fetched_at: float
    result: FetchResult
    """Statistics of the fetch, without its entries."""
    unseen: Mapping[str, float]
    """As in `Listing`."""
    withheld: Mapping[str, Reported]
    """As in `Listing`."""
    shrinkage: Shrinkage | None
    first_names: tuple[str, ...] | None
    """As in `Slot`."""


class _Entry(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An entry. `root`: None if it is the id; `permissions`: their number in the record."""

    id: str
    owner: str
    created: int
    root: str | None
    parent: str | None
    permissions: int
    extra: bytes
    raw: bytes
    written: str
    aliases: tuple[str, ...]
    kept: bytes


class _Stored(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    record: ListRecord
    """Without its entries."""
    permissions: tuple[tuple[Permission, ...], ...]
    batches: tuple[bytes, ...]
    """The entries, encoded."""


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Stored).decode
_DECODE_BATCH = msgspec.msgpack.Decoder(list[_Entry]).decode


def encode(record: ListRecord, provider: Provider, fingerprint: Fingerprint) -> bytes:
    """Return the record as bytes, without what only the rules of the provider read.

    Raises RecordError if it is too large.
    """
    permissions: dict[tuple[Permission, ...], int] = {}
    convert = storable(provider)
    entries = (_packed(convert(entry), permissions) for entry in record.entries)
    batches: list[bytes] = []
    while batch := tuple(islice(entries, _BATCH)):
        batches.append(_ENCODE(batch))
    rest = msgspec.structs.replace(record, entries=(), result=replace(record.result, entries=()))
    return seal(_KIND, SCHEMA, fingerprint.key, _ENCODE(_Stored(rest, tuple(permissions), tuple(batches))))


def decode(data: bytes, fingerprint: Fingerprint) -> ListRecord:
    """Return the record in bytes that `encode` has returned for the same fingerprint.

    Raises RecordError for any other bytes.
    """
    payload = unseal(_KIND, SCHEMA, fingerprint.key, data)
    try:
        stored = _DECODE(payload)
        entries = _entries(stored)
        record = _with_entries(stored.record, entries)
    except (ValueError, LookupError, RecursionError) as error:
        raise RecordError(f"invalid content ({type(error).__name__})") from None
    return record


def _packed(entry: Entry, permissions: dict[tuple[Permission, ...], int]) -> _Entry:
    return _Entry(
        entry.id,
        entry.owner,
        entry.created,
        None if entry.root == entry.id else entry.root,
        entry.parent,
        permissions.setdefault(entry.permissions, len(permissions)),
        entry.extra,
        entry.raw,
        entry.written,
        entry.aliases,
        entry.kept,
    )


def _entries(stored: _Stored) -> tuple[Entry, ...]:
    """Raises ValueError and LookupError for invalid ones."""
    permissions = [DEFAULT_PERMISSIONS if given == DEFAULT_PERMISSIONS else given for given in stored.permissions]
    owners: dict[str, str] = {}
    results: dict[bytes, bytes] = {}
    entries: list[Entry] = []
    for batch in stored.batches:
        for packed in _DECODE_BATCH(batch):
            # Texts that many entries have are one object, so that they share memory.
            owner = owners.setdefault(packed.owner, packed.owner)
            kept = results.setdefault(packed.kept, packed.kept)
            entries.append(_unpacked(packed, owner, kept, permissions))
    return tuple(entries)


def _unpacked(packed: _Entry, owner: str, kept: bytes, permissions: Sequence[tuple[Permission, ...]]) -> Entry:
    entry = Entry(
        packed.id,
        owner,
        packed.created,
        packed.id if packed.root is None else packed.root,
        packed.parent,
        permissions[packed.permissions],
        packed.extra,
        packed.raw,
        packed.written,
        packed.aliases,
        kept,
    )
    if not (entry.id and is_readable(entry)):
        raise ValueError("an entry that cannot be listed")
    return entry


def _with_entries(record: ListRecord, entries: tuple[Entry, ...]) -> ListRecord:
    """Raises ValueError and LookupError if they do not fit together."""
    if not all(map(isfinite, (record.fetched_at, record.result.answered_at, *record.unseen.values()))):
        raise ValueError("a time that is not finite")
    own = {entry.id: entry.id for entry in entries}  # texts that are equal share memory
    names = record.first_names
    return msgspec.structs.replace(
        record,
        entries=entries,
        unseen={own[own_id]: time for own_id, time in record.unseen.items()},
        first_names=None if names is None else tuple([own.get(name, name) for name in names]),
    )

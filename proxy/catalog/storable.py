"""Entries as they are stored or shared with other processes: without what only the rules of the provider read. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from proxy.catalog.adjust import means_retired, passes
from proxy.catalog.kept_fields import encode_results, has_results, values_kept
from proxy.catalog.rules import shown_fields
from proxy.config import Provider
from proxy.config.list_settings import RETIRED_FIELDS
from proxy.dialects import selected
from proxy.dialects.entry import Entry

_OPEN = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode
_SHUTDOWN = frozenset(["shutdown_at"])


def storable(provider: Provider) -> Callable[[Entry], Entry]:
    """Return a function from an entry to the one to store: with it, the rules of the provider have the same results.

    It has the results of `where` and `hide_retired` instead of the fields that they read, and of the other fields those
    that `extra_fields` names.
    """
    shown = shown_fields(provider)
    if shown is not None and provider.hide_retired:
        shown |= _SHUTDOWN
    same: dict[bytes, bytes] = {}

    def convert(entry: Entry) -> Entry:
        if entry.kept and not has_results(entry):
            kept = _results(provider, entry)
            entry = replace(entry, kept=same.setdefault(kept, kept))
        if shown is not None and entry.extra != b"{}":
            entry = replace(entry, extra=_ENCODE(selected(_OPEN(entry.extra), shown)))
        return entry

    return convert


def is_readable(entry: Entry) -> bool:
    """Whether the JSON in an entry of unknown origin is what rules and lists expect."""
    try:
        values_kept(entry)
        return all(isinstance(_OPEN(text), dict) for text in ([entry.extra, entry.raw] if entry.raw else [entry.extra]))
    except (ValueError, RecursionError):
        return False


def _results(provider: Provider, entry: Entry) -> bytes:
    allowed = {str(rule): passes(entry, [rule]) for rule in provider.where}
    kept = values_kept(entry) if provider.hide_retired else {}
    retired = [field for field in RETIRED_FIELDS if any(map(means_retired, kept.get(field, ())))]
    return encode_results(allowed, {field: [True] for field in retired})

"""The differences between a file and the running proxy, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from proxy.cli.against import ChangedKey, Differences
from proxy.cli.text import count
from proxy.printable import printable
from proxy.wire.encoder import encode

_MAX_IDS = 10
_MAX_CHANGED = 20


def sections(found: Differences) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield headings, each with the lines below it."""
    running, file = found.generation["running"], found.generation["file"]
    generations = f"generation {running}" if running == file else f"generation {running}, the file has {file}"
    heading = "No differences from" if found.is_empty else "Differences from"
    yield f"{heading} the running proxy at {found.url} ({generations})", ()
    if found.added:
        yield f"{count(len(found.added), 'model')} added", [_some(found.added)]
    if found.removed:
        yield f"{count(len(found.removed), 'model')} removed", [_some(found.removed)]
    if found.changed:
        changes = [f"{model.id}: {_changes(model.fields)}" for model in found.changed]
        yield f"{count(len(found.changed), 'model')} changed", [*_first(changes)]
    if found.added_keys:
        yield f"{count(len(found.added_keys), 'key')} added", [_some(found.added_keys)]
    if found.removed_keys:
        yield f"{count(len(found.removed_keys), 'key')} removed", [_some(found.removed_keys)]
    if found.changed_keys:
        heading = f"{count(len(found.changed_keys), 'key')} changed"
        yield heading, [*_first([_changed_key(key) for key in found.changed_keys])]
    if found.not_compared:
        providers = [f"{each.provider}: {each.reason}" for each in found.not_compared]
        yield f"Not compared: the models of {count(len(providers), 'provider')}", providers


def differences_object(found: Differences) -> dict[str, Any]:
    """The field `against` of the JSON document."""
    return {
        "url": found.url,
        "same": found.is_empty,
        "generation": found.generation,
        "not_compared": found.not_compared,
        "models": {"added": found.added, "removed": found.removed, "changed": found.changed},
        "keys": {"added": found.added_keys, "removed": found.removed_keys, "changed": found.changed_keys},
    }


def _changed_key(key: ChangedKey) -> str:
    running, file = key.models["running"], key.models["file"]
    parts = [f"{running:,} -> {count(file, 'model')}" if running != file else count(file, "model")]
    for what, ids in (("added", key.added), ("removed", key.removed), ("from other providers", key.rerouted)):
        if ids:
            parts.append(f"{what}: {_some(ids)}")
    if key.added is None:
        parts.append("too many keys change in different ways to name its models")
    if key.settings:
        parts.append(_changes(key.settings))
    return f"{key.name}: {'; '.join(parts)}"


def _changes(fields: Any) -> str:
    return ", ".join(f"{name} {_text(both['running'])} -> {_text(both['file'])}" for name, both in fields.items())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return "+".join(value) or "-"
    text = value if isinstance(value, str) else encode(msgspec.to_builtins(value)).decode()
    return f"{text[:60]}..." if len(text) > 60 else text


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MAX_IDS:,} more" if len(ids) > _MAX_IDS else ""
    return printable(", ".join(ids[:_MAX_IDS])) + more


def _first(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:_MAX_CHANGED]
    if len(texts) > _MAX_CHANGED:
        yield f"and {len(texts) - _MAX_CHANGED:,} more; --json shows all"

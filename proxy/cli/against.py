"""`check --against`: what a configuration file changes in a running proxy. The comparison is pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.cli.audit import Audit
from proxy.cli.client import admin_url, decoded, get
from proxy.config import Config
from proxy.store.overview import (
    KeyModels,
    KeyOverview,
    Lists,
    ModelOverview,
    Overview,
    Views,
)

MAX_EXAMPLES = 20
"""Views of keys whose models are fetched one by one; equal changes of several keys count once."""
NO_KEY = "requests without an API key"
_UNCOMPARED = frozenset({"permission", "object"})
"""Fields of a listed model that depend on others."""


@dataclass(frozen=True)
class NotCompared:
    """A provider whose models are left out, on both sides."""

    provider: str
    reason: str


@dataclass(frozen=True)
class ChangedModel:
    id: str
    fields: Mapping[str, Mapping[str, Any]]
    """Name -> `{running, file}`; `offers`: `provider` or `provider (as id)`, the preferred one first."""


@dataclass(frozen=True)
class ChangedKey:
    """A key whose models, or whose permissions, change."""

    name: str
    models: Mapping[str, int]
    """The number of models that it can access, `{running, file}`."""
    settings: Mapping[str, Mapping[str, Any]]
    """`admin`, `call`, `expires`, `not_before`, `allowed_ips` and `limits`, if they change -> `{running, file}`."""
    added: Sequence[str] | None = None
    removed: Sequence[str] | None = None
    rerouted: Sequence[str] | None = None
    """Models from other providers, or in another order. None, as the two above: not requested, see MAX_EXAMPLES."""


@dataclass(frozen=True)
class Differences:
    """What changes if the running proxy gets the file."""

    url: str
    generation: Mapping[str, str]
    """`{running, file}`."""
    not_compared: Sequence[NotCompared]
    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[ChangedModel]
    added_keys: Sequence[str]
    removed_keys: Sequence[str]
    changed_keys: Sequence[ChangedKey]

    @property
    def is_empty(self) -> bool:
        models, keys = (*self.added, *self.removed, *self.changed), (*self.added_keys, *self.removed_keys)
        return not (models or keys or self.changed_keys)


class Running:
    """The catalog of the running proxy."""

    def __init__(self, url: str, admin_key: str | None) -> None:
        self.url = url
        self._catalog_url = f"{admin_url(url)}/catalog"
        self._admin_key = admin_key

    def overview(self, without: Collection[str]) -> Overview:
        """Raises Failure."""
        return decoded(get(self._catalog_url, self._admin_key, _query(without)), Overview)

    def models_of(self, key: str | None, without: Collection[str]) -> KeyModels:
        """Raises Failure."""
        query = {**_query(without), "key_name": key or ""}
        return decoded(get(self._catalog_url, self._admin_key, query), KeyModels)


def _query(without: Collection[str]) -> dict[str, str]:
    return {"without": ",".join(sorted(without))} if without else {}


def differences(audit: Audit, running: Running) -> Differences:
    """Compare the file with the running proxy. Raises Failure.

    Providers whose list is not known on one of both sides are left out: their models would seem to be added or removed.
    """
    unknown = _unknown_here(audit)
    theirs = running.overview(unknown)
    configured = {result.provider.name for result in audit.results}
    missing = {
        provider.name: f"{provider.state} in the running proxy"
        for provider in theirs.providers
        if provider.state in ("failing", "skipped") and provider.name in configured and provider.name not in unknown
    }
    if missing:
        unknown = {**unknown, **missing}
        theirs = running.overview(unknown)
    lists = Lists(audit.offers, {result.provider.name: result.state for result in audit.results})
    file = Views(audit.config, lists, unknown)
    ours = file.overview()
    added, removed, changed = _models(theirs.models, ours.models)
    added_keys, removed_keys, pairs = _pairs(theirs.keys, ours.keys)

    def views(key: str | None) -> tuple[KeyModels, KeyModels]:
        own = file.models_of(key)
        assert own is not None, "the key is in the file"
        return running.models_of(key, unknown), own

    return Differences(
        running.url,
        _both(theirs.generation, ours.generation),
        [NotCompared(name, unknown[name]) for name in unknown],
        added,
        removed,
        changed,
        added_keys,
        removed_keys,
        list(_changed_keys(pairs, views)),
    )


def _unknown_here(audit: Audit) -> dict[str, str]:
    """Provider whose models are unknown to `check` -> the reason."""
    failed = {
        result.provider.name: f"{result.state}: {error.reason}"
        for result in audit.results
        if (error := result.error or result.shortcoming)
    }
    return failed | _skipped(audit.config)


def _skipped(config: Config) -> dict[str, str]:
    return {each.name: f"skipped: {each.reason}" for each in config.skipped if each.state == "skipped"}


def _both(running: Any, file: Any) -> dict[str, Any]:
    return {"running": running, "file": file}


# -- models --------------------------------------------------------------------------------------------------------


def _models(
    theirs: Sequence[ModelOverview], ours: Sequence[ModelOverview]
) -> tuple[list[str], list[str], list[ChangedModel]]:
    """The ids that are added and removed, and the models that change; each in the order of ids."""
    running, file = _by_id(theirs), _by_id(ours)
    changed = []
    for model_id in sorted(running.keys() & file.keys()):
        if running[model_id] != file[model_id] and (fields := _changes(running[model_id], file[model_id])):
            changed.append(ChangedModel(model_id, fields))
    return sorted(file.keys() - running.keys()), sorted(running.keys() - file.keys()), changed


def _by_id(models: Sequence[ModelOverview]) -> Mapping[str, ModelOverview]:
    return {msgspec.json.decode(model.object, type=_Id).id: model for model in models}


class _Id(msgspec.Struct):
    id: str


def _changes(running: ModelOverview, file: ModelOverview) -> Mapping[str, Mapping[str, Any]]:
    """Field -> both values, for those that differ."""
    before, after = _fields(running), _fields(file)
    names = [name for name in {**before, **after} if name not in _UNCOMPARED]
    return {name: _both(before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _fields(model: ModelOverview) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(model.object)
    own = (each.provider if each.id == fields["id"] else f"{each.provider} (as {each.id})" for each in model.offers)
    return {**fields, "offers": list(own)}


# -- keys ----------------------------------------------------------------------------------------------------------

_Pair = tuple[KeyOverview, KeyOverview]
"""A key in the running proxy, and in the file."""


def _pairs(theirs: Sequence[KeyOverview], ours: Sequence[KeyOverview]) -> tuple[list[str], list[str], list[_Pair]]:
    """The names of keys that are added and removed, and the keys that differ; each in the order of the file."""
    running, file = {key.name: key for key in theirs}, {key.name: key for key in ours}
    added = [_name(key) for key in file if key not in running]
    removed = [_name(key) for key in running if key not in file]
    return added, removed, [(running[key], file[key]) for key in file if key in running and running[key] != file[key]]


def _name(key: str | None) -> str:
    return NO_KEY if key is None else key


def _changed_keys(
    pairs: Sequence[_Pair], views: Callable[[str | None], tuple[KeyModels, KeyModels]]
) -> Iterator[ChangedKey]:
    """`views` returns the models that a key can access, in the running proxy and with the file."""
    known: dict[tuple[str, str], tuple[Sequence[str], Sequence[str], Sequence[str]]] = {}
    for before, after in pairs:
        digests = before.digest, after.digest
        if before.digest == after.digest:
            known[digests] = (), (), ()
        elif digests not in known and len(known) < MAX_EXAMPLES:
            known[digests] = _changed_view(*views(after.name))
        settings = {
            name: _both(getattr(before, name), getattr(after, name))
            for name in ("admin", "call", "expires", "not_before", "allowed_ips", "limits")
            if getattr(before, name) != getattr(after, name)
        }
        models = _both(before.models, after.models)
        yield ChangedKey(_name(after.name), models, settings, *known.get(digests, ()))


def _changed_view(running: KeyModels, file: KeyModels) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    before = {model.id: model.offers for model in running.models}
    after = {model.id: model.offers for model in file.models}
    rerouted = [model_id for model_id in before if model_id in after and before[model_id] != after[model_id]]
    added = [model_id for model_id in after if model_id not in before]
    return added, [model_id for model_id in before if model_id not in after], rerouted

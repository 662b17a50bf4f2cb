"""What differs between two configurations, for the log and for administrators. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from proxy.config import Config
from proxy.config.documents import SECTIONS
from proxy.config.sources import Stamp

_NAMED = ("providers", "keys")
_SECTIONS = [field.name for field in fields(Config) if field.name in SECTIONS and field.name not in _NAMED]


class Difference(NamedTuple):
    """Names that were added, removed, or have other settings."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]


class Changes(NamedTuple):
    """What a reload changes."""

    providers: Difference
    keys: Difference
    sections: Sequence[str]
    """Other sections of the file, such as `server`."""

    def __str__(self) -> str:
        parts = [
            *_described("providers", self.providers, ", ".join),
            *_described("keys", self.keys, lambda names: str(len(names))),
            *([f"changed sections: {', '.join(self.sections)}"] if self.sections else ()),
        ]
        return "; ".join(parts) or "no setting has changed"

    @property
    def payload(self) -> Mapping[str, Any]:
        """As JSON. Keys are only counted: there can be thousands."""
        return {
            "providers": {name: [*names] for name, names in self.providers._asdict().items()},
            "keys": {name: len(names) for name, names in self.keys._asdict().items()},
            "sections": [*self.sections],
        }


def changes(before: Config, after: Config) -> Changes:
    """Compare two configurations."""
    return Changes(
        _difference(_by_name(before.providers), _by_name(after.providers)),
        _difference(_by_name(before.keys), _by_name(after.keys)),
        [name for name in _SECTIONS if getattr(before, name) != getattr(after, name)],
    )


def is_same(before: Config, after: Config) -> bool:
    """Whether two configurations are equal, with their secrets, certificates and the lines of settings."""
    settings = replace(after, warnings=before.warnings) == before and after.places == before.places
    return settings and _authorities(after) == _authorities(before)


def _authorities(config: Config) -> Mapping[str, Stamp]:
    """The state of the files with certificates, and with the private key of the server."""
    tls = config.server.tls
    files = [provider.ca_file for provider in config.providers if provider.ca_file]
    files += [webhook.ca_file for webhook in config.notify if webhook.ca_file]
    files += [tls.certificate, tls.key] if tls else []
    return {file: config.sources.files.get(file) for file in files}


def _by_name(entries: Iterable[Any]) -> dict[str, Any]:
    return {entry.name: entry for entry in entries}


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> Difference:
    return Difference(
        [name for name in after if name not in before],
        [name for name in before if name not in after],
        [name for name in after if name in before and after[name] != before[name]],
    )


def _described(what: str, difference: Difference, shown: Callable[[Sequence[str]], str]) -> list[str]:
    return [f"{what} {how}: {shown(names)}" for how, names in difference._asdict().items() if names]

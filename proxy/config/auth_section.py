"""Check the section `auth`, across its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.config.auth import Logins
from proxy.config.authorities import check_authority
from proxy.config.document import Path
from proxy.config.hints import did_you_mean
from proxy.config.settings import Group
from proxy.config.validation import Validation


def auth_of(validation: Validation, raw: Mapping[str, Any], groups: Mapping[str, Group]) -> Logins:
    """Return the section; without any login if it has a problem. `groups`: the valid ones."""
    auth = validation.section(Logins, raw, "auth")
    if auth is None:
        return Logins()
    # Files that were validated by another process have no section `groups`.
    written = raw["groups"] if isinstance(raw.get("groups"), dict) else ()
    known = list(dict.fromkeys([*map(str, written), *groups]))
    first: dict[str, Path] = {}
    for index, issuer in enumerate(auth.jwt):
        path: Path = ("auth", "jwt", index)
        if first.setdefault(issuer.issuer, path) != path:
            place = validation.documents.place(first[issuer.issuer])
            validation.problem((*path, "issuer"), f"duplicate issuer, also at {place}; remove one")
        check_authority(validation, issuer.ca_file, (*path, "ca_file"))
        _check_groups(validation, known, issuer.groups, path)
    if auth.header:
        _check_groups(validation, known, auth.header.groups, ("auth", "header"))
        if auth.header.name == auth.header.user:
            validation.problem(("auth", "header", "user"), "is the same header as name; set the header of the user")
    return auth


def has_logins(raw: Mapping[str, Any]) -> bool:
    """Whether the section has a login. For checks of other sections."""
    auth = raw.get("auth")
    return isinstance(auth, dict) and bool(auth.get("jwt") or auth.get("header"))


def _check_groups(validation: Validation, known: Sequence[str], groups: Mapping[str, str], path: Path) -> None:
    for value, name in groups.items():
        where = (*path, "groups", value)
        if name not in known and not validation.is_unresolved(where):
            hint = did_you_mean(name, known) or f"; defined groups: {', '.join(known) or 'none'}"
            validation.problem(where, f"no such group{hint}")

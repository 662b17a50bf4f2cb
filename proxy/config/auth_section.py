"""Check the section `auth`, across its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from proxy.config.auth import IdentityHeader, JwtIssuer, Logins
from proxy.config.authorities import check_authority
from proxy.config.document import Path
from proxy.config.fields import check_filled
from proxy.config.hints import did_you_mean
from proxy.config.secret_settings import secret_in
from proxy.config.settings import Group
from proxy.config.validation import Validation


def auth_of(
    validation: Validation, raw: Mapping[str, Any], groups: Mapping[str, Group], read_secret: Callable[[str], str]
) -> Logins:
    """Return the section, with the secrets in its files; without any login if it has a problem.

    `groups`: the valid ones.
    """
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
        _check_client(validation, raw, issuer, path)
    auth = auth.model_copy(update={"jwt": tuple(_with_secrets(validation, auth, read_secret))})
    if auth.header:
        _check_groups(validation, known, auth.header.groups, ("auth", "header"))
        _check_headers(validation, auth.header, auth.jwt)
    return auth


def has_logins(raw: Mapping[str, Any]) -> bool:
    """Whether the section has a login. For checks of other sections."""
    auth = raw.get("auth")
    return isinstance(auth, dict) and bool(auth.get("jwt") or auth.get("header"))


def _check_headers(validation: Validation, header: IdentityHeader, issuers: Sequence[JwtIssuer]) -> None:
    """Check that each header has one meaning."""
    if header.name == header.user:
        validation.problem(("auth", "header", "user"), "is the same header as name; set the header of the user")
    for index, issuer in enumerate(issuers):
        for name in ("name", "user"):
            if issuer.header == getattr(header, name):
                written = validation.written(("auth", "header", name))
                text = (
                    f"conflicts with {written}: values of this header are validated as tokens; set a different header"
                )
                validation.problem(("auth", "jwt", index, "header"), text)


def _check_client(validation: Validation, raw: Mapping[str, Any], issuer: JwtIssuer, path: Path) -> None:
    """Check that all settings of a client are present."""
    given = [name for name in ("client_secret", "client_secret_file") if getattr(issuer, name) is not None]
    if issuer.client_id is None:
        for name in given:
            validation.problem((*path, name), "has no effect without `client_id`; set `client_id`, or remove it")
        return
    unresolved = any(validation.is_unresolved((*path, name)) for name in ("client_secret", "client_secret_file"))
    if len(given) > 1:
        validation.problem((*path, "client_secret_file"), "conflicts with client_secret; set only one")
    elif not given and not unresolved:
        text = "is missing; `client_id` requires it, or `client_secret`"
        validation.problem((*path, "client_secret_file"), text)
    server = raw.get("server")
    if not (isinstance(server, dict) and server.get("public_url")):
        text = "requires `server.public_url`: the issuer redirects browsers to it"
        validation.problem((*path, "client_id"), text)
    if not issuer.admin:
        text = "has no effect without `admin`: only administrators can open the status page"
        validation.problem((*path, "client_id"), text)


def _with_secrets(validation: Validation, auth: Logins, read_secret: Callable[[str], str]) -> Iterator[JwtIssuer]:
    for index, issuer in enumerate(auth.jwt):
        file, where = issuer.client_secret_file, ("auth", "jwt", index, "client_secret_file")
        if file is None or issuer.client_secret is not None or not issuer.client_id:
            yield issuer
        else:
            secret = secret_in(file, validation, where, "auth: client_secret_file", check_filled, read_secret)
            yield issuer.model_copy(update={"client_secret": secret})


def _check_groups(validation: Validation, known: Sequence[str], groups: Mapping[str, str], path: Path) -> None:
    for value, name in groups.items():
        where = (*path, "groups", value)
        if name not in known and not validation.is_unresolved(where):
            hint = did_you_mean(name, known) or f"; defined groups: {', '.join(known) or 'none'}"
            validation.problem(where, f"no such group{hint}")

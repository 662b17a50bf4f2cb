"""The sections `groups` and `keys`."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, SecretStr

from proxy.config import access_rules
from proxy.config.addresses import network
from proxy.config.auth_section import has_logins
from proxy.config.call_limits import CallLimits
from proxy.config.document import Path
from proxy.config.fields import Day, FirstDay, Globs, Name, Settings, check_api_key
from proxy.config.hints import did_you_mean
from proxy.config.settings import Group, Key
from proxy.config.validation import Validation
from proxy.config.variables import is_reference

MIN_KEY = 8
"""Characters of an API key of a client. `models-proxy keygen` generates keys with 256 random bits."""
_GENERATE = "it can be guessed: generate one with `models-proxy keygen`"
_EXACTLY_ONE = 'must have exactly one of `hash: "sha256:..."`, `hashes: [...]` and `key: "${NAME}"`'
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


def _not_empty(networks: tuple[str, ...]) -> tuple[str, ...]:
    if not networks:
        raise ValueError("must not be empty: remove it to allow the key from any address")
    return networks


_Networks = Annotated[tuple[Annotated[str, AfterValidator(network)], ...], AfterValidator(_not_empty)]


class KeyEntry(Settings):
    """A key as written in the file.

    `hash`, `hashes` and `key` are validated separately: a secret may be in the wrong one.
    """

    name: Name
    hash: object = Field(default=None, repr=False)
    hashes: tuple[object, ...] | None = Field(default=None, min_length=1, repr=False)
    key: object = Field(default=None, repr=False)
    group: str | None = None
    models: Globs | None = None
    not_before: FirstDay | None = None
    expires: Day | None = None
    allowed_ips: Annotated[tuple[Annotated[str, AfterValidator(network)], ...], AfterValidator(_not_empty)] | None = (
        None
    )
    admin: bool = False
    limits: CallLimits | None = None


class Members(NamedTuple):
    """Who can use the proxy."""

    groups: Mapping[str, Group]
    """By name, in the order of the file."""
    keys: tuple[Key, ...]


def members_of(validation: Validation, raw: Mapping[str, Any]) -> Members:
    """All valid groups and keys."""
    groups = _groups_of(validation, raw)
    return Members(groups, _keys_of(validation, raw, groups))


def _groups_of(validation: Validation, raw: Mapping[str, Any]) -> dict[str, Group]:
    """All valid groups, by name, in the order of the file."""
    value = {} if raw.get("groups") is None else raw["groups"]
    if not isinstance(value, dict):
        validation.problem(("groups",), "must be a mapping of group names, like `staff: {models: [...]}`")
        return {}
    if value and "default" not in value and not raw.get("keys") and not has_logins(raw):
        validation.problem(("groups",), "without `keys:` only the group `default` is used; add it, or add keys")
    rules = _Rules(validation, raw)
    groups = {}
    for name, body in value.items():
        group = validation.valid(Group, {} if body is None else body, ("groups", name))
        if group:
            groups[name] = group
            rules.check(f"group {name}", group.models, ("groups", name, "models"))
    return groups


def _keys_of(validation: Validation, raw: Mapping[str, Any], groups: Mapping[str, Group]) -> tuple[Key, ...]:
    """All valid keys, in the order of the file."""
    reader = _Keys(validation, raw, groups)
    keys = tuple(key for path, value in validation.entries(raw, "keys") if (key := reader.key(value, path)))
    validation.unique_names(raw, "keys")
    return keys


class _Rules:
    """Validates access rules."""

    def __init__(self, validation: Validation, raw: Mapping[str, Any]) -> None:
        self._validation = validation
        names = [value.get("name") for _, value in validation.entries(raw, "providers") if isinstance(value, dict)]
        self._providers = [name for name in names if isinstance(name, str)]

    def check(self, owner: str, rules: Globs, path: Path) -> None:
        self._validation.warn_of_brackets(rules, path)
        for index, rule in enumerate(rules):
            if problem := access_rules.problem_of(rule, self._providers):
                self._validation.problem((*path, index), problem)
        if rules and all(rule.startswith("!") for rule in rules):
            self._validation.warn(
                path, f'{owner} has only deny rules (`!`), so it allows no model; add "*" to allow the rest'
            )


class _Keys:
    """Reads the entries of `keys`."""

    def __init__(self, validation: Validation, raw: Mapping[str, Any], groups: Mapping[str, Group]) -> None:
        self._validation = validation
        self._groups = groups
        self._rules = _Rules(validation, raw)
        self._known_groups = list(raw["groups"]) if isinstance(raw.get("groups"), dict) else []
        self._digests: dict[bytes, Path] = {}
        self._limits: dict[CallLimits, CallLimits] = {}

    def key(self, value: Any, path: Path) -> Key | None:
        """None for a key that has a problem."""
        entry = self._validation.valid(KeyEntry, value, path)
        if not isinstance(value, dict):
            return None
        digests = self._digests_of(value, path)
        self._check_group(value, path)
        if entry is None:
            return None
        group = self._groups.get(entry.group or "")
        if entry.models is not None:
            rules = entry.models
            self._rules.check(f"key {entry.name}", rules, (*path, "models"))
        elif group:
            rules = group.models
        else:
            return None
        if not digests:
            return None
        if entry.not_before and entry.expires and entry.not_before > entry.expires:
            self._validation.problem((*path, "not_before"), "is after `expires`, so the key is never valid")
            return None
        may_call = group is None or group.call is not False
        return Key(
            name=entry.name,
            digests=digests,
            rules=rules,
            group=entry.group,
            expires=entry.expires,
            admin=entry.admin,
            may_call=may_call,
            limits=self._limits_of(entry, group),
            not_before=entry.not_before,
            allowed_ips=entry.allowed_ips,
        )

    def _limits_of(self, entry: KeyEntry, group: Group | None) -> CallLimits | None:
        """The limits of a key: one object for equal ones, because there can be thousands of keys."""
        of_group = group.limits if group else None
        limits = entry.limits.with_defaults(of_group) if entry.limits else of_group
        return self._limits.setdefault(limits, limits) if limits else None

    def _check_group(self, value: Mapping[str, Any], path: Path) -> None:
        if "models" not in value and "group" not in value:
            self._validation.problem(path, "has neither `group: ...` nor `models: [...]`; add one")
        group, where = value.get("group"), (*path, "group")
        if isinstance(group, str) and group not in self._known_groups and not self._validation.is_unresolved(where):
            defined = ", ".join(self._known_groups) or "none"
            hint = did_you_mean(group, self._known_groups) or f"; defined groups: {defined}"
            self._validation.problem(where, f"no such group{hint}")

    # -- digests -----------------------------------------------------------------------------------------------

    def _digests_of(self, value: Mapping[str, Any], path: Path) -> tuple[bytes, ...]:
        """The digests of the entry's keys, () with a problem. Each key may exist only once."""
        own: list[bytes] = []
        for where, digest in self._written_digests(value, path):
            if digest in own:
                self._validation.problem(where, "duplicate digest; remove one")
            elif digest in self._digests:
                first = self._validation.written(self._digests[digest])
                text = f"is the same key as {first}; use a different key for each entry"
                self._validation.problem(path, text)
            elif digest:
                own.append(digest)
        self._digests.update(dict.fromkeys(own, path))
        return tuple(own)

    def _written_digests(self, value: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, bytes | None]]:
        """The place and the digest of each key of the entry; None for one with a problem."""
        given = [name for name in ("hash", "hashes", "key") if name in value]
        if len(given) != 1:
            self._validation.problem(path, _EXACTLY_ONE)
            return
        (name,) = given
        where = (*path, name)
        if value[name] is None or self._validation.is_unresolved(where):
            return
        if name == "key":
            yield where, self._of_key(value[name], where)
        elif name == "hash":
            yield where, self._of_hash(value[name], where)
        elif isinstance(value[name], list):
            for index, item in enumerate(value[name]):
                yield (*where, index), self._of_hash(item, (*where, index))

    def _of_hash(self, value: Any, path: Path) -> bytes | None:
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            hint = 'to compute it: printf %s "$KEY" | sha256sum'
            self._validation.problem(path, f'must be "sha256:" and 64 hexadecimal digits; {hint}')
            return None
        digest = bytes.fromhex(value.removeprefix("sha256:"))
        if digest in _shortest_digests():
            self._validation.problem(path, f"is the digest of a key of at most one character; {_GENERATE}")
        return digest

    def _of_key(self, value: Any, path: Path) -> bytes | None:
        text = self._validation.documents.text(path)
        secret = value if isinstance(value, str) else text
        if not text or not secret:
            self._validation.problem(path, 'must be a reference to an environment variable, like "${NAME}"')
            return None
        digest = hashlib.sha256(secret.encode())
        if not is_reference(text):
            hint = f'write hash: "sha256:{digest.hexdigest()}" instead'
            self._validation.problem(path, f"is a plaintext secret; {hint}")
            return None
        try:
            check_api_key(SecretStr(secret))
        except ValueError as error:
            self._validation.problem(path, f"{error}")
        if len(secret) < MIN_KEY:
            self._validation.problem(path, f"is a key of fewer than {MIN_KEY} characters; {_GENERATE}")
        return digest.digest()


@cache
def _shortest_digests() -> frozenset[bytes]:
    """The digests of all keys that a first guess would find. Those of longer keys cannot be listed."""
    return frozenset(hashlib.sha256(key.encode()).digest() for key in ("", *string.printable))

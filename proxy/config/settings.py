"""The complete configuration as frozen values. No `repr` contains a secret.

Its sections, each setting validated separately: `server`, `defaults`, `provider_settings`, `logs`, `routing`.
Reading the file, and checks across several settings: `loader`, `providers`, `keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Literal

import msgspec
from pydantic import Field

from proxy.config.access_rules import reads_facts
from proxy.config.addresses import is_loopback
from proxy.config.auth import Logins
from proxy.config.call_limits import CallLimits
from proxy.config.fields import Globs, NotEmpty, Settings
from proxy.config.generation import generation_of
from proxy.config.identities import GROUP, Identities
from proxy.config.logs import Logging
from proxy.config.notify import Webhook
from proxy.config.places import Places
from proxy.config.provider_settings import Provider
from proxy.config.routing import RoutingRule, VirtualModel
from proxy.config.server import Server
from proxy.config.sources import Sources
from proxy.config.store import StoreSettings
from proxy.config.tracing import Tracing

DEFAULT_GROUP = "default"
"""The group of requests without a credential."""


FactsSource = Literal["off", "bundled"]


class OwnerRule(Settings):
    match: Globs = Field(min_length=1)
    owner: NotEmpty


class Merge(Settings):
    duplicates: Literal["merge", "by_owner", "by_provider"] = "merge"
    ignore_case: bool = False
    """Whether ids that differ only in case are one model, under the first spelling."""
    fill: bool = False
    """Whether facts that the first provider of a model does not report are those of the next one."""


class Group(Settings):
    models: Globs
    """Access rules (`access_rules`)."""
    call: bool | None = None
    """Whether its members can call the models that they can list; None: only requests with a key can."""
    limits: CallLimits | None = None
    """Limits of each of its members."""
    group_limits: CallLimits | None = None
    """Limits of all members together."""


class Key(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An API key of a client, identified by the SHA-256 digest of its bytes. Small, because there can be thousands.

    Its settings are validated as `KeyEntry`.
    """

    name: str
    digests: tuple[bytes, ...]
    """Usually one; several while the client replaces its key. All identify the same caller."""
    rules: tuple[str, ...]
    """The access rules that apply: its own, otherwise those of its group."""
    group: str | None = None
    """The name of its group."""
    expires: date | None = None
    admin: bool = False
    may_call: bool = True
    limits: CallLimits | None = None
    """Its own limits, and those of its group that it does not set."""
    not_before: date | None = None
    allowed_ips: tuple[str, ...] | None = None
    """Networks from which it can be used; None: any address."""

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "digests")
        return f"Key({', '.join(shown)})"

    @property
    def valid_from(self) -> float:
        """When the key becomes valid, in Unix seconds: at 00:00 UTC of the day."""
        return _begin_of(self.not_before) if self.not_before else float("-inf")

    @property
    def valid_until(self) -> float:
        """When the key expires, in Unix seconds: at the end of the day, UTC."""
        return _begin_of(self.expires) + 86_400 if self.expires else float("inf")


def _begin_of(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Skipped:
    """A provider that is not used, with the reason."""

    name: str
    reason: str
    state: Literal["skipped", "disabled"] = "skipped"
    """`skipped`: it is optional and a secret is missing; `disabled`: the operator left it out."""


@dataclass(frozen=True)
class Config:
    """A complete configuration. Its `repr` contains no secret."""

    server: Server
    merge: Merge
    owners: tuple[OwnerRule, ...]
    providers: tuple[Provider, ...]
    """In the order of the file, which is their precedence."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """By name, in the order of the file."""
    keys: tuple[Key, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    models: tuple[VirtualModel, ...] = ()
    routing: tuple[RoutingRule, ...] = ()
    """The first rule that matches a model is used."""
    logging: Logging = field(default=Logging())
    store: StoreSettings = field(default=StoreSettings())
    facts: FactsSource = "off"
    """The source of facts that no provider reports."""
    auth: Logins = field(default=Logins())
    notify: tuple[Webhook, ...] = ()
    """The receivers of changes."""
    tracing: Tracing = field(default=Tracing())
    unchecked: frozenset[str] = frozenset()
    """The sections with values that were not available, so they may be incomplete. Only if read offline."""
    sources: Sources = field(default=Sources(), compare=False, repr=False)
    """The files that it was read from."""
    places: Places = field(default=Places(), compare=False, repr=False)
    """Where settings are written."""

    @cached_property
    def generation(self) -> str:
        """12 hexadecimal digits that are equal for equal configurations, also on other machines.

        Comments, warnings and the order of mapping keys do not count; nor do secrets, so that they cannot be guessed
        from it. Two configurations are equal (`==`) only if their secrets are equal, too.
        """
        skipped = [(each.name, each.state) for each in self.skipped]
        return generation_of(
            (
                self.server,
                self.merge,
                self.owners,
                self.providers,
                self.groups,
                self.keys,
                skipped,
                self.models,
                self.routing,
                self.logging,
                self.store,
                self.facts,
                self.auth,
                self.notify,
                self.tracing,
            )
        )

    @cached_property
    def has_fact_rules(self) -> bool:
        """Whether an access rule matches facts of models."""
        of_groups = (group.models for group in self.groups.values())
        of_keys = (key.rules for key in self.keys)
        return any(map(reads_facts, {rule for rules in (*of_groups, *of_keys) for rule in rules}))

    @property
    def identities(self) -> Identities:
        """The identities of all callers that have one."""
        return Identities((key.name for key in self.keys), (login.source for login in self.auth.logins))

    @property
    def groups_of_users(self) -> Mapping[str, Group]:
        """The groups that users with a login can have, by name."""
        return {name: self.groups[name] for name in self.auth.group_names if name in self.groups}

    def rules_of(self, holder: str) -> tuple[str, ...] | None:
        """The access rules of a key, or of a group (`group:staff`); None if there is none of this name."""
        if holder.startswith(GROUP):
            group = self.groups.get(holder.removeprefix(GROUP))
            return group.models if group else None
        return next((key.rules for key in self.keys if key.name == holder), None)

    @property
    def anonymous(self) -> Group | None:
        """The group that applies to requests without an API key, None if they are rejected."""
        everything = Group(models=("*",)) if self.is_open else None
        return self.groups.get(DEFAULT_GROUP, everything)

    @property
    def anonymous_group(self) -> str | None:
        """The name of that group, None without one."""
        return DEFAULT_GROUP if DEFAULT_GROUP in self.groups else None

    @property
    def is_shared(self) -> bool:
        """Whether there are several callers that may call models: keys, users, and requests without a credential."""
        if self.auth.logins:
            return True
        callers = sum(key.may_call for key in self.keys)
        return callers + bool(self.keys and self.anonymous and self.anonymous.call) > 1

    @property
    def is_open(self) -> bool:
        """Whether neither keys nor logins are configured: credentials are then ignored."""
        return not self.keys and not self.auth.logins

    def refuse_exposure(self, *addresses: str) -> str:
        """The reason why the proxy must not listen on one of these addresses, "" if it can.

        An address is one that a socket is bound to. A Unix socket (`unix:PATH`) is not loopback: other users, and web
        servers that forward requests of anyone, can reach it.
        """
        exposed = [address for address in addresses if not is_loopback(address)]
        if not exposed or not self.is_open or self.server.allow_anonymous:
            return ""
        return (
            f"refusing to listen on {exposed[0]}: no keys are configured, so anyone who can reach it could use your "
            "providers. Add `keys:`, listen on 127.0.0.1, or set `server.allow_anonymous: true` in the configuration "
            "file (the variable MODELS_PROXY_OPEN has no effect unless the file refers to it)."
        )

"""The callers of requests, and how long their credentials are valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proxy.access.policy import Policy
from proxy.config.identities import SEPARATOR
from proxy.limits.quota import Quota


@dataclass(frozen=True)
class Caller:
    """The sender of a request."""

    name: str | None
    """The display name: that of the key in the configuration, or of the user; None without a credential."""
    policy: Policy
    admin: bool = False
    may_call: bool = False
    """Whether the caller can call models, not only list them."""
    identity: str = ""
    """Data of the caller is recorded under this text (`config.identities`); "" without a credential."""
    group: str | None = None
    """The name of its group, None without one."""
    quota: Quota | None = None
    """The limits of the caller, None without any."""

    @property
    def is_user(self) -> bool:
        """Whether the caller is a user with a login, not a key of this proxy."""
        return SEPARATOR in self.identity

    @property
    def who(self) -> str:
        """For the log."""
        if not self.identity:
            return "a caller without a key"
        return f"user {self.identity}" if self.is_user else f"key {self.identity}"


class Credential(NamedTuple):
    """A credential in a request: a key of this proxy, or a token."""

    caller: Caller
    valid_until: float
    """Unix seconds."""
    has_access: bool = True
    """False: the caller is identified, but has no group."""
    valid_from: float = float("-inf")
    """Unix seconds."""

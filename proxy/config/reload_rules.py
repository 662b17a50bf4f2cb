"""What a reload must not change, and what it cannot change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from proxy.config.problems import Problem
from proxy.config.settings import Config

_NEEDS_RESTART = ("host", "port", "socket_mode", "workers")
"""Settings of `server` that are read once, at the start."""
_OF_TRACING = ("endpoint", "headers", "ca_file", "sample")
_OF_STORE = ("directory", "valkey", "valkey_password", "valkey_ca_file", "namespace", "lease")
_SECTIONS = (("store", _OF_STORE), ("tracing", _OF_TRACING))


def refuse_reload(before: Config, after: Config, addresses: Sequence[str] = ()) -> Problem | None:
    """The problem with replacing a configuration by another one, which is valid by itself; None if there is none.

    `addresses`: those that the server listens on, if it is not only `server.host` of `before`.
    """
    file = next(iter(after.sources.files), "")
    if after.is_open and not before.is_open:
        what, one = ("login", "one of `auth`") if not before.keys else ("key", "at least one key")
        text = (
            f"the last {what} was removed, so requests without a key would be accepted; keep {one}, or restart to "
            "serve without keys"
        )
        return Problem(0, "keys" if before.keys else "auth", text, file)
    if refusal := after.refuse_exposure(*(addresses or [before.server.host])):
        return Problem(0, "server", refusal, file)
    return None


def restart_needed(before: Config, after: Config) -> list[str]:
    """The settings that differ and are applied by a restart only, like `server.port`.

    `before`: the configuration at the start of the process.
    """
    sections = (("server", _NEEDS_RESTART), *_SECTIONS)
    changed = [
        f"{section}.{name}"
        for section, names in sections
        for name in names
        if getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
    ]
    switches_tls = (before.server.tls is None) != (after.server.tls is None)
    return [*changed, *["server.tls"] * switches_tls]


def restart_digest(config: Config) -> str:
    """A digest of the settings outside of `server` that a restart applies, and of whether `server.tls` is set."""
    values = [_plain(getattr(getattr(config, section), name)) for section, names in _SECTIONS for name in names]
    return hashlib.sha256(repr((values, config.server.tls is None)).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    """The value with secrets in plain text, so that the digest depends on them."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value.get_secret_value() if isinstance(value, SecretStr) else value

"""The states of the sections `store` and `auth`, for `/health`."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config import Config
from proxy.server.shared import Shared


def further_states(config: Config, shared: Shared) -> Mapping[str, object]:
    """Section -> its states."""
    stored = _stored_states(config, shared)
    of_logins = {"jwt": shared.key_sets.states} if config.auth.jwt else {}
    return {name: states for name, states in (("store", stored), ("auth", of_logins)) if states}


def _stored_states(config: Config, shared: Shared) -> Mapping[str, object]:
    directory, sharing = shared.directory, shared.sharing
    shown: dict[str, object] = {}
    if directory:
        shown["directory"] = directory.status._asdict()
    if directory or (sharing and sharing.usage):
        shown["usage"] = shared.operations.usage.state._asdict()
    if sharing and (state := sharing.state):
        shown["valkey"] = state._asdict()
    return {**shown, **shared.limiter(config).shown}

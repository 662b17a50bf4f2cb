"""Who can see a model: the keys and groups whose rules allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from proxy.access import Policy
from proxy.catalog import Offer
from proxy.catalog.virtual import catalog_of
from proxy.config import Config
from proxy.cooperative import Cooperative

MAX_NAMED = 500
"""Maximum number of keys in the result."""
_PER_STEP = 20


class SeenBy(Struct, frozen=True):
    """A key or a group."""

    name: str
    group: str | None
    """The group of a key, None without one."""
    may_call: bool
    is_valid: bool
    """Whether a key has not expired and is not for later use (`not_before`)."""


class Audience(Struct, frozen=True):
    """Who can see one model."""

    groups: Sequence[SeenBy]
    keys: Sequence[SeenBy]
    """The first ones, in the order of the file."""
    keys_total: int
    without_key: bool
    """Whether requests without a key may see it."""
    all_keys: int
    """The number of keys in the configuration."""


def audience(model: str, offers: Sequence[Offer], config: Config, now: float) -> Cooperative[Audience]:
    """Return who can see a model. `offers`: those that decide on its id; `now`: Unix seconds."""
    known: dict[Policy, bool] = {}

    def allows(rules: Sequence[str]) -> Cooperative[bool]:
        policy = Policy.of(rules)
        if policy not in known:
            catalog = yield from catalog_of(offers, policy, config)
            known[policy] = catalog.find(model) is not None
        return known[policy]

    groups: list[SeenBy] = []
    for name, group in config.groups.items():
        if (yield from allows(group.models)):
            groups.append(SeenBy(name, None, _may_call(name, group.call), True))
    keys: list[SeenBy] = []
    total = 0
    for place, key in enumerate(config.keys):
        if (yield from allows(key.rules)):
            total += 1
            if total <= MAX_NAMED:
                is_valid = key.valid_from <= now < key.valid_until
                keys.append(SeenBy(key.name, key.group, key.may_call, is_valid))
        if place % _PER_STEP == 0:
            yield
    anonymous = config.anonymous
    without_key = bool(anonymous) and (yield from allows(anonymous.models if anonymous else ()))
    return Audience(groups, keys, total, without_key, len(config.keys))


def _may_call(name: str, call: bool | None) -> bool:
    """Members of a group can call unless `call` is false; requests without a key only if it is true."""
    return bool(call) if name == "default" else call is not False


def by_group(seen: Audience) -> Mapping[str, Sequence[SeenBy]]:
    """Group -> its keys; "" for keys without a group."""
    groups: dict[str, list[SeenBy]] = {}
    for key in seen.keys:
        groups.setdefault(key.group or "", []).append(key)
    return groups

"""The change feed: the last 1,000 changes of models and providers. Pure values.

The id of a change is the microsecond of Unix time at which it was recorded, or one more than the last id: ids also
increase after a restart that has lost the feed. JSON numbers represent them exactly.

Replicas that cannot reach each other detect the same change at different times. Its `webhook_id` is the same on all:
it depends on what has changed, and on the change of the same model or provider before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

MAX_CHANGES = 1000
MAX_TEXT = 1000
"""Characters of a model id, or of a reason."""
REPEATED_SECONDS = 3600.0
"""Seconds within which a repeated change of a model is the same one, detected by another process."""
_MICRO = 1_000_000

ChangeType = Literal["model_added", "model_removed", "model_changed", "provider_failing", "provider_recovered"]
CHANGE_TYPES: tuple[ChangeType, ...] = get_args(ChangeType)
Part = Literal["list", "calls"]


class FieldChange(Struct, frozen=True):
    """One field of a model, as JSON values; None if it is missing."""

    field: str
    before: Any
    after: Any


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change. Fields that do not apply are left out of its JSON."""

    id: int = 0
    """0 before it is in a feed."""
    at: float
    """Unix seconds at which it was detected."""
    type: ChangeType
    provider: str
    model: str = ""
    """The public id, of a change of a model."""
    fields: tuple[FieldChange, ...] = ()
    """The fields that differ, of `model_changed`; `providers` are the names of all providers that offer the model."""
    more: int = 0
    """Instead of a model: the number of further ones that the same refresh has changed in this way."""
    part: Part | None = None
    """The list or the calls, of a change of a provider."""
    before: str = ""
    """The state before."""
    after: str = ""
    """The state since then."""
    reason: str = ""
    webhook_id: str = ""
    """That of its notifications, by which receivers recognize a repeated one. "" before it is in a feed."""

    @property
    def subject(self) -> tuple[str, str, str | None]:
        return self.provider, self.model, self.part


class Feed(Struct, frozen=True):
    """The last changes. A value: adding changes returns another feed."""

    changes: tuple[Change, ...] = ()
    """With increasing ids."""
    states: Mapping[str, str] = {}
    """`provider/part` -> its last state; those that are missing were always `ok`."""
    complete_after: int = 0
    """All changes with greater ids are contained."""

    @property
    def last_id(self) -> int:
        return self.changes[-1].id if self.changes else self.complete_after

    def state(self, provider: str, part: Part) -> str:
        return self.states.get(f"{provider}/{part}", "ok")

    def since(self, change_id: int) -> Sequence[Change]:
        """The changes after this one, the oldest first."""
        return [change for change in self.changes if change.id > change_id]

    def extended(self, changes: Iterable[Change], time: float) -> tuple[Feed, Sequence[Change]]:
        """Return the feed with further changes, and those of them that are new. `time`: Unix seconds.

        A change that has a `webhook_id` already keeps it.
        """
        recorded_ids = {change.webhook_id for change in self.changes}
        latest = {change.subject: change for change in self.changes}
        states = dict(self.states)
        last_id = self.last_id
        new: list[Change] = []
        for change in changes:
            is_recorded = change.webhook_id and change.webhook_id in recorded_ids
            if is_recorded or not _is_news(change, latest.get(change.subject), states):
                continue
            last_id = max(int(time * _MICRO), last_id + 1)
            webhook_id = _webhook_id(change, latest.get(change.subject), self.complete_after)
            recorded = replace(change, id=last_id, webhook_id=change.webhook_id or webhook_id)
            latest[change.subject] = recorded
            if change.part:
                states[f"{change.provider}/{change.part}"] = change.after
            new.append(recorded)
        return self._with((*self.changes, *new), states), new

    def merged(self, other: Feed) -> Feed:
        """The changes of both."""
        by_id = {change.id: change for change in (*other.changes, *self.changes)}
        older, newer = sorted((self, other), key=lambda feed: feed.last_id)
        complete_after = min((feed.complete_after for feed in (self, other) if feed.complete_after), default=0)
        both = replace(newer, complete_after=complete_after)
        return both._with(tuple(by_id[each] for each in sorted(by_id)), {**older.states, **newer.states})

    def _with(self, changes: tuple[Change, ...], states: Mapping[str, str]) -> Feed:
        dropped = changes[-MAX_CHANGES - 1].id if len(changes) > MAX_CHANGES else self.complete_after
        return Feed(changes[-MAX_CHANGES:], states, max(dropped, self.complete_after))


def _is_news(change: Change, last: Change | None, states: Mapping[str, str]) -> bool:
    """Whether a change is not recorded yet: several processes can detect the same one."""
    if change.part:
        return states.get(f"{change.provider}/{change.part}", "ok") != change.after
    if last is None or change.at - last.at > REPEATED_SECONDS:
        return True
    return (change.type, change.fields, change.more) != (last.type, last.fields, last.more)


def _webhook_id(change: Change, before: Change | None, complete_after: int) -> str:
    """`before`: the change of the same subject before it; without one, none of it is after `complete_after`."""
    root = (before.webhook_id or str(before.id)) if before else str(complete_after)
    what = (root, change.type, *change.subject, change.fields, change.more, change.after)
    return f"chg_{hashlib.blake2b(_ENCODE(what), digest_size=16).hexdigest()}"


def encoded(feed: Feed) -> bytes:
    """The feed as bytes for `decoded`."""
    return _ENCODE(feed)


def decoded(data: bytes | memoryview) -> Feed:
    """Decode a feed. Raises ValueError for invalid bytes."""
    feed = _DECODE(data)
    ids = [change.id for change in feed.changes]
    if len(ids) > MAX_CHANGES:
        raise ValueError(f"more than {MAX_CHANGES:,} changes")
    if ids != sorted(set(ids)):
        raise ValueError("ids do not grow")
    return feed


_ENCODE = msgspec.msgpack.Encoder(order="deterministic").encode
_DECODE = msgspec.msgpack.Decoder(Feed).decode

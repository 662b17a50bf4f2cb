"""The lists that this process shares with others: one process fetches each list, all show it.

A `Sharing` carries the bytes; here they are named, encoded, checked and decoded. Lists are named by the fingerprint of
their fetch settings, and sealed with its key: only a process with the same settings and credentials can have written
them. Outlives a configuration, with the fetches in progress.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from proxy.config import Provider
from proxy.errors import UpstreamError, UpstreamErrorKind
from proxy.sharing import Busy, Kind, Published, Sharing, Turn
from proxy.store.envelope import RecordError, seal, unseal
from proxy.store.fingerprint import Fingerprint, fingerprint
from proxy.store.records import ListRecord, decode, encode

_KIND, _SCHEMA = b"failure", 1
_MAX_TEXT = 1000

_log = logging.getLogger("models_proxy")

InThread = Callable[..., Awaitable[Any]]
_Text = Annotated[str, Meta(max_length=_MAX_TEXT)]


class FailureRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A failed fetch, as other processes show it."""

    kind: UpstreamErrorKind
    reason: _Text
    url: _Text
    retry_after: Annotated[float, Meta(ge=0, le=3600)] | None
    attempts: Annotated[int, Meta(ge=1, le=1000)]
    failures: Annotated[int, Meta(ge=1, le=1_000_000)]
    """Consecutive ones."""

    @staticmethod
    def of(error: UpstreamError, failures: int) -> FailureRecord:
        return FailureRecord(
            error.kind, error.reason[:_MAX_TEXT], error.url[:_MAX_TEXT], error.retry_after, error.attempts, failures
        )

    @property
    def error(self) -> UpstreamError:
        error = UpstreamError(self.kind, self.reason, retry_after=self.retry_after)
        error.url, error.attempts = self.url, self.attempts
        return error


_DECODE = msgspec.json.Decoder(FailureRecord).decode


class Received(NamedTuple):
    """What another process has fetched. Ages are in seconds."""

    record: ListRecord | None
    age: float
    failure: FailureRecord | None
    failure_age: float
    replaces_newer: bool
    """Whether the list is shown even if this process has a newer one: others do not show that."""


@dataclass
class _State:
    """What is known of the list of one provider."""

    fingerprint: Fingerprint
    version: int = 0
    """The newest one that this process has seen."""
    token: int = 0
    """That of the fetch in progress, 0 without one."""
    was_superseded: bool = False
    """Whether the last result was not published, because another process has fetched meanwhile."""


class SharedLists:
    """Checks whether to fetch, publishes results, and forwards those of other processes."""

    def __init__(self, sharing: Sharing, in_thread: InThread = asyncio.to_thread) -> None:
        """`in_thread` calls a function in a thread."""
        self._in_thread = in_thread
        self._sharing = sharing
        self._states: dict[str, _State] = {}
        """Provider -> its state."""
        self._receive: Callable[[str, Published], None] = lambda provider, published: None
        self._reported: set[str] = set()
        self._further: dict[str, tuple[Callable[[], int], Callable[[Published], None]]] = {}
        sharing.follow(self._known, self._received)

    def follow(self, name: str, version: Callable[[], int], receive: Callable[[Published], None]) -> None:
        """Pass on what arrives under a name that is no list. `version` returns the one that this process has."""
        self._further[name] = version, receive

    def attach(self, fetching: Mapping[str, bool], receive: Callable[[str, Published], None]) -> None:
        """Pass on what arrives for these providers (name -> whether its fetch is in progress) from now on."""
        self._receive = receive
        for name in [*self._states]:
            if not fetching.get(name):
                self.abandon(name)
            if name not in fetching:
                del self._states[name]

    async def begin(self, provider: Provider, *, force: bool) -> Turn | Busy | Published | None:
        """Ask whether to fetch. See `Sharing.begin`."""
        state = self._state(provider)
        answer = await self._sharing.begin(state.fingerprint.name, state.version, force=force)
        if isinstance(answer, Turn):
            state.token = answer.token
        return answer

    async def open(self, provider: Provider, published: Published) -> Received:
        """Decode what was published. What is not valid is left out, and reported once for each provider."""
        state = self._state(provider)
        state.version = max(state.version, published.version)
        record = failure = None
        try:
            if published.list is not None:
                record = await self._in_thread(decode, published.list, state.fingerprint)
            if published.failure is not None:
                failure = _failure(published.failure, state.fingerprint)
        except RecordError as error:
            self._report(provider.name, str(error))
        superseded, state.was_superseded = state.was_superseded, False
        return Received(record, published.list_age, failure, published.failure_age, superseded)

    async def publish(self, provider: Provider, result: ListRecord | FailureRecord) -> None:
        """Publish the result of the fetch in progress, if it is shared."""
        state = self._states.get(provider.name)
        if state is None or not state.token:
            return
        if fingerprint(provider) != state.fingerprint:
            self.abandon(provider.name)  # the credential in a file was replaced meanwhile
            return
        try:
            data = await self._in_thread(_encoded, result, provider, state.fingerprint)
        except RecordError as error:
            _log.warning("provider %s: its list cannot be shared: %s", provider.name, error)
            self.abandon(provider.name)
            return
        token, before = state.token, state.version
        state.token, state.version = 0, max(token, before)
        kind: Kind = "list" if isinstance(result, ListRecord) else "failure"
        seconds = max(provider.max_stale, provider.ttl)
        if not await self._sharing.publish(state.fingerprint.name, token, kind, data, seconds):
            state.version, state.was_superseded = before, True

    def abandon(self, provider: str) -> None:
        """End the fetch in progress of a provider without a result."""
        state = self._states.get(provider)
        if state and state.token:
            self._sharing.abandon(state.fingerprint.name, state.token)
            state.token = 0

    def _state(self, provider: Provider) -> _State:
        current = fingerprint(provider)
        state = self._states.get(provider.name)
        if state is None or state.fingerprint != current:
            self.abandon(provider.name)
            state = self._states[provider.name] = _State(current)
        return state

    def _known(self) -> Mapping[str, int]:
        known = {name: version() for name, (version, _) in self._further.items()}
        for state in self._states.values():
            name = state.fingerprint.name
            known[name] = min(known.get(name, state.version), state.version)
        return known

    def _received(self, name: str, published: Published) -> None:
        """Two providers of a configuration can have the same settings, so that they share a list."""
        if further := self._further.get(name):
            further[1](published)
        for provider, state in self._states.items():
            if state.fingerprint.name == name and state.version < published.version:
                self._receive(provider, published)

    def _report(self, provider: str, reason: str) -> None:
        if provider not in self._reported:
            self._reported.add(provider)
            _log.warning("provider %s: a list from the shared store was ignored: %s", provider, reason)


def _encoded(result: ListRecord | FailureRecord, provider: Provider, of: Fingerprint) -> bytes:
    """Raises RecordError."""
    if isinstance(result, ListRecord):
        return encode(result, provider, of)
    return seal(_KIND, _SCHEMA, of.key, msgspec.json.encode(result))


def _failure(data: bytes, of: Fingerprint) -> FailureRecord:
    """Raises RecordError."""
    try:
        return _DECODE(unseal(_KIND, _SCHEMA, of.key, data))
    except msgspec.MsgspecError as error:
        raise RecordError(f"invalid content ({type(error).__name__})") from None

"""Hints about calls between processes: open circuit breakers and cool-downs.

These are hints: one that is lost costs some failed attempts, and one that was received is applied for at most
`MAX_SECONDS`. A hint applies only where the provider has the same address and the same API keys, which it names by a
digest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta, Struct

from proxy.clock import Clock
from proxy.config import Provider
from proxy.inference.circuit import Circuit
from proxy.sharing import Sharing
from proxy.upstream.key_pool import Cooling, KeyPool

MAX_SECONDS = 60.0
_DIGEST = 16
_REPEATED = 1.0
"""Seconds by which a cool-down must have become longer to be announced again."""

_log = logging.getLogger("models_proxy")

_Seconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]
_Name = Annotated[str, Meta(max_length=512)]


class OpenedCircuit(Struct, frozen=True, array_like=True, tag="circuit", forbid_unknown_fields=True):
    """A circuit breaker that opened: of the provider, of a model, or of a model for one key."""

    target: bytes
    model: _Name | None
    key: _Name | None
    seconds: _Seconds


class CoolDown(Struct, frozen=True, array_like=True, tag="cool-down", forbid_unknown_fields=True):
    """An API key of a provider that is not used for a model, or for any (None). `caller`: as in `Cooling`."""

    target: bytes
    api_key: bytes
    model: _Name | None
    caller: _Name | None
    seconds: _Seconds
    is_rate_limit: bool


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(OpenedCircuit | CoolDown).decode


class Called(Protocol):
    """A provider that is called, as an `Endpoint` is."""

    @property
    def provider(self) -> Provider: ...
    @property
    def keys(self) -> KeyPool: ...


class CallHints:
    """Announces what happens to the calls of this process, and applies what others announce."""

    def __init__(self, sharing: Sharing, clock: Clock) -> None:
        self._sharing = sharing
        self._clock = clock
        self._circuits: dict[bytes, list[Circuit]] = {}
        """Digest of a provider's target -> the circuits that call it."""
        self._pools: dict[bytes, list[KeyPool]] = {}
        self._announced: dict[tuple[bytes, bytes, str | None], float] = {}
        self._has_reported = False

    def attach(self, endpoints: Mapping[str, Called], circuits: Mapping[str, Circuit]) -> None:
        """Watch the calls of a configuration from now on, and apply hints to them."""
        self._circuits, self._pools, self._announced = {}, {}, {}
        for name, endpoint in endpoints.items():
            target = _target(endpoint.provider)
            self._circuits.setdefault(target, []).append(circuits[name])
            self._pools.setdefault(target, []).append(endpoint.keys)
            circuits[name].on_open = partial(self._opened, target)
            endpoint.keys.cooldowns.on_cool = partial(self._cooled, target)
        self._sharing.listen(self.receive)

    def receive(self, data: bytes, age: float = 0.0) -> None:
        """Apply a hint, which was announced `age` seconds ago. Anything else is ignored, and reported once."""
        try:
            hint = _DECODE(data)
        except msgspec.MsgspecError:
            if not self._has_reported:
                self._has_reported = True
                _log.warning("a hint from the shared store was ignored: it has another format")
            return
        seconds = hint.seconds - age
        if seconds <= 0:
            return
        if isinstance(hint, OpenedCircuit):
            for circuit in self._circuits.get(hint.target, ()):
                circuit.open_like(hint.model, hint.key, seconds)
            return
        for pool in self._pools.get(hint.target, ()):
            for api_key in pool.secrets:
                if _digest(api_key, hint.target) == hint.api_key:
                    pool.cool_like(api_key, hint.model, seconds, hint.caller, is_rate_limit=hint.is_rate_limit)

    def _opened(self, target: bytes, model: str | None, key: str | None, until: float) -> None:
        seconds = min(until - self._clock.monotonic(), MAX_SECONDS)
        if seconds > 0:
            self._sharing.announce(_ENCODE(OpenedCircuit(target, model, key, seconds)))

    def _cooled(self, target: bytes, api_key: str, model: str | None, cooling: Cooling) -> None:
        seconds = min(cooling.until - self._clock.monotonic(), MAX_SECONDS)
        digest = _digest(api_key, target)
        scope = (target, digest, model)
        if seconds <= 0 or cooling.until < self._announced.get(scope, 0.0) + _REPEATED:
            return
        if len(self._announced) > 1000:
            self._announced.clear()
        self._announced[scope] = cooling.until
        self._sharing.announce(_ENCODE(CoolDown(target, digest, model, cooling.caller, seconds, cooling.is_rate_limit)))


def _target(provider: Provider) -> bytes:
    """Digest of where calls of a provider are sent, and with which keys."""
    address = provider.target.base_url if provider.target else ""
    secrets = "\0".join(key.get_secret_value() for key in provider.all_api_keys)
    return _digest(secrets, f"{provider.name}\0{address}".encode("utf-8", "surrogatepass"))


def _digest(secret: str, message: bytes) -> bytes:
    key = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(message, key=key, digest_size=_DIGEST, person=b"call hints").digest()

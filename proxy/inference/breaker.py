"""The circuit breakers of one provider's calls: of each caller's key with a model, of each model, and of the provider.

No caller's key closes anything to other keys: a breaker that several keys share counts at most 3 failures of each, and
that of the provider at most 3 of each model, too. Missing connections and logins depend on no caller and count always.
Synchronous, without I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from proxy.backoff import FAILURE_THRESHOLD, OPEN_SECONDS, open_for
from proxy.errors import whole_seconds
from proxy.states import BreakerState, CircuitState, OpenCircuit
from proxy.telemetry.events import CircuitChange
from proxy.telemetry.message_fields import CircuitFields, attributes

MAX_PER_SOURCE = FAILURE_THRESHOLD - 2
"""Failures of one key or model that a shared breaker counts: others must have failed at least twice."""
PROBE_SECONDS = 1.0
"""Seconds after the start of a probe until a call of another key can be the next one: a probe can hang."""
MAX_KEYS = 1000
"""Keys of one model whose breakers other processes can open."""
OnOpen = Callable[[str | None, str | None, float], None]
"""From the model and the key of a breaker, None for those of all, and the monotonic seconds when it can be probed."""
MAX_MODELS = 1000
"""Models of one provider whose failures are counted; the one that failed first is removed."""

_log = logging.getLogger("models_proxy")


class Breaker:
    """Opens after five failures in a row, then allows probes, one at a time."""

    __slots__ = ("_by_source", "_is_half_open", "_on_change", "_open_until", "_probed_at", "_prober", "_scope",
                 "failures")  # fmt: skip

    def __init__(self, scope: str, on_change: Callable[[BreakerState, BreakerState], CircuitChange]) -> None:
        """`scope`: what it is the breaker of, for the log; `on_change`: called with the state before and after."""
        self.failures = 0
        self._scope = scope
        self._on_change = on_change
        self._by_source: dict[str, int] = {}
        self._open_until = 0.0
        self._prober: str | None = None
        """The key of the last probe since the breaker opened."""
        self._probed_at = float("-inf")
        self._is_half_open = False  # as it was logged: the open time ends without an event

    @property
    def is_tripped(self) -> bool:
        """Whether the state is `open` or `half_open`."""
        return self.failures >= FAILURE_THRESHOLD

    @property
    def open_until(self) -> float:
        """Monotonic seconds."""
        return self._open_until

    def open_like(self, until: float) -> None:
        """Open because that of another process is. A call of this process can be the next probe."""
        if self.is_tripped and until <= self._open_until:
            return
        before: BreakerState = "half_open" if self.is_tripped else "ok"
        self.failures = max(self.failures, FAILURE_THRESHOLD)
        self._open_until = until
        self._on_change(before, "open")
        self._prober, self._probed_at, self._is_half_open = None, float("-inf"), False
        _log.info("%s: circuit breaker of calls open, because that of another process is", self._scope)

    def state(self, now: float) -> BreakerState:
        if not self.is_tripped:
            return "ok"
        return "open" if now < self._open_until else "half_open"

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until a call of a key is allowed, 0 for now."""
        if not self.is_tripped:
            return 0.0
        if now < self._open_until:
            return max(PROBE_SECONDS, self._open_until - now)
        # Time limits, because a probe can end without a result. No key can be the only one that sends probes.
        limit = OPEN_SECONDS if key == self._prober else PROBE_SECONDS
        return PROBE_SECONDS if now < self._probed_at + limit else 0.0

    def start(self, key: str, now: float) -> None:
        """Record the start of a call: while the breaker is half-open, it is a probe."""
        if self.is_tripped:
            self._prober, self._probed_at = key, now
            self._half_open("this call is a probe")

    def failed(
        self, key: str, now: float, uniform: Callable[[float, float], float], sources: Sequence[str] = ()
    ) -> bool:
        """Record a failed call of a key. Returns whether it counts.

        `sources`: what counts only up to a limit each, such as the key.
        """
        if self.is_tripped and now < self._open_until:
            return False  # a call from before: many calls that fail together open the breaker once
        if any(self._by_source.get(source, 0) >= MAX_PER_SOURCE for source in sources):
            if key == self._prober:
                self._probed_at = now - PROBE_SECONDS  # calls of other keys can be the next probe
            return False
        for source in sources:
            self._by_source[source] = self._by_source.get(source, 0) + 1
        self.failures += 1
        self._open_until = now + open_for(self.failures, uniform)
        if self.is_tripped:
            self._prober, self._probed_at, self._is_half_open = None, float("-inf"), False
            text = (
                f"circuit breaker of calls open after {self.failures} failures in a row; next attempt in "
                f"{whole_seconds(self._open_until - now)} s"
            )
            self._changed("ok" if self.failures == FAILURE_THRESHOLD else "half_open", "open", text)
        return True

    def allow_probe(self, now: float, reason: str) -> None:
        """Allow a probe now although the breaker is open."""
        if self.is_tripped and now < self._open_until:
            self._open_until = now
            self._half_open(f"{reason}; the next call is a probe")

    def close(self) -> None:
        """Log that the breaker is closed. It must not be used any more."""
        if self.is_tripped:
            self._changed("half_open" if self._is_half_open else "open", "ok", "circuit breaker of calls closed")

    def _half_open(self, reason: str) -> None:
        if not self._is_half_open:
            self._is_half_open = True
            self._changed("open", "half_open", f"circuit breaker of calls half-open: {reason}")

    def _changed(self, before: BreakerState, after: BreakerState, text: str) -> None:
        change = self._on_change(before, after)
        level = logging.WARNING if after == "open" else logging.INFO
        fields = CircuitFields(*change)
        _log.log(level, "%s: %s", self._scope, text, extra=attributes(fields))


class _OfModel:
    """The breakers of one model: of all keys together, and of each key."""

    __slots__ = ("keys", "shared")

    def __init__(self, shared: Breaker) -> None:
        self.shared = shared
        self.keys: dict[str, Breaker] = {}

    def all(self) -> Iterator[tuple[str | None, Breaker]]:
        """Each with its key, None for the shared one."""
        yield None, self.shared
        yield from self.keys.items()


class Breakers:
    """The breakers of one provider. Only those with failures exist."""

    __slots__ = ("_is_unreachable", "_models", "_on_change", "_provider", "_uniform", "_whole", "account_rejected",
                 "has_failures", "on_open")  # fmt: skip

    def __init__(
        self, provider: str, uniform: Callable[[float, float], float], on_change: Callable[[CircuitChange], None]
    ) -> None:
        """`provider`: its name."""
        self.has_failures = False
        """False if there is no failure to record a success after: then no other method need be called."""
        self.account_rejected = False
        """Whether the provider rejected the proxy's credential, or required credit, and accepted no call since."""
        self._provider = provider
        self._uniform = uniform
        self._on_change = on_change
        self._whole: Breaker | None = None
        self._is_unreachable = False
        self.on_open: OnOpen | None = None
        """Called when a breaker opens because of failures in this process; None without other processes."""
        self._models: dict[str, _OfModel] = {}

    def state(self, now: float) -> CircuitState:
        """The state of the provider: `degraded` for failures that have not opened its own breaker."""
        if self._whole is not None and self._whole.is_tripped:
            return self._whole.state(now)
        return "degraded" if self.has_failures else "ok"

    def open_circuits(self, now: float) -> list[OpenCircuit]:
        """The breakers of models that are not closed, in the order of their first failures."""
        found = ((model, key, breaker) for model, of in self._models.items() for key, breaker in of.all())
        return [OpenCircuit(model, key, breaker.state(now)) for model, key, breaker in found if breaker.is_tripped]

    def wait(self, key: str, model: str, now: float) -> float:
        """Return the seconds until a call is allowed, 0 for now."""
        return max((breaker.wait(key, now) for breaker in self._of(key, model)), default=0.0)

    def is_tripped(self, key: str, model: str) -> bool:
        """Whether a call of this key and model is a probe, or is not allowed."""
        return any(breaker.is_tripped for breaker in self._of(key, model))

    def start(self, key: str, model: str, now: float) -> None:
        """Record the start of a call."""
        for breaker in self._of(key, model):
            breaker.start(key, now)

    def failed(self, key: str, model: str, now: float, *, is_unreachable: bool = False) -> None:
        """Record a failed call. `is_unreachable`: there was no connection, or no login."""
        self.has_failures = True
        if self._whole is None:
            self._whole = self._breaker(f"provider {self._provider}", None, None)
        if not is_unreachable:
            of = self._model(model)
            self._fail(self._of_key(of, model, key), model, key, key, now)
            self._fail(of.shared, model, None, key, now, (key,))
        sources = () if is_unreachable else (f"key {key}", f"model {model}")
        if self._fail(self._whole, None, None, key, now, sources):
            self._is_unreachable = is_unreachable

    def open_like(self, model: str | None, key: str | None, until: float) -> None:
        """Open a breaker because that of another process is. `model` and `key`: None for the breaker of all."""
        if model is None:
            if self._whole is None:
                self._whole = self._breaker(f"provider {self._provider}", None, None)
            breaker = self._whole
        else:
            of = self._model(model)
            if key is not None and key not in of.keys and len(of.keys) >= MAX_KEYS:
                return
            breaker = of.shared if key is None else self._of_key(of, model, key)
        self.has_failures = True
        breaker.open_like(until)

    def succeeded(self, model: str) -> None:
        """Remove the breakers of a model, and of the provider."""
        if self._whole is not None:
            self._whole.close()
            self._whole = None
        self.account_rejected = False
        if of := self._models.pop(model, None):
            for _, breaker in of.all():
                breaker.close()
        self.has_failures = bool(self._models)

    def reject_account(self) -> None:
        """Record that the provider rejected the proxy's credential, or required credit. That opens no breaker."""
        self.has_failures = self.account_rejected = True

    def is_unreachable(self, now: float) -> bool:
        """Whether the provider's breaker is open because it could not be reached."""
        return self._whole is not None and self._is_unreachable and self._whole.state(now) == "open"

    def reached(self, now: float, how: str) -> None:
        """Allow a probe now if the provider's breaker opened because it could not be reached. `how`: for the log."""
        if self._whole is not None and self._is_unreachable:
            self._whole.allow_probe(now, how)

    def _fail(
        self, breaker: Breaker, model: str | None, of_key: str | None, key: str, now: float, sources: Sequence[str] = ()
    ) -> bool:
        """Record a failure in one breaker, that of `model` and `of_key`. Returns whether it counts."""
        counts = breaker.failed(key, now, self._uniform, sources)
        if counts and breaker.is_tripped and self.on_open:
            self.on_open(model, of_key, breaker.open_until)
        return counts

    def _of_key(self, of: _OfModel, model: str, key: str) -> Breaker:
        if key not in of.keys:
            scope = f"{self._scope(model)}, {f'key {key}' if key else 'calls without a key'}"
            of.keys[key] = self._breaker(scope, model, key)
        return of.keys[key]

    def _of(self, key: str, model: str) -> Iterator[Breaker]:
        """The breakers that a call depends on."""
        if self._whole is not None:
            yield self._whole
        if of := self._models.get(model):
            yield of.shared
            if breaker := of.keys.get(key):
                yield breaker

    def _model(self, model: str) -> _OfModel:
        if model not in self._models:
            if len(self._models) >= MAX_MODELS:
                del self._models[next(iter(self._models))]
            self._models[model] = _OfModel(self._breaker(self._scope(model), model, None))
        return self._models[model]

    def _breaker(self, scope: str, model: str | None, key: str | None) -> Breaker:
        def changed(before: BreakerState, after: BreakerState) -> CircuitChange:
            change = CircuitChange(self._provider, model, key, before, after)
            self._on_change(change)
            return change

        return Breaker(scope, changed)

    def _scope(self, model: str) -> str:
        return f"provider {self._provider}, model {model!r}"
